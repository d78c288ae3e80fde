"""Tests for the drill `migrations`."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from adapters.testing.template_databases import Databases, with_driver
from migrations.lint.linter import lint
from migrations.runner.revisions import Phase
from tests.cli.support import ROOT
from tests.drills.migrations import MIGRATIONS, run
from tests.drills.scenario import ScenarioContext, ScenarioError
from tests.drills.schema_changes.previous_release import checkout_release, last_tag
from tests.drills.schema_changes.revision_cycle import RevisionCycle
from tests.drills.schema_changes.sample_revisions import (
    SAFE_REVISIONS,
    UNSAFE_REVISIONS,
    UNSAFE_SECONDS,
    SampleRevision,
    write_sample_revisions,
)
from tests.drills.test_drills import broken
from tests.migrations.revision_fixtures import CONTRACT_HEAD, EXPAND_HEAD, Revisions
from tests.support.revisions import describe_working_tree, git
from tests.support.schema_dump import revisions, schema

ADD = 'op.add_column("users", sa.Column("{0}", sa.Text()))'
DROP = 'op.drop_column("users", "{0}")'
RETYPED = SampleRevision(
    "another type without a table rewrite",
    'op.alter_column("users", "full_name", type_=sa.String())',
    'op.alter_column("users", "full_name", type_=sa.Text())',
)


@pytest.fixture
def own(tmp_path: Path) -> Revisions:
    """Revisions of the test."""
    directory = tmp_path / "versions"
    directory.mkdir()
    return Revisions(directory)


@pytest.mark.parametrize(("driver", "release"), [("asyncpg", ""), ("psycopg", "HEAD")])
def test_migrations_drill_passes_with_an_outdated_plan(
    stage: ScenarioContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str, release: str
) -> None:
    try:
        checkout_release(release, tmp_path / "head")
    except ScenarioError as error:
        pytest.skip(f"the tests are not in a repository: {error}")
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)  # do not measure the previous code
    planted = [SAFE_REVISIONS[0], RETYPED] if release else [*SAFE_REVISIONS, RETYPED]
    outcome = run(replace(stage, size=MIGRATIONS.quick, release=release), planted)
    assert broken(outcome) == {}
    figures = {check.claim: check.figure for check in outcome.checks}
    (served,) = [figure for claim, figure in figures.items() if claim.startswith("the previous release serves")]
    assert served.startswith("HEAD (" if release else "the working tree")
    # Outside a transaction, asyncpg itself prepares a rejected statement again, without an error of the service.
    refused = "; 0 rejected" not in figures["statements are prepared before the first revision"]
    assert refused or driver == "asyncpg"


@pytest.mark.parametrize("driver", ["asyncpg"])
def test_migrations_drill_fails_for_an_unsafe_revision(stage: ScenarioContext) -> None:
    found = broken(
        run(replace(stage, size=replace(MIGRATIONS.quick, hang_seconds=UNSAFE_SECONDS - 0.5)), UNSAFE_REVISIONS)
    )
    ((longest_claim, longest),) = [item for item in found.items() if item[0].startswith("the longest request")]
    assert "during a lock that is held (drill01) up" in longest
    (noticed,) = [reason for claim, reason in found.items() if claim.startswith("a lock that is held")]
    assert float(noticed.removeprefix("up ").partition(" s")[0]) >= UNSAFE_SECONDS
    # The time limits of the service are longer, so no request fails, and no acknowledged write is lost. A delayed
    # request can also end during the next revision.
    assert [claim for claim in found if not claim.endswith("delays no request")] == [longest_claim]


@pytest.mark.parametrize(
    ("planted", "rules"),
    [(SAFE_REVISIONS, set()), (UNSAFE_REVISIONS, {"timeout-override", "opaque-function-call"})],
    ids=["safe", "unsafe"],
)
def test_linter_classifies_the_sample_revisions(
    own: Revisions, planted: Sequence[SampleRevision], rules: set[str]
) -> None:
    write_sample_revisions(own, planted)
    findings = lint(ScriptDirectory.from_config(own.config()))
    assert {finding.rule for finding in findings if finding.revision.startswith("drill")} == rules


@pytest.fixture
def expanded(databases: Databases) -> Iterator[URL]:
    """A database of the test's own, with the schema after the expand phase."""
    url = databases.clone(Phase.EXPAND)
    yield url
    databases.drop(url)


def test_changes_run_compatible_revisions_up_and_down(expanded: URL, own: Revisions) -> None:
    for name in ("e1", "e2"):
        own.add(ADD.format(name), DROP.format(name), revision=name)
    own.last = "e1"
    for name, release, after in (("c1", "0.1.0", "e1"), ("c2", "9.0.0", "e2")):
        more = f'phase = "contract"\nsafe_from = "{release}"\ndepends_on = "{after}"'
        own.add(ADD.format(name), DROP.format(name), revision=name, more=more)
    config = own.config(with_driver(expanded, "asyncpg"))
    before = schema(expanded)
    moves = list(RevisionCycle(config, expanded, release="0.1.0").moves())
    assert [(move.revision, move.direction) for move in moves] == [
        *((name, "up") for name in ("e1", "e2", "c1", CONTRACT_HEAD)),
        *((name, "down") for name in (CONTRACT_HEAD, "c1", "e2", "e1")),
    ]
    assert all(one.window.end <= other.window.start for one, other in pairwise(moves))
    assert not any(move.unfinished for move in moves)
    assert (revisions(expanded), schema(expanded)) == ([EXPAND_HEAD], before)
    later = RevisionCycle(config, expanded, release="9.0.0")
    assert sorted(script.revision for script in later.scripts) == ["c1", "c2", CONTRACT_HEAD, "e1", "e2"]


def test_changes_report_unfinished_work_and_failure(scratch: URL, own: Revisions) -> None:
    own.add('op.execute("ALTER TABLE users ADD CONSTRAINT ck_a CHECK (version > 0) NOT VALID")')
    own.add("""op.execute("CREATE TABLE alembic_backfills AS SELECT 'other'::text AS revision")""")
    own.add('op.execute("SELECT nothing")')
    moves = RevisionCycle(own.config(with_driver(scratch, "asyncpg")), scratch, release="0.1.0").moves()
    constraint = "constraint ck_a is not validated"
    assert next(moves).unfinished == [constraint]
    assert next(moves).unfinished == [constraint, "a backfill of revision other is not done"]
    with pytest.raises(ScenarioError, match=r"revision .* failed: .*nothing"):
        next(moves)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of two commits; the first has a tag."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    root = tmp_path / "repository"
    for part in ("domain", "application", "adapters", "migrations"):
        (root / part).mkdir(parents=True)
        (root / part / "__init__.py").touch()
    git(root, "init", "--quiet")
    _commit(root, "1.2.0")
    git(root, "tag", "v1.2.0")
    _commit(root, "1.3.0")
    return root


def _commit(root: Path, version: str) -> None:
    (root / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n')
    git(root, "add", ".")
    git(root, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "Change")


def test_release_is_extracted_from_the_last_tag(repository: Path, tmp_path: Path) -> None:
    assert last_tag(repository=repository) == "v1.2.0"
    release = checkout_release("v1.2.0", tmp_path / "taken", repository=repository)
    assert (release.version, release.name.startswith("v1.2.0 (")) == ("1.2.0", True)
    found = subprocess.check_output(
        [sys.executable, "-c", "import adapters, migrations; print(adapters.__file__, migrations.__file__)"],
        cwd=tmp_path,
        env=release.variables,
        text=True,
    )
    assert found.split() == [str(release.root / part / "__init__.py") for part in ("adapters", "migrations")]
    assert checkout_release("HEAD", tmp_path / "head", repository=repository).version == "1.3.0"


def test_describe_working_tree_mentions_uncommitted_changes(repository: Path, tmp_path: Path) -> None:
    clean = describe_working_tree(repository=repository)
    checkout_release("v1.2.0", tmp_path / "taken", repository=repository)
    assert describe_working_tree(repository=repository) == clean  # the checkout is elsewhere
    (repository / "new").touch()
    assert describe_working_tree(repository=repository) == f"{clean} with uncommitted changes"


def test_release_is_the_working_tree_without_a_tag(repository: Path, tmp_path: Path) -> None:
    assert checkout_release("", tmp_path / "taken").root == ROOT
    assert last_tag(repository=repository / "adapters") == ""
    assert last_tag(repository=tmp_path) == ""
    git(repository, "tag", "--delete", "v1.2.0")
    assert last_tag(repository=repository) == ""
    for reference in ("v1.2.0", "--output=x"):
        with pytest.raises(ScenarioError, match="git rev-parse"):
            checkout_release(reference, tmp_path / "taken", repository=repository)
