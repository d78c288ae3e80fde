"""`python -m tests.drills NAME`: run a drill; with `all`, run every drill and write report/index.html."""

import argparse
import gc
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psycopg

from adapters.embedded import EmbeddedPostgresError
from adapters.testing.template_databases import Databases
from tests.drills.registry import DRILLS
from tests.drills.reporting import report
from tests.drills.reporting.charts import latency_charts
from tests.drills.reporting.console import Console
from tests.drills.scenario import Scenario, ScenarioContext, ScenarioError, ScenarioSize, Verification
from tests.drills.schema_changes.previous_release import last_tag
from tests.support.benchmark_server import at_least, benchmark_databases, install_shutdown_handler
from tests.support.database_fixture import DRIVERS

ALL = "all"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the drills and return the exit status: 0 if every claim holds, else 1."""
    options = _options(arguments)
    install_shutdown_handler()
    gc.disable()  # a collection of many attempts would pause the load, which shares a core with this process
    screen = Console(sys.stderr)
    names = list(DRILLS) if options.name == ALL else [options.name]
    plan = [(DRILLS[name], driver) for name in names for driver in options.driver or DRILLS[name].drivers]
    try:
        with benchmark_databases("drill-postgres", screen.say) as databases:
            done = []
            for number, (drill, driver) in enumerate(plan, 1):
                screen.begin(f"{drill.name} over {driver} ({number} of {len(plan)}), seed {options.seed}")
                done.append(_run_drill(drill, driver, databases, options, screen))
    except (ScenarioError, EmbeddedPostgresError, psycopg.Error, ValueError) as error:
        screen.say(f"no result: {error}")
        return 1
    except KeyboardInterrupt:
        screen.say("stopped")
        return 128 + signal.SIGINT
    if options.name == ALL:
        screen.say(f"the report is {report.write(options.output, done)}")
    sys.stdout.write(report.table(done))
    return 0 if all(one.passed for one in done) else 1


def _run_drill(
    drill: Scenario, driver: str, databases: Databases, options: argparse.Namespace, screen: Console
) -> report.ScenarioRun:
    """Run the drill. A drill that ends with an error has failed, and the next one runs."""
    start, database = time.monotonic(), databases.clone()
    run = report.ScenarioRun(drill=drill, driver=driver, seed=options.seed, checks=[])
    try:
        with tempfile.TemporaryDirectory(prefix="hexapost-drill-") as directory:
            stage = ScenarioContext(
                database=database,
                driver=driver,
                directory=Path(directory),
                size=_size(drill, options),
                seed=options.seed,
                say=screen.say,
                progress=screen.progress,
                release=options.release,
            )
            try:
                result = drill.run(stage)
                charts = latency_charts(result, title=str(run)) if result.attempts else ""
                run = replace(run, checks=result.checks, charts=charts)
            except (ScenarioError, AssertionError, OSError, psycopg.Error, subprocess.SubprocessError) as error:
                reason = f"{type(error).__name__}: {error}"
                run = replace(run, checks=[Verification("the drill runs to its end", "no", reason)])
            if not run.passed and (output := stage.directory / "output").exists():
                options.output.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(output, options.output / f"{drill.name}-{driver}.log")
    finally:
        seconds = time.monotonic() - start
        screen.say(f"{run} has ended after {seconds:.0f} s")
        databases.drop(database)
    return replace(run, seconds=seconds)


def _size(drill: Scenario, options: argparse.Namespace) -> ScenarioSize:
    given = {name: value for name in ("requests", "seconds", "times", "rows") if (value := getattr(options, name))}
    return replace(drill.quick if options.quick else drill.full, **given)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("name", choices=[*DRILLS, ALL], metavar="NAME", help=f"{', '.join(DRILLS)}, or {ALL}")
    parser.add_argument("--quick", action="store_true", help="run the short form")
    parser.add_argument(
        "--driver", choices=DRIVERS, action="append", help="database driver; repeatable (those of the drill)"
    )
    parser.add_argument("--requests", type=at_least(2), help="number of requests, if the drill counts them")
    parser.add_argument("--seconds", type=at_least(2), help="length of the load, or of the longest fault")
    parser.add_argument("--times", type=at_least(2), help="number of faults")
    parser.add_argument("--rows", type=at_least(2), help="number of posts before a migration")
    parser.add_argument(
        "--release",
        default=last_tag(),
        metavar="REF",
        help="tag or commit that serves during migrations (the last tag before this commit: '%(default)s'; without a "
        "tag, the working tree)",
    )
    parser.add_argument("--seed", default=secrets.token_hex(4), help="seed of random choices (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("report"), help="directory of the report (%(default)s)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
