"""Litestar with advanced-alchemy: services over repositories, DTOs of the models, the logging middleware."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import uuid_utils.compat
from advanced_alchemy.base import DefaultBase
from advanced_alchemy.extensions.litestar import (
    AsyncSessionConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyDTO,
    SQLAlchemyPlugin,
    repository,
    service,
)
from litestar import Litestar, Response, get, patch, post
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.logging import LoggingConfig
from litestar.middleware.logging import LoggingMiddlewareConfig
from litestar.params import Parameter
from litestar.serialization import encode_json
from sqlalchemy import ForeignKey, func, select
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column


def utc_now() -> datetime:
    return datetime.now(UTC)


class User(DefaultBase):
    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str]
    full_name: Mapped[str | None]
    is_active: Mapped[bool]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
    version: Mapped[int]


class Post(DefaultBase):
    __tablename__ = "posts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid_utils.compat.uuid7)
    author_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    title: Mapped[str]
    content: Mapped[str]
    status: Mapped[str]
    published_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    version: Mapped[int]
    title_tokens: Mapped[str] = mapped_column(TSVECTOR, deferred=True)
    text_tokens: Mapped[str] = mapped_column(TSVECTOR, deferred=True)


class Record(DefaultBase):
    __tablename__ = "baseline_records"

    key: Mapped[str] = mapped_column(primary_key=True)
    response: Mapped[bytes]


class UserService(service.SQLAlchemyAsyncRepositoryService[User]):
    class Repository(repository.SQLAlchemyAsyncRepository[User]):
        model_type = User

    repository_type = Repository


class PostService(service.SQLAlchemyAsyncRepositoryService[Post]):
    class Repository(repository.SQLAlchemyAsyncRepository[Post]):
        model_type = Post

    repository_type = Repository


@dataclass
class UserChanges:
    full_name: Annotated[str, Parameter(min_length=1, max_length=200)]


@dataclass
class NewPost:
    author_id: UUID
    title: Annotated[str, Parameter(min_length=1, max_length=200)]
    content: Annotated[str, Parameter(min_length=1, max_length=2000)]


UserDTO = SQLAlchemyDTO[User]


def post_data(post: Post) -> dict[str, Any]:
    names = (column.key for column in Post.__table__.columns)
    return {name: getattr(post, name) for name in names if not name.endswith("_tokens")}


async def provide_users(db_session: AsyncSession) -> UserService:
    return UserService(session=db_session)


async def provide_posts(db_session: AsyncSession) -> PostService:
    return PostService(session=db_session)


@get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@get("/api/v1/users/{user_id:uuid}", return_dto=UserDTO)
async def get_user(user_id: UUID, users: UserService) -> User:
    return await users.get(user_id)


@patch("/api/v1/users/{user_id:uuid}", return_dto=UserDTO)
async def update_user(
    user_id: UUID, data: UserChanges, users: UserService, if_match: Annotated[str, Parameter(header="If-Match")]
) -> User:
    user = await users.get_one(User.id == user_id, statement=select(User).with_for_update())
    if if_match != f'"{user.version}"':
        raise HTTPException(status_code=412)
    user.full_name = data.full_name
    user.version += 1
    return await users.update(user)


@get("/api/v1/posts")
async def list_posts(
    posts: PostService,
    author_id: UUID | None = None,
    q: str | None = None,
    cursor: UUID | None = None,
    limit: Annotated[int, Parameter(ge=1, le=100)] = 20,
) -> dict[str, Any]:
    statement = select(Post).limit(limit + 1)
    if q is not None:
        tokens = func.plainto_tsquery("simple", q)
        statement = statement.where(Post.text_tokens.op("@@")(tokens))
        statement = statement.order_by(Post.title_tokens.op("@@")(tokens).desc())
    if author_id is not None:
        statement = statement.where(Post.author_id == author_id)
    if cursor is not None:
        statement = statement.where(Post.id < cursor)
    found = await posts.list(statement=statement.order_by(Post.id.desc()))
    items = [post_data(post) for post in found[:limit]]
    return {"items": items, "next_cursor": items[-1]["id"] if len(found) > limit else None}


@post("/api/v1/posts")
async def create_post(
    data: NewPost,
    posts: PostService,
    users: UserService,
    db_session: AsyncSession,
    idempotency_key: Annotated[str | None, Parameter(header="Idempotency-Key")] = None,
) -> Response[Any]:
    if idempotency_key and (record := await db_session.get(Record, idempotency_key)):
        return Response(record.response, status_code=201, media_type="application/json")
    author = await users.get_one_or_none(id=data.author_id)
    if author is None:
        raise HTTPException(status_code=422)
    if not author.is_active:
        raise HTTPException(status_code=409)
    now = utc_now()
    created = await posts.create(
        Post(
            author_id=data.author_id,
            title=data.title,
            content=data.content,
            status="draft",
            published_at=None,
            created_at=now,
            updated_at=now,
            version=1,
            title_tokens=func.to_tsvector("simple", data.title),
            text_tokens=func.to_tsvector("simple", f"{data.title} {data.content}"),
        )
    )
    body = post_data(created)
    if idempotency_key:
        db_session.add(Record(key=idempotency_key, response=encode_json(body)))
    return Response(body, status_code=201)


database = SQLAlchemyAsyncConfig(
    connection_string=os.environ["DATABASE_URL"],
    session_config=AsyncSessionConfig(expire_on_commit=False),
    before_send_handler="autocommit",
)
database.engine_config.pool_size = int(os.environ["POOL_SIZE"])
database.engine_config.max_overflow = 0

app = Litestar(
    [livez, get_user, update_user, list_posts, create_post],
    dependencies={"users": Provide(provide_users), "posts": Provide(provide_posts)},
    plugins=[SQLAlchemyPlugin(config=database)],
    logging_config=LoggingConfig(log_exceptions="always"),
    middleware=[
        LoggingMiddlewareConfig(request_log_fields=("method", "path"), response_log_fields=("status_code",)).middleware
    ],
)
