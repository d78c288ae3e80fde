"""`python -m tests.drills NAME`: carry out a drill, or `all` of them and write report/index.html."""

import argparse
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psycopg

from adapters.embedded import EmbeddedPostgresError
from tests.drills.drill import Check, Drill, DrillError, Outcome, Size, Stage
from tests.drills.migrating.releases import last_tag
from tests.drills.registry import DRILLS
from tests.drills.reporting import report
from tests.drills.reporting.screen import Screen
from tests.support.commands import end_in_order, measured_server
from tests.support.databases import Databases
from tests.support.stores import DRIVERS

ALL = "all"


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the drills and return the exit status: 0 when every claim holds, 1 when one does not."""
    options = _options(arguments)
    end_in_order()
    screen = Screen(sys.stderr)
    names = list(DRILLS) if options.name == ALL else [options.name]
    plan = [(DRILLS[name], driver) for name in names for driver in options.driver]
    try:
        with measured_server("drill-postgres", screen.say) as url:
            databases = Databases(url, run=secrets.token_hex(4), worker="drill")
            with databases.opened():
                done = []
                for number, (drill, driver) in enumerate(plan, 1):
                    screen.begin(f"{drill.name} over {driver} ({number} of {len(plan)}), seed {options.seed}")
                    done.append(_carried_out(drill, driver, databases, options, screen))
    except (DrillError, EmbeddedPostgresError, psycopg.Error, ValueError) as error:
        screen.say(f"no result: {error}")
        return 1
    except KeyboardInterrupt:
        screen.say("stopped")
        return 128 + signal.SIGINT
    if options.name == ALL:
        screen.say(f"the report is {report.write(options.output, done)}")
    sys.stdout.write(report.table(done))
    return 0 if all(one.outcome.passed for one in done) else 1


def _carried_out(
    drill: Drill, driver: str, databases: Databases, options: argparse.Namespace, screen: Screen
) -> report.Done:
    size = _size(drill, options)
    database = databases.clone()
    try:
        with tempfile.TemporaryDirectory(prefix="hexapost-drill-") as directory:
            stage = Stage(
                database=database,
                driver=driver,
                directory=Path(directory),
                size=size,
                seed=options.seed,
                say=screen.say,
                progress=screen.progress,
                release=options.release,
            )
            outcome = _outcome(drill, stage)
            if not outcome.passed:
                _keep_words(stage.directory, options.output / f"{drill.name}-{driver}.log")
    finally:
        screen.end()
        databases.drop(database)
    return report.Done(drill=drill, driver=driver, seed=options.seed, outcome=outcome)


def _outcome(drill: Drill, stage: Stage) -> Outcome:
    """Return what the drill found; one that cannot be carried out has failed, and the others go on."""
    try:
        return drill.run(stage)
    except (DrillError, AssertionError, OSError, psycopg.Error, subprocess.SubprocessError) as error:
        reason = f"{type(error).__name__}: {error}"
        return Outcome(checks=[Check(claim="the drill can be carried out", figure="no", reason=reason)])


def _keep_words(directory: Path, log: Path) -> None:
    """Keep what the service has written as long as it was under the drill."""
    if (output := directory / "output").exists():
        log.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(output, log)


def _size(drill: Drill, options: argparse.Namespace) -> Size:
    given = {name: value for name in ("requests", "seconds", "times", "rows") if (value := getattr(options, name))}
    return replace(drill.quick if options.quick else drill.full, **given)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("name", type=_name, metavar="NAME", help=f"{', '.join(DRILLS)}, or {ALL}")
    parser.add_argument("--quick", action="store_true", help="much less of it: to see that it works")
    parser.add_argument("--driver", choices=DRIVERS, action="append", help="may be given twice (both)")
    parser.add_argument("--requests", type=_count, help="of a drill that counts requests")
    parser.add_argument("--seconds", type=_count, help="of the load, or of the longest fault")
    parser.add_argument("--times", type=_count, help="of a drill that counts faults")
    parser.add_argument("--rows", type=_count, help="of a drill that fills tables")
    parser.add_argument(
        "--release",
        default=last_tag(),
        metavar="REF",
        help="the release before, as a tag or commit, whose code serves while its schema changes: the last tag before "
        "this commit, here '%(default)s', or else the own code stands in for it",
    )
    parser.add_argument("--seed", default=secrets.token_hex(4), help="of all that is random (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("report"), help="directory of the report (%(default)s)")
    options = parser.parse_args(arguments)
    options.driver = options.driver or list(DRIVERS)
    return options


def _name(text: str) -> str:
    if text != ALL and text not in DRILLS:
        raise argparse.ArgumentTypeError(f"there is no drill {text!r}; there are {', '.join(DRILLS)}, and {ALL}")
    return text


def _count(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError("must be at least 2")
    return number


if __name__ == "__main__":
    sys.exit(main())
