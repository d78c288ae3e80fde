"""The Alembic configuration, independent of the working directory."""

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
