"""Sample revisions after those of the tree: each safe operation on `posts`, and an unsafe one."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.migrations.revision_fixtures import Revisions

UNSAFE_SECONDS = 3
_MORE = 'KEY = ("id", "author_id")  # the order of insertion: a batch is on few pages'


@dataclass(frozen=True, slots=True)
class SampleRevision:
    doc: str
    upgrade: str
    downgrade: str


SAFE_REVISIONS = (
    SampleRevision(
        "a column that may be NULL",
        'op.add_column("posts", sa.Column("editor_id", sa.Uuid()))',
        'op.drop_column("posts", "editor_id")',
    ),
    SampleRevision(
        "a column with a default, filled in batches",
        'op.add_column("posts", sa.Column("words", sa.Integer(), server_default="0"), if_not_exists=True)\n'
        """op.backfill("posts", "words = cardinality(string_to_array(content, ' '))", where="words = 0", key=KEY)""",
        'op.drop_column("posts", "words")',
    ),
    SampleRevision(
        "NOT NULL, validated later",
        'op.add_not_null("posts", "words")',
        'op.drop_not_null("posts", "words")',
    ),
    SampleRevision(
        "a check, validated later",
        'op.add_check("ck_posts_words_counted", "posts", "words >= 0")',
        'op.drop_constraint_if_exists("ck_posts_words_counted", "posts")',
    ),
    SampleRevision(
        "a foreign key, validated later",
        'op.add_foreign_key("fk_posts_editor_id_users", "posts", "users", ["editor_id"], ["id"], ondelete="SET NULL")',
        'op.drop_constraint_if_exists("fk_posts_editor_id_users", "posts")',
    ),
    SampleRevision(
        "an index, built concurrently",
        'op.create_index_concurrently("ix_posts_words_id", "posts", ["words", "id"])',
        'op.drop_index_concurrently("ix_posts_words_id", "posts")',
    ),
    SampleRevision(
        "a unique constraint, by an index built concurrently",
        'op.add_unique("uq_posts_id_author_id", "posts", ["id", "author_id"])',
        'op.drop_constraint_if_exists("uq_posts_id_author_id", "posts")',
    ),
)
"""Revisions with which the previous release is compatible."""

UNSAFE_REVISIONS = (
    SampleRevision(
        "a lock that is held",
        'op.execute("SET LOCAL lock_timeout = 0")\n'
        'op.execute("SET LOCAL statement_timeout = 0")\n'
        'op.add_column("posts", sa.Column("a", sa.Text()))\n'
        f'op.execute("SELECT pg_sleep({UNSAFE_SECONDS})")',
        'op.drop_column("posts", "a")',
    ),
)
"""A revision that blocks readers and writers until the end of its transaction."""


def write_sample_revisions(revisions: Revisions, planted: Sequence[SampleRevision]) -> None:
    for number, each in enumerate(planted, 1):
        revisions.add(each.upgrade, each.downgrade, revision=f"drill{number:02}", doc=each.doc, more=_MORE)
