"""The schema. Migrations are compared with it; the repositories build their statements from it."""

from datetime import datetime
from typing import Any, ClassVar, cast
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

LONGEST_EMAIL_KEY = 1000
"""Characters: a local part of 64 octets can grow under NFKC, by 18 times at the most."""


# What posts are found by: `words_of` is `domain.words.words_of` as a function of the database.
IN_TITLE = func.words_of(literal_column("title", Text), type_=TSVECTOR)
IN_TEXT = func.words_of(literal_column("(title || ' '::text) || content", Text), type_=TSVECTOR)


class Base(DeclarativeBase):
    """Where the tables are collected."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[type, TypeEngine[Any]]] = {
        datetime: DateTime(timezone=True),
        str: Text(),
        bytes: LargeBinary(),
        list[str]: ARRAY(Text()),
    }


class Changing:
    """What every entity has that counts its changes."""

    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    version: Mapped[int]


class UserRow(Changing, Base):
    """A user. `email_key` is what two spellings of one mailbox have in common (`domain.email.email_key`)."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("char_length(email) BETWEEN 3 AND 254", name="email_length"),
        CheckConstraint(f"char_length(email_key) BETWEEN 3 AND {LONGEST_EMAIL_KEY}", name="email_key_length"),
        CheckConstraint("char_length(full_name) BETWEEN 1 AND 200", name="full_name_length"),
        CheckConstraint("version >= 1", name="version_positive"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str]
    email_key: Mapped[str] = mapped_column(unique=True)
    full_name: Mapped[str | None]
    is_active: Mapped[bool]


class PostRow(Changing, Base):
    """A post. The key starts with the author, so that an author's page is one range of one index."""

    __tablename__ = "posts"
    __table_args__ = (
        CheckConstraint("char_length(title) BETWEEN 1 AND 200", name="title_length"),
        CheckConstraint("char_length(content) BETWEEN 1 AND 2000", name="content_length"),
        CheckConstraint("status IN ('draft', 'published', 'archived')", name="status_known"),
        CheckConstraint("(status = 'draft') = (published_at IS NULL)", name="published_once_not_draft"),
        CheckConstraint("version >= 1", name="version_positive"),
        Index(None, "id"),
        Index("ix_posts_published_id", "id", postgresql_where=text("status = 'published'")),
        # Without a list of pending entries, which a search would have to read, and a write to put in order.
        Index("ix_posts_words", IN_TITLE, IN_TEXT, postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
    )

    author_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    title: Mapped[str]
    content: Mapped[str]
    status: Mapped[str]
    published_at: Mapped[datetime | None]


class ApiKeyRow(Base):
    """An API key. Of its secret there is a hash, and the version of the pepper that keyed it."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("char_length(name) BETWEEN 1 AND 100", name="name_length"),
        CheckConstraint("cardinality(scopes) >= 1", name="scopes_some"),
        CheckConstraint("pepper >= 1", name="pepper_positive"),
        CheckConstraint("octet_length(digest) = 32", name="digest_length"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    scopes: Mapped[list[str]]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    pepper: Mapped[int]
    digest: Mapped[bytes]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class OutcomeRow(Base):
    """What came of a request that is carried out once.

    `subject_id` refers to a user, but not by a foreign key: the row outlives that user, so that the request is not
    carried out again.
    """

    __tablename__ = "outcomes"
    __table_args__ = (
        CheckConstraint("octet_length(name) = 32", name="name_length"),
        CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint_length"),
        CheckConstraint("octet_length(answer) <= 65536", name="answer_length"),
        Index(None, "subject_id", postgresql_where=text("subject_id IS NOT NULL AND answer <> ''")),
    )

    key_id: Mapped[UUID] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[bytes] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    answer: Mapped[bytes]
    subject_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


USERS = cast("Table", UserRow.__table__)
POSTS = cast("Table", PostRow.__table__)
API_KEYS = cast("Table", ApiKeyRow.__table__)
OUTCOMES = cast("Table", OutcomeRow.__table__)
