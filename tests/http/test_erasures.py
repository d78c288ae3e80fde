"""Tests for the endpoint of erasure receipts."""

import pytest

from domain.api_keys import Scope
from tests.http.openapi_document import DOCUMENT, check
from tests.http.support import ADMIN_ID, NOBODY, Api, check_problem


async def test_receipt_of_deleted_user_has_no_personal_data(api: Api) -> None:
    user = await api.user(email="ada@example.org", full_name="Ada")
    await api.post(user, title="Secret")
    await api.key(Scope.POSTS_READ, user_id=user["id"])
    url = f"/api/v1/erasures/{user['id']}"
    check_problem(await api.client.get(url), 404, "erasure-not-found")
    assert (await api.client.delete(f"/api/v1/users/{user['id']}")).status_code == 204
    response = await api.client.get(url)
    receipt = response.json()
    check(DOCUMENT["components"]["schemas"]["ErasureReceiptResponse"], receipt)
    assert receipt.pop("erased_at").endswith("Z")
    assert receipt == {
        "user_id": user["id"],
        "actor_kind": "api_key",
        "actor_id": str(ADMIN_ID),
        "erased_rows": {"users": 1, "posts": 1, "api_keys": 1, "idempotency_records": 0},
    }
    assert response.headers["cache-control"] == "no-store"
    head = await api.client.head(url)
    assert (head.status_code, head.content) == (200, b"")


async def test_second_delete_returns_404_and_keeps_the_receipt(api: Api) -> None:
    user = await api.user()
    path = f"/api/v1/users/{user['id']}"
    await api.client.delete(path)
    before = (await api.client.get(f"/api/v1/erasures/{user['id']}")).json()
    check_problem(await api.client.delete(path), 404, "user-not-found")
    assert (await api.client.get(f"/api/v1/erasures/{user['id']}")).json() == before


@pytest.mark.parametrize("user_id", ["x", "%00", "0", NOBODY, f"{NOBODY}%0a"])
async def test_erasures_reject_an_unknown_id(api: Api, user_id: str) -> None:
    response = await api.client.get(f"/api/v1/erasures/{user_id}")
    if user_id == NOBODY:
        check_problem(response, 404, "erasure-not-found")
    else:
        check_problem(response, 422, "validation-failed")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_receipt_cannot_be_changed_over_http(api: Api, method: str) -> None:
    user = await api.user()
    await api.client.delete(f"/api/v1/users/{user['id']}")
    url = f"/api/v1/erasures/{user['id']}"
    before = (await api.client.get(url)).json()
    check_problem(await api.client.request(method, url, json={}), 405, "method-not-allowed")
    assert (await api.client.get(url)).json() == before
