"""drop computed search tokens

Revision ID: d80a3c5e9f12
Revises: b2d94f61c07e
Created: 2026-11-29 11:15:00+00:00
"""

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from domain.search_tokens import tokenize
from migrations.operations import op

revision = "d80a3c5e9f12"
down_revision = "b2d94f61c07e"
branch_labels = None
depends_on = None

phase = "contract"
safe_from = "0.1.0"
exceptions = {"not-idempotent": "the block executes CREATE OR REPLACE"}

# For the downgrade, from c83e6b0d4f17.
SEPARATORS = (
    r"\u0001-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u00BF\u00D7\u00F7\u055A-\u055F\u0589\u058A\u05BE\u05C0\u05C3\u05C6"
    r"\u05F3\u05F4\u0609-\u060D\u061B-\u061F\u066A-\u066D\u06D4\u0964\u0965\u0E4F\u0E5A\u0E5B\u0F04-\u0F14\u104A-\u104F"
    r"\u1361-\u1368\u17D4-\u17DA\u2000-\u206F\u3000-\u303F\u30FB\uFE00-\uFE0F\uFEFF"
)

SEARCH_TOKENS_FUNCTION = rf"""
DO $make$ BEGIN EXECUTE replace($function$
CREATE OR REPLACE FUNCTION search_tokens(given text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL RESTRICTED COST 100000 AS $body$
DECLARE
    folded text;
    words text[];
BEGIN
    IF octet_length(given) = char_length(given) THEN
        folded = lower(given COLLATE UNICODE);
    ELSE
        folded = lower(normalize(given, NFKC) COLLATE UNICODE);
        folded = replace(replace(folded, U&'\03C2', U&'\03C3'), U&'\00DF', 'ss');
    END IF;
    folded = btrim(regexp_replace(folded COLLATE "C", '[{SEPARATORS}]+', ' ', 'g'));
    words = string_to_array(folded, ' ');
    IF octet_length(folded) > 2046 THEN
        words = ARRAY(SELECT word FROM unnest(words) AS word WHERE octet_length(word) <= 2046);
    END IF;
    RETURN array_to_tsvector(words);
END $body$
$function$, 'UNICODE', (
    SELECT quote_ident(min(collname)) FROM pg_collation WHERE collname IN ('pg_c_utf8', 'und-x-icu')
));
END $make$
"""

# For the downgrade, from b2d94f61c07e.
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
    """Return the tokens of a post."""
    return {"title": [*tokenize(title)], "text": [*tokenize(f"{title} {content}")]}


def upgrade() -> None:
    op.execute("DROP TRIGGER IF EXISTS complete_search_tokens ON posts")
    op.execute("DROP FUNCTION IF EXISTS complete_search_tokens()")
    op.drop_index_concurrently("ix_posts_search_tokens", "posts")
    op.execute("DROP FUNCTION IF EXISTS search_tokens(text)")
    # The trigger has marked the posts that the previous release wrote during the rollout.
    op.backfill(
        "posts",
        "title_tokens = array_to_tsvector(computed.title), text_tokens = array_to_tsvector(computed.text)",
        where="text_tokens @@ $$' '$$::tsquery",
        key=("id", "author_id"),
        compute=compute_tokens,
        columns=("title", "content"),
        computed={"title": "text[]", "text": "text[]"},
    )


def downgrade() -> None:
    op.execute(SEARCH_TOKENS_FUNCTION)
    op.execute(COMPLETE_TOKENS_FUNCTION)
    op.execute(COMPLETE_TOKENS_TRIGGER)
    op.create_index_concurrently(
        "ix_posts_search_tokens",
        "posts",
        [sa.text("search_tokens(title)"), sa.text("search_tokens(title || ' ' || content)")],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    for column in (1, 2):
        op.execute(f"ALTER INDEX IF EXISTS ix_posts_search_tokens ALTER COLUMN {column} SET STATISTICS 0")
