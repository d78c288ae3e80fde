"""The drill `migrations` can fail, its own revisions are safe ones, and it serves with the code of any release."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from migrations.checks.lint import lint
from tests.cli.support import ROOT
from tests.drills.drill import DrillError, Outcome, Stage
from tests.drills.migrating.changing import Changes
from tests.drills.migrating.planted import SAFE, UNSAFE, UNSAFE_SECONDS, Planted, plant
from tests.drills.migrating.releases import last_tag, taken
from tests.drills.migrations import MIGRATIONS, run
from tests.migrations.revisions import EXPAND_HEAD, Revisions
from tests.support.databases import with_driver
from tests.support.schemas import revisions, schema

pytestmark = [
    pytest.mark.xdist_group("drills"),  # one after the other, and other tests meanwhile
    pytest.mark.timeout(1200),  # with the drills of other runs, for which each has to wait
]
FEW = 1000
ADD = 'op.add_column("users", sa.Column("{0}", sa.Text()))'
DROP = 'op.drop_column("users", "{0}")'
RETYPED = Planted(
    "another type, of which no row is written anew",
    'op.alter_column("posts", "content", type_=sa.String())',
    'op.alter_column("posts", "content", type_=sa.Text())',
)


@pytest.fixture
def own(tmp_path: Path) -> Revisions:
    """Revisions of the test's own."""
    directory = tmp_path / "versions"
    directory.mkdir()
    return Revisions(directory)


@pytest.fixture
def stage(alone: None, scratch: URL, driver: str, tmp_path: Path) -> Stage:  # noqa: ARG001 - it waits
    return Stage(
        database=scratch,
        driver=driver,
        directory=tmp_path,
        size=replace(MIGRATIONS.quick, rows=FEW),
        seed="1",
        say=lambda _line: None,
        progress=lambda _done, _total: None,
    )


def _figures(outcome: Outcome) -> dict[str, str]:
    return {check.claim: check.figure for check in outcome.checks}


def _broken(outcome: Outcome) -> dict[str, str]:
    return {check.claim: check.reason for check in outcome.checks if not check.passed}


def test_an_unsafe_revision_fails_the_drill_which_names_the_longest_request(stage: Stage) -> None:
    broken = _broken(run(stage, UNSAFE))
    (longest,) = [reason for claim, reason in broken.items() if claim.startswith("the longest request")]
    assert "during a lock that is held (drill01) up" in longest
    (noticed,) = [reason for claim, reason in broken.items() if claim.endswith("nobody notices")]
    assert float(noticed.removeprefix("up ").partition(" s")[0]) >= UNSAFE_SECONDS
    # The service waits for as long as that, so that no request fails, and nothing that was acknowledged is lost.
    assert broken.keys() == {
        claim for claim in broken if claim.startswith(("the longest request", "a lock that is held"))
    }


def test_a_revision_that_outdates_prepared_statements_fails_no_request(stage: Stage) -> None:
    outcome = run(stage, [RETYPED])
    assert _broken(outcome) == {}
    # So there were some. Outside a transaction asyncpg itself prepares anew what is refused, and nobody hears of it.
    refused = "; 0 refused" not in _figures(outcome)["statements are prepared before the first revision"]
    assert refused or stage.driver == "asyncpg"


@pytest.mark.parametrize(
    ("planted", "rules"), [(SAFE, set()), (UNSAFE, {"own-time-limits", "unseen-work"})], ids=["safe", "unsafe"]
)
def test_what_the_drill_plants_is_what_the_linter_takes_it_for(
    own: Revisions, planted: Sequence[Planted], rules: set[str]
) -> None:
    plant(own, planted)
    findings = lint(ScriptDirectory.from_config(own.config()))
    assert {finding.rule for finding in findings if finding.revision.startswith("drill")} == rules


def test_what_the_release_before_bears_goes_up_and_down_one_by_one(scratch: URL, driver: str, own: Revisions) -> None:
    _two_lines(own)
    config = own.config(with_driver(scratch, driver))
    before = schema(scratch)
    changes = Changes(config, scratch, release="0.1.0")
    moves = list(changes.moves())
    assert [(move.revision, move.up) for move in moves] == [
        *((name, True) for name in ("e1", "e2", "c1")),
        *((name, False) for name in ("c1", "e2", "e1")),
    ]
    assert all(one.end <= other.start for one, other in pairwise(moves))
    assert not any(move.unfinished for move in moves)
    assert (revisions(scratch), schema(scratch)) == ([EXPAND_HEAD], before)
    later = Changes(own.config(with_driver(scratch, driver)), scratch, release="9.0.0")
    assert [script.revision for script in later.scripts] == ["e1", "e2", "c1", "c2"]


def _two_lines(own: Revisions) -> None:
    """Add a line of expand revisions, and one of contract revisions of which the last is of a later release."""
    for name in ("e1", "e2"):
        own.add(ADD.format(name), DROP.format(name), revision=name)
    own.last = "e1"
    for name, release, after in (("c1", "0.1.0", "e1"), ("c2", "9.0.0", "e2")):
        more = f'phase = "contract"\nsafe_from = "{release}"\ndepends_on = "{after}"'
        own.add(ADD.format(name), DROP.format(name), revision=name, more=more)


def test_what_a_revision_leaves_behind_is_found_and_one_that_fails_ends_the_drill(
    scratch: URL, driver: str, own: Revisions
) -> None:
    own.add('op.execute("ALTER TABLE users ADD CONSTRAINT ck_a CHECK (version > 0) NOT VALID")')
    own.add('op.execute("SELECT nothing")')
    moves = Changes(own.config(with_driver(scratch, driver)), scratch, release="0.1.0").moves()
    assert next(moves).unfinished == ["constraint ck_a is not validated"]
    with pytest.raises(DrillError, match=r"a revision is not applied: .*nothing"):
        next(moves)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of two commits, of which the first one is tagged."""
    root = tmp_path / "repository"
    for part in ("domain", "application", "adapters", "migrations"):
        (root / part).mkdir(parents=True)
        (root / part / "__init__.py").touch()
    (root / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    _git(root, "init", "--quiet")
    _commit(root)
    _git(root, "tag", "v1.2.0")
    (root / "pyproject.toml").write_text('[project]\nversion = "1.3.0"\n')
    _commit(root)
    return root


def _commit(root: Path) -> None:
    _git(root, "add", ".")
    _git(root, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "Change")


def _git(root: Path, *arguments: str) -> None:
    git = shutil.which("git")
    if git is None:
        pytest.skip("there is no git")
    subprocess.run([git, "-C", root, *arguments], check=True)  # noqa: S603


def test_the_code_of_the_last_release_is_taken(repository: Path, tmp_path: Path) -> None:
    assert last_tag(repository=repository) == "v1.2.0"
    release = taken("v1.2.0", tmp_path / "taken", repository=repository)
    assert (release.version, release.name.startswith("v1.2.0 (")) == ("1.2.0", True)
    found = subprocess.check_output(
        [sys.executable, "-c", "import adapters, migrations; print(adapters.__file__, migrations.__file__)"],
        cwd=tmp_path,
        env=release.variables,
        text=True,
    )
    assert found.split() == [str(release.root / part / "__init__.py") for part in ("adapters", "migrations")]
    assert taken("HEAD", tmp_path / "head", repository=repository).version == "1.3.0"


def test_the_code_of_a_commit_serves(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        taken("HEAD", tmp_path / "head")
    except DrillError as error:
        pytest.skip(f"the tests are not in a repository: {error}")
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)  # the code of before is not what is measured
    outcome = run(replace(stage, release="HEAD"), SAFE[:1])
    assert _broken(outcome) == {}
    (served,) = [figure for claim, figure in _figures(outcome).items() if claim.startswith("the release before serves")]
    assert served.startswith("HEAD (")


def test_without_a_release_before_the_own_code_serves(repository: Path, tmp_path: Path) -> None:
    assert taken("", tmp_path / "taken").root == ROOT
    assert last_tag(repository=repository / "adapters") == ""
    assert last_tag(repository=tmp_path) == ""
    _git(repository, "tag", "--delete", "v1.2.0")
    assert last_tag(repository=repository) == ""
    for reference in ("v1.2.0", "--output=x"):
        with pytest.raises(DrillError, match="git rev-parse"):
            taken(reference, tmp_path / "taken", repository=repository)
