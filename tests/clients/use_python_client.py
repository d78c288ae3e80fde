"""Calls a running service with the generated Python client: `use_python_client.py URL KEY`."""

import sys
from datetime import UTC, datetime
from http import HTTPStatus
from uuid import UUID, uuid4

from hexapost_client import AuthenticatedClient
from hexapost_client.api.api_keys import create_api_key
from hexapost_client.api.health import get_readiness
from hexapost_client.api.posts import create_post, list_posts
from hexapost_client.api.users import create_user, delete_user, get_user, head_user, list_users, update_user
from hexapost_client.models import (
    CreateApiKeyRequest,
    CreatedApiKeyResponse,
    CreatePostRequest,
    CreateUserRequest,
    PostPage,
    PostResponse,
    PostStatus,
    Problem,
    ReadinessResponse,
    Scope,
    UpdateUserRequest,
    UserPage,
    UserResponse,
)


def main(base_url: str, key: str) -> None:
    """Call the operations, and check the results."""
    # A response with an undocumented status raises an error.
    with AuthenticatedClient(base_url=base_url, token=key, raise_on_unexpected_status=True) as client:
        check_health(client)
        user = check_create(client)
        check_list(client)
        check_update(client, user)
        check_posts(client, user)
        check_api_keys(client, user)
        assert delete_user.sync_detailed(user.id, client=client, if_match='"2"').status_code == HTTPStatus.NO_CONTENT
        missing = get_user.sync_detailed(user.id, client=client)
        check_problem(missing.parsed, HTTPStatus.NOT_FOUND, "/problems/user-not-found")


def check_problem(problem: object, status: int, problem_type: str) -> None:
    assert isinstance(problem, Problem), problem
    assert (problem.status, problem.type_) == (status, problem_type)


def check_health(client: AuthenticatedClient) -> None:
    readiness = get_readiness.sync(client=client)
    assert isinstance(readiness, ReadinessResponse), readiness
    assert readiness.components["database"].ready


def check_create(client: AuthenticatedClient) -> UserResponse:
    """Create a user, and send the same request again."""
    body = CreateUserRequest(email="ada@example.org")
    first, second = (create_user.sync_detailed(client=client, body=body, idempotency_key="ada") for _ in range(2))
    assert first.status_code == second.status_code == HTTPStatus.CREATED
    assert [response.headers.get("idempotency-replayed") for response in (first, second)] == [None, "true"]
    user = first.parsed
    assert isinstance(user, UserResponse), user
    assert user == second.parsed
    assert isinstance(user.id, UUID)
    assert isinstance(user.created_at, datetime)
    assert (user.full_name, user.is_active, user.version) == (None, True, 1)
    conflict = create_user.sync(client=client, body=body)
    check_problem(conflict, HTTPStatus.CONFLICT, "/problems/email-already-registered")
    return user


def check_list(client: AuthenticatedClient) -> None:
    """Read all users in pages."""
    for number in range(4):
        create_user.sync(client=client, body=CreateUserRequest(email=f"{number}@example.org", is_active=False))
    emails = []
    page = list_users.sync(client=client, limit=2)
    assert isinstance(page, UserPage), page
    while True:
        emails += [user.email for user in page.items]
        if page.next_cursor is None:
            break
        page = list_users.sync(client=client, limit=2, cursor=page.next_cursor)
        assert isinstance(page, UserPage), page
    assert emails == [f"{number}@example.org" for number in (3, 2, 1, 0)] + ["ada@example.org"]
    active = list_users.sync(client=client, is_active=True)
    assert isinstance(active, UserPage)
    assert len(active.items) == 1


def check_update(client: AuthenticatedClient, user: UserResponse) -> None:
    """Update a user with If-Match, and read the user with If-None-Match."""
    body = UpdateUserRequest(full_name="Ada Lovelace")
    updated, outdated = (update_user.sync(user.id, client=client, body=body, if_match='"1"') for _ in range(2))
    assert isinstance(updated, UserResponse), updated
    assert (updated.full_name, updated.version) == ("Ada Lovelace", 2)
    check_problem(outdated, HTTPStatus.PRECONDITION_FAILED, "/problems/version-mismatch")
    for get in (get_user, head_user):
        assert get.sync_detailed(user.id, client=client, if_none_match='"1"').status_code == HTTPStatus.OK
        assert get.sync_detailed(user.id, client=client, if_none_match='"2"').status_code == HTTPStatus.NOT_MODIFIED


def check_posts(client: AuthenticatedClient, author: UserResponse) -> None:
    """Create a draft, and find it by its status."""
    created = create_post.sync(
        client=client, body=CreatePostRequest(author_id=author.id, title="On the engine", content="Notes")
    )
    assert isinstance(created, PostResponse), created
    assert (created.status, created.published_at) == (PostStatus.DRAFT, None)
    page = list_posts.sync(client=client, author_id=author.id, status=PostStatus.DRAFT, q="engine")
    assert isinstance(page, PostPage), page
    assert [post.id for post in page.items] == [created.id]
    unknown = CreatePostRequest(author_id=uuid4(), title="x", content="x", status=PostStatus.PUBLISHED)
    check_problem(
        create_post.sync(client=client, body=unknown), HTTPStatus.UNPROCESSABLE_ENTITY, "/problems/author-not-found"
    )


def check_api_keys(client: AuthenticatedClient, user: UserResponse) -> None:
    """Create an API key that expires and is bound to a user."""
    expires_at = datetime(2099, 12, 31, tzinfo=UTC)
    body = CreateApiKeyRequest(name="client", scopes=[Scope.USERSREAD], user_id=user.id, expires_at=expires_at)
    created = create_api_key.sync(client=client, body=body)
    assert isinstance(created, CreatedApiKeyResponse), created
    assert (created.expires_at, created.last_used_at, created.user_id) == (expires_at, None, user.id)


if __name__ == "__main__":
    main(*sys.argv[1:])
