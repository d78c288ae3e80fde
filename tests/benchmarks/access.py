"""The API key that the measured requests carry; the services that know no keys ignore it."""

from uuid import UUID

from application.api_key_tokens import PepperSet, format_api_key
from domain.api_keys import Scope
from tests.benchmarks.dataset import FIRST_MOMENT, Row

PEPPER = "a pepper of the benchmark which keys nothing else"
KEY_ID = UUID("019b7a2c-0000-7000-8000-000000000001")
KEY = format_api_key(KEY_ID, "0" * 32)
AUTHORIZATION = f"Bearer {KEY}"

SETTINGS = {
    "HEXAPOST_API_KEY_PEPPERS": f"1:{PEPPER}",
    # So high that it rejects no request. Requests are counted as in production.
    "HEXAPOST_RATE_LIMIT": "900000000/minute",
}


def key_row() -> Row:
    """Return the key as a row of its table."""
    kept = PepperSet({1: PEPPER.encode()}).hash(KEY)
    return {
        "id": KEY_ID,
        "name": "benchmark",
        "scopes": sorted(Scope),
        "pepper": kept.pepper,
        "digest": kept.digest,
        "created_at": FIRST_MOMENT,
    }
