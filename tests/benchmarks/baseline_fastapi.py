"""(f) The textbook service, as tutorials write it: FastAPI, an ORM session for each request, a middleware that logs.

The session comes from a dependency that commits after `yield`, connections are pinged when they are taken, responses go
through `response_model`. One module instead of a package; it has all usual parts, and no part is slow on purpose.
"""

import logging
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

import uuid_utils.compat
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response, status
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import DateTime, ForeignKey, func, select
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
logger = logging.getLogger("textbook")

engine = create_async_engine(
    os.environ["DATABASE_URL"], pool_size=int(os.environ["POOL_SIZE"]), max_overflow=0, pool_pre_ping=True
)
new_session = async_sessionmaker(engine, expire_on_commit=False)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012 - as SQLAlchemy's documentation has it


class User(Base):
    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid_utils.compat.uuid7)
    email: Mapped[str]
    email_normalized: Mapped[str] = mapped_column(unique=True)
    full_name: Mapped[str | None]
    is_active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(default=utc_now, onupdate=utc_now)
    version: Mapped[int] = mapped_column(default=1)


class Post(Base):
    __tablename__ = "posts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid_utils.compat.uuid7)
    author_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    title: Mapped[str]
    content: Mapped[str]
    status: Mapped[str] = mapped_column(default="draft")
    published_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(default=1)
    title_tokens: Mapped[str] = mapped_column(TSVECTOR, deferred=True)
    text_tokens: Mapped[str] = mapped_column(TSVECTOR, deferred=True)


class Record(Base):
    __tablename__ = "baseline_records"

    key: Mapped[str] = mapped_column(primary_key=True)
    response: Mapped[bytes]


class UserIn(BaseModel):
    full_name: str = Field(min_length=1, max_length=200)


class UserOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    email: str
    full_name: str | None
    is_active: bool
    created_at: datetime
    updated_at: datetime
    version: int


class PostIn(BaseModel):
    author_id: UUID
    title: str = Field(min_length=1, max_length=200)
    content: str = Field(min_length=1, max_length=2000)


class PostOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    author_id: UUID
    title: str
    content: str
    status: str
    published_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int


class PostPage(BaseModel):
    items: list[PostOut]
    next_cursor: UUID | None


class RequestLog(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        request_id = request.headers.get("X-Request-ID") or uuid4().hex
        started = time.perf_counter()
        response = await call_next(request)
        response.headers["X-Request-ID"] = request_id
        milliseconds = (time.perf_counter() - started) * 1000
        logger.info(
            "%s %s %s %.3f ms %s", request.method, request.url.path, response.status_code, milliseconds, request_id
        )
        return response


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        try:
            yield session
            await session.commit()
        except Exception:
            await session.rollback()
            raise


Session = Annotated[AsyncSession, Depends(get_session)]

app = FastAPI()
app.add_middleware(RequestLog)


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/api/v1/users/{user_id}", response_model=UserOut)
async def get_user(user_id: UUID, session: Session) -> User:
    user = await session.get(User, user_id)
    if user is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "User not found")
    return user


@app.patch("/api/v1/users/{user_id}", response_model=UserOut)
async def update_user(user_id: UUID, body: UserIn, if_match: Annotated[str, Header()], session: Session) -> User:
    user = await session.get(User, user_id, with_for_update=True)
    if user is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "User not found")
    if if_match != f'"{user.version}"':
        raise HTTPException(status.HTTP_412_PRECONDITION_FAILED, "The user has changed")
    user.full_name = body.full_name
    user.version += 1
    await session.flush()
    return user


@app.get("/api/v1/posts", response_model=PostPage)
async def list_posts(
    session: Session,
    author_id: UUID | None = None,
    q: str | None = None,
    cursor: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> dict[str, object]:
    query = select(Post).limit(limit + 1)
    if q is not None:
        tokens = func.plainto_tsquery("simple", q)
        query = query.where(Post.text_tokens.op("@@")(tokens))
        query = query.order_by(Post.title_tokens.op("@@")(tokens).desc())
    query = query.order_by(Post.id.desc())
    if author_id is not None:
        query = query.where(Post.author_id == author_id)
    if cursor is not None:
        query = query.where(Post.id < cursor)
    posts = (await session.scalars(query)).all()
    return {"items": posts[:limit], "next_cursor": posts[limit - 1].id if len(posts) > limit else None}


@app.post("/api/v1/posts", response_model=PostOut, status_code=status.HTTP_201_CREATED)
async def create_post(
    body: PostIn, session: Session, idempotency_key: Annotated[str | None, Header()] = None
) -> Post | Response:
    if idempotency_key is not None:
        record = await session.get(Record, idempotency_key)
        if record is not None:
            return Response(record.response, status.HTTP_201_CREATED, media_type="application/json")
    author = await session.get(User, body.author_id)
    if author is None:
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, "Author not found")
    if not author.is_active:
        raise HTTPException(status.HTTP_409_CONFLICT, "Author is inactive")
    now = utc_now()
    post = Post(
        **body.model_dump(),
        created_at=now,
        updated_at=now,
        title_tokens=func.to_tsvector("simple", body.title),
        text_tokens=func.to_tsvector("simple", f"{body.title} {body.content}"),
    )
    session.add(post)
    await session.flush()
    await session.refresh(post)
    if idempotency_key is not None:
        session.add(Record(key=idempotency_key, response=PostOut.model_validate(post).model_dump_json().encode()))
    return post
