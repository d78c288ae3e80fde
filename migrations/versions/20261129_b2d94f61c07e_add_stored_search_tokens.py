"""add stored search tokens

Revision ID: b2d94f61c07e
Revises: f3b61a7d92c4
Created: 2026-11-29 11:10:00+00:00
"""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TSVECTOR

from domain.search_tokens import tokenize
from migrations.operations import op

revision = "b2d94f61c07e"
down_revision = "f3b61a7d92c4"
branch_labels = None
depends_on = None

phase = "expand"

# The previous release writes no tokens. Until the contract phase, this trigger adds tokens of the old rules, without
# accents. The token ' ' marks these posts, because no text has it. An update that changes the text but not its tokens
# can also be one of this release, so the trigger keeps the stored tokens.
COMPLETE_TOKENS_FUNCTION = r"""
CREATE OR REPLACE FUNCTION complete_search_tokens() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.text_tokens = '' OR (NEW.title, NEW.content) <> (OLD.title, OLD.content)
        AND (NEW.title_tokens, NEW.text_tokens) = (OLD.title_tokens, OLD.text_tokens)
    THEN
        NEW.title_tokens = NEW.title_tokens
            || search_tokens(regexp_replace(normalize(NEW.title, NFKD), '[\u0300-\u036F]', '', 'g'));
        NEW.text_tokens = NEW.text_tokens || NEW.title_tokens || array_to_tsvector(ARRAY[' '])
            || search_tokens(regexp_replace(normalize(NEW.content, NFKD), '[\u0300-\u036F]', '', 'g'));
    END IF;
    RETURN NEW;
END $body$
"""
COMPLETE_TOKENS_TRIGGER = """
CREATE OR REPLACE TRIGGER complete_search_tokens BEFORE INSERT OR UPDATE ON posts
FOR EACH ROW EXECUTE FUNCTION complete_search_tokens()
"""


def compute_tokens(title: str, content: str) -> Mapping[str, Collection[str]]:
    """Return the tokens of a post. A change of the tokenizer needs a new revision with this backfill."""
    return {"title": [*tokenize(title)], "text": [*tokenize(f"{title} {content}")]}


def upgrade() -> None:
    for name in ("title_tokens", "text_tokens"):
        column = sa.Column(name, TSVECTOR(), nullable=False, server_default="")
        op.add_column("posts", column, if_not_exists=True)
        # Plans do not depend on the frequency of tokens, and ANALYZE would read the tokens of each sampled post.
        op.execute(f"ALTER TABLE posts ALTER COLUMN {name} SET STATISTICS 0")
    op.execute(COMPLETE_TOKENS_FUNCTION)
    op.execute(COMPLETE_TOKENS_TRIGGER)
    # Before the index exists, an update of tokens writes no index while its page has space.
    op.backfill(
        "posts",
        "title_tokens = array_to_tsvector(computed.title), text_tokens = array_to_tsvector(computed.text)",
        where="text_tokens = ''",
        key=("id", "author_id"),
        compute=compute_tokens,
        columns=("title", "content"),
        computed={"title": "text[]", "text": "text[]"},
    )
    op.create_index_concurrently(
        "ix_posts_title_tokens",
        "posts",
        ["title_tokens", "text_tokens"],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )


def downgrade() -> None:
    op.drop_index_concurrently("ix_posts_title_tokens", "posts")
    op.execute("DROP TRIGGER IF EXISTS complete_search_tokens ON posts")
    op.execute("DROP FUNCTION IF EXISTS complete_search_tokens()")
    for name in ("text_tokens", "title_tokens"):
        op.drop_column("posts", name, if_exists=True)
