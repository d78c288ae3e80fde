"""Alembic's configuration in code: where the revisions are, wherever the packages are installed."""

from pathlib import Path
from typing import Any

from alembic.config import Config

DIRECTORY = Path(__file__).parent


def alembic_config(**attributes: Any) -> Config:
    """Return the configuration; `attributes` are what env.py reads."""
    config = Config(attributes=attributes)
    config.set_main_option("script_location", str(DIRECTORY).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
