"""Tests for the endpoint of the audit trail."""

from uuid import UUID

import pytest

from tests.http.openapi_document import DOCUMENT, check
from tests.http.support import ADMIN_ID, Api, Json, check_problem

AUDIT = "/api/v1/audit"


async def _entries(api: Api, **params: str) -> list[Json]:
    response = await api.client.get(AUDIT, params=params)
    assert response.status_code == 200, response.text
    check(DOCUMENT["components"]["schemas"]["AuditPage"], response.json())
    items: list[Json] = response.json()["items"]
    return items


async def test_audit_lists_each_change_with_its_request(api: Api) -> None:
    user = await api.user()
    url = f"/api/v1/users/{user['id']}"
    await api.client.patch(url, json={"full_name": "Ada King"}, headers={"X-Request-ID": "rename-1"})
    entry, created = await _entries(api, subject_id=user["id"])
    UUID(entry.pop("id"))
    assert entry.pop("created_at").endswith("Z")
    assert entry == {
        "actor_kind": "api_key",
        "actor_id": str(ADMIN_ID),
        "request_id": "rename-1",
        "operation": "updated",
        "subject_kind": "user",
        "subject_id": user["id"],
        "user_id": user["id"],
        "changed_fields": ["full_name"],
        "version_before": 1,
        "version_after": 2,
    }
    assert created["request_id"] == api.log[0]["request_id"]
    assert "Ada" not in str(created)


async def test_audit_of_deleted_user_has_no_request_ids(api: Api) -> None:
    user = await api.user()
    await api.post(user)
    headers = {"X-Request-ID": "chosen-by-the-client"}
    assert (await api.client.delete(f"/api/v1/users/{user['id']}", headers=headers)).status_code == 204
    found = await _entries(api)
    assert [entry["operation"] for entry in found[:4]] == ["deleted", "deleted", "created", "created"]
    assert {entry["request_id"] for entry in found if entry["user_id"] == user["id"]} == {None}


async def test_rotated_and_revoked_keys_have_entries_of_both_keys(api: Api) -> None:
    created = (await api.client.post("/api/v1/api-keys", json={"name": "x", "scopes": ["users:read"]})).json()
    for _ in range(2):
        assert (await api.client.delete(f"/api/v1/api-keys/{created['id']}")).status_code == 204
    found = await _entries(api, subject_id=created["id"])
    assert [entry["operation"] for entry in found] == ["revoked", "created"]
    assert {entry["actor_id"] for entry in found} == {str(ADMIN_ID)}


async def test_audit_pages_keep_their_filters(api: Api) -> None:
    user = await api.user()
    for number in range(3):
        await api.post(user, title=str(number))
    first = await api.client.get(AUDIT, params={"actor_id": str(ADMIN_ID), "limit": "3"})
    cursor = first.json()["next_cursor"]
    rest = await _entries(api, actor_id=str(ADMIN_ID), cursor=cursor)
    assert [entry["subject_kind"] for entry in [*first.json()["items"], *rest]] == ["post"] * 3 + ["user"]
    assert f"actor_id={ADMIN_ID}" in first.headers["link"]
    other = await api.client.get(AUDIT, params={"cursor": cursor})
    check_problem(other, 422, "validation-failed")


@pytest.mark.parametrize(
    "params", [{"subject_id": "x"}, {"actor_id": ""}, {"user_id": str(ADMIN_ID)}, {"subject_id": "%00"}, {"limit": "0"}]
)
async def test_audit_rejects_invalid_parameters(api: Api, params: dict[str, str]) -> None:
    problem = check_problem(await api.client.get(AUDIT, params=params), 422, "validation-failed")
    assert [error["parameter"] for error in problem["errors"]] == list(params)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_audit_entries_cannot_be_changed_over_http(api: Api, method: str) -> None:
    await api.user()
    (entry,) = await _entries(api, limit="1")
    response = await api.client.request(method, AUDIT, json={})
    check_problem(response, 405, "method-not-allowed")
    response = await api.client.request(method, f"{AUDIT}/{entry['id']}", json={})
    check_problem(response, 404, "not-found")
    assert await _entries(api, limit="1") == [entry]
