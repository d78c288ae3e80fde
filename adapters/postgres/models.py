"""The tables. `make check` compares the migrations with them; repositories derive their statements from them."""

from datetime import datetime
from typing import Any, ClassVar, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

MAX_NORMALIZED_EMAIL_LENGTH = 1000
"""Characters. NFKC can expand a local part of 64 octets by a factor of up to 18."""


class Base(DeclarativeBase):
    """The base class of the tables."""

    metadata = sa.MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[type, TypeEngine[Any]]] = {
        datetime: sa.DateTime(timezone=True),
        str: sa.Text(),
        bytes: sa.LargeBinary(),
        list[str]: sa.ARRAY(sa.Text()),
    }


class VersionedMixin:
    """The columns of entities that have a version."""

    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(sa.BigInteger())


class UserRow(VersionedMixin, Base):
    """A user. `email_normalized` is the normalized address (`domain.email.normalize_email`)."""

    __tablename__ = "users"
    __table_args__ = (
        sa.CheckConstraint("char_length(email) BETWEEN 3 AND 254", name="email_length"),
        sa.CheckConstraint(
            f"char_length(email_normalized) BETWEEN 3 AND {MAX_NORMALIZED_EMAIL_LENGTH}", name="email_normalized_length"
        ),
        sa.CheckConstraint("char_length(full_name) BETWEEN 1 AND 200", name="full_name_length"),
        sa.CheckConstraint("version >= 1", name="version_positive"),
        sa.Index("ix_users_inactive_created_at", "created_at", postgresql_where=sa.text("NOT is_active")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str]
    email_normalized: Mapped[str] = mapped_column(unique=True)
    full_name: Mapped[str | None]
    is_active: Mapped[bool]


class PostRow(VersionedMixin, Base):
    """A post. The primary key starts with the author, so that a page of one author is one range of the index."""

    __tablename__ = "posts"
    __table_args__ = (
        sa.CheckConstraint("char_length(title) BETWEEN 1 AND 200", name="title_length"),
        sa.CheckConstraint("char_length(content) BETWEEN 1 AND 2000", name="content_length"),
        sa.CheckConstraint("status IN ('draft', 'published', 'archived')", name="status_known"),
        sa.CheckConstraint("(status = 'draft') = (published_at IS NULL)", name="published_once_not_draft"),
        sa.CheckConstraint("version >= 1", name="version_positive"),
        sa.Index(None, "id"),
        sa.Index("ix_posts_published_id", "id", postgresql_where=sa.text("status = 'published'")),
        # For retention. The indexed columns change only with the status.
        sa.Index(
            "ix_posts_unpublished_created_at",
            "status",
            "created_at",
            postgresql_where=sa.text("status <> 'published'"),
        ),
        # Without fastupdate: its pending list slows down searches, and some writes have to merge it.
        sa.Index(
            None,
            "title_tokens",
            "text_tokens",
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
        ),
    )

    author_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    title: Mapped[str]
    content: Mapped[str]
    status: Mapped[str]
    published_at: Mapped[datetime | None]
    title_tokens: Mapped[str] = mapped_column(TSVECTOR, server_default="")
    text_tokens: Mapped[str] = mapped_column(TSVECTOR, server_default="")


class ApiKeyRow(Base):
    """An API key: the hash of its secret, and the version of the pepper.

    Keys of releases without families have no family. `family_id` has no foreign key: the keys of a family are deleted
    together, with their user.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        sa.CheckConstraint("char_length(name) BETWEEN 1 AND 100", name="name_length"),
        sa.CheckConstraint("cardinality(scopes) >= 1", name="scopes_some"),
        sa.CheckConstraint("pepper >= 1", name="pepper_positive"),
        sa.CheckConstraint("octet_length(digest) = 32", name="digest_length"),
        sa.CheckConstraint("octet_length(family_secret) = 32", name="family_secret_length"),
        sa.CheckConstraint("(family_id IS NULL) = (family_secret IS NULL)", name="family_complete"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    scopes: Mapped[list[str]]
    user_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"), index=True)
    pepper: Mapped[int]
    digest: Mapped[bytes]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    family_id: Mapped[UUID | None]
    family_secret: Mapped[bytes | None]


class IdempotencyRecordRow(Base):
    """The record of an idempotent request.

    `subject_id` refers to a user, but not by a foreign key: the record remains after the user was deleted, so that a
    retry does not create the user again.
    """

    __tablename__ = "idempotency_records"
    __table_args__ = (
        sa.CheckConstraint("octet_length(key_hash) = 32", name="key_hash_length"),
        sa.CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint_length"),
        sa.CheckConstraint("octet_length(response) <= 65536", name="response_length"),
        sa.Index(None, "subject_id", postgresql_where=sa.text("subject_id IS NOT NULL AND response <> ''")),
    )

    api_key_id: Mapped[UUID] = mapped_column(sa.ForeignKey("api_keys.id", ondelete="CASCADE"), primary_key=True)
    key_hash: Mapped[bytes] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    response: Mapped[bytes]
    subject_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class AuditEntryRow(Base):
    """The record of a change of a user, a post or an API key. It has no foreign keys, because it outlives them."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        sa.Index("ix_audit_entries_subject_id_id", "subject_id", "id"),
        sa.Index("ix_audit_entries_actor_id_id", "actor_id", "id", postgresql_where=sa.text("actor_id IS NOT NULL")),
        sa.Index("ix_audit_entries_user_id_id", "user_id", "id", postgresql_where=sa.text("user_id IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    actor_kind: Mapped[str]
    actor_id: Mapped[UUID | None]
    request_id: Mapped[str | None]
    operation: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    user_id: Mapped[UUID | None]
    changed_fields: Mapped[list[str]]
    version_before: Mapped[int | None] = mapped_column(sa.BigInteger())
    version_after: Mapped[int | None] = mapped_column(sa.BigInteger())


class ErasureReceiptRow(Base):
    """The record of the erasure of a user. It contains no personal data."""

    __tablename__ = "erasure_receipts"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    erased_at: Mapped[datetime]
    actor_kind: Mapped[str]
    actor_id: Mapped[UUID | None]
    erased_rows: Mapped[dict[str, int]] = mapped_column(JSONB)


USERS = cast("sa.Table", UserRow.__table__)
POSTS = cast("sa.Table", PostRow.__table__)
API_KEYS = cast("sa.Table", ApiKeyRow.__table__)
IDEMPOTENCY_RECORDS = cast("sa.Table", IdempotencyRecordRow.__table__)
AUDIT_ENTRIES = cast("sa.Table", AuditEntryRow.__table__)
ERASURE_RECEIPTS = cast("sa.Table", ErasureReceiptRow.__table__)
