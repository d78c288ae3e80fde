"""The Alembic configuration, independent of the working directory."""

import traceback
from pathlib import Path
from typing import Any

from alembic.config import Config

DIRECTORY = Path(__file__).parents[1]


def alembic_config(**attributes: Any) -> Config:
    """Return a configuration; `attributes` are the options that env.py reads."""
    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(DIRECTORY).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def error_location(error: BaseException) -> str:
    """Return the file and line of the revision that raised an error, or of the runner."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    in_revisions = [frame for frame in frames if Path(frame.filename).parent.name == "versions"]
    in_runner = [frame for frame in frames if DIRECTORY in Path(frame.filename).parents]
    frame = (in_revisions or in_runner or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"
