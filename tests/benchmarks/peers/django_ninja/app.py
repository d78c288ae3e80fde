"""Django Ninja with Django's ORM: synchronous views in threads of gunicorn, which writes the access log."""

import os
from datetime import datetime
from typing import Annotated
from uuid import UUID

import django
import uuid_utils.compat
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

dsn = conninfo_to_dict(os.environ["DATABASE_DSN"])
size = int(os.environ["POOL_SIZE"])
settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": dsn["dbname"],
            "USER": dsn.get("user", ""),
            "PASSWORD": dsn.get("password", ""),
            "HOST": dsn.get("host", ""),
            "PORT": dsn.get("port", ""),
            "OPTIONS": {"pool": {"min_size": size, "max_size": size}},
        }
    },
    INSTALLED_APPS=["ninja"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.urandom(16).hex(),
    USE_TZ=True,
)
django.setup()

from django.contrib.postgres.search import SearchVector, SearchVectorField  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models, transaction  # noqa: E402
from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402
from ninja import Field, Header, NinjaAPI, Query, Schema  # noqa: E402
from ninja.errors import HttpError  # noqa: E402


class User(models.Model):
    id = models.UUIDField(primary_key=True)
    email = models.TextField()
    full_name = models.TextField(null=True)
    is_active = models.BooleanField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)
    version = models.BigIntegerField()

    class Meta:
        app_label = "peer"
        db_table = "users"


class Post(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid_utils.compat.uuid7)
    author = models.ForeignKey(User, models.CASCADE)
    title = models.TextField()
    content = models.TextField()
    status = models.TextField()
    published_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    version = models.BigIntegerField()
    title_tokens = SearchVectorField()
    text_tokens = SearchVectorField()

    class Meta:
        app_label = "peer"
        db_table = "posts"


class Record(models.Model):
    key = models.TextField(primary_key=True)
    response = models.BinaryField()

    class Meta:
        app_label = "peer"
        db_table = "baseline_records"


class UserOut(Schema):
    id: UUID
    email: str
    full_name: str | None
    is_active: bool
    created_at: datetime
    updated_at: datetime
    version: int


class UserChanges(Schema):
    full_name: str = Field(min_length=1, max_length=200)


class NewPost(Schema):
    author_id: UUID
    title: str = Field(min_length=1, max_length=200)
    content: str = Field(min_length=1, max_length=2000)


class PostOut(Schema):
    id: UUID
    author_id: UUID
    title: str
    content: str
    status: str
    published_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int


class PostPage(Schema):
    items: list[PostOut]
    next_cursor: UUID | None


api = NinjaAPI()


@api.get("/livez")
def livez(request: HttpRequest) -> dict[str, str]:
    return {"status": "ok"}


@api.get("/api/v1/users/{uuid:user_id}", response=UserOut)
def get_user(request: HttpRequest, user_id: UUID) -> User:
    try:
        return User.objects.get(id=user_id)
    except User.DoesNotExist:
        raise HttpError(404, "User not found") from None


@api.patch("/api/v1/users/{uuid:user_id}", response=UserOut)
@transaction.atomic
def update_user(
    request: HttpRequest, user_id: UUID, changes: UserChanges, if_match: Annotated[str, Header(alias="If-Match")]
) -> User:
    user = User.objects.select_for_update().filter(id=user_id).first()
    if user is None:
        raise HttpError(404, "User not found")
    if if_match != f'"{user.version}"':
        raise HttpError(412, "The user has changed")
    user.full_name = changes.full_name
    user.version += 1
    user.save(update_fields=["full_name", "version", "updated_at"])
    return user


@api.get("/api/v1/posts", response=PostPage)
def list_posts(
    request: HttpRequest,
    author_id: UUID | None = None,
    q: str | None = None,
    cursor: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> dict[str, object]:
    if q is not None:
        return page(search(q, limit + 1), limit)
    posts = Post.objects.defer("title_tokens", "text_tokens").order_by("-id")
    if author_id is not None:
        posts = posts.filter(author_id=author_id)
    if cursor is not None:
        posts = posts.filter(id__lt=cursor)
    return page(list(posts[: limit + 1]), limit)


def search(q: str, limit: int) -> list[Post]:
    statement = """
        SELECT id, author_id, title, content, status, published_at, created_at, updated_at, version
        FROM posts WHERE text_tokens @@ plainto_tsquery('simple', %s)
        ORDER BY title_tokens @@ plainto_tsquery('simple', %s) DESC, id DESC LIMIT %s
    """
    return list(Post.objects.raw(statement, [q, q, limit]))


def page(found: list[Post], limit: int) -> dict[str, object]:
    return {"items": found[:limit], "next_cursor": found[limit - 1].id if len(found) > limit else None}


@api.post("/api/v1/posts", response={201: PostOut})
@transaction.atomic
def create_post(
    request: HttpRequest,
    body: NewPost,
    idempotency_key: Annotated[str | None, Header(alias="Idempotency-Key")] = None,
) -> HttpResponse | tuple[int, Post]:
    if idempotency_key and (record := Record.objects.filter(key=idempotency_key).first()):
        return HttpResponse(bytes(record.response), status=201, content_type="application/json")
    author = User.objects.filter(id=body.author_id).first()
    if author is None:
        raise HttpError(422, "Author not found")
    if not author.is_active:
        raise HttpError(409, "Author is inactive")
    now = timezone.now()
    post = Post.objects.create(
        **body.dict(),
        status="draft",
        created_at=now,
        updated_at=now,
        version=1,
        title_tokens=SearchVector(models.Value(body.title), config="simple"),
        text_tokens=SearchVector(models.Value(f"{body.title} {body.content}"), config="simple"),
    )
    if idempotency_key:
        Record.objects.create(key=idempotency_key, response=PostOut.from_orm(post).model_dump_json().encode())
    return 201, post


urlpatterns = [path("", api.urls)]
application = get_wsgi_application()
