"""The application, for ASGI servers (`uvicorn --factory adapters.asgi:create_app`) and for tests."""

import logging

from fastapi import FastAPI

from adapters.container import Container
from adapters.observability.logging import configure_logs
from adapters.observability.metrics import multiproc_dir
from adapters.secret_files import cursor_secret, key_peppers
from adapters.settings import Settings, load_settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the application. The caller runs its lifespan. See `create_container` for the settings."""
    return create_container(settings).app()


def create_container(settings: Settings | None = None) -> Container:
    """Return the object graph of the application. Its providers can be overridden before the first use of `app`.

    Without settings, load them from the environment, and configure the logs of this process. Raises SettingsError for
    invalid settings, and OSError if a generated secret can be neither read nor created.
    """
    if settings is None:
        settings = load_settings()
        configure_logs(level=settings.log_level, log_format=settings.log_format)
        for server in ("uvicorn", "granian"):
            # Its access log has query strings, which contain personal data. The application logs each request itself.
            logging.getLogger(f"{server}.access").setLevel(logging.WARNING)
    return Container(
        settings=settings,
        cursor_secret=cursor_secret(settings),
        peppers=key_peppers(settings),
        metrics_directory=multiproc_dir(),
    )
