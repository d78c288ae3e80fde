"""The environment of the processes that this package starts."""

import os

PASSED_THROUGH = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")


def clean_environment() -> dict[str, str]:
    """Return an environment in which no PG* variable, locale or time zone of the caller has a say."""
    kept = {name: os.environ[name] for name in PASSED_THROUGH if name in os.environ}
    return {"PATH": os.defpath} | kept | {"LC_ALL": "C", "TZ": "UTC"}
