"""add posts search index

Revision ID: c83e6b0d4f17
Revises: 5d1f0c7a9b24
Created: 2026-11-21 07:20:00+00:00
"""

import sqlalchemy as sa

from migrations.operations import op

revision = "c83e6b0d4f17"
down_revision = "5d1f0c7a9b24"
branch_labels = None
depends_on = None

phase = "expand"
exceptions = {"not-idempotent": "what the block executes is CREATE OR REPLACE"}

SEPARATORS = (
    r"\u0001-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u00BF\u00D7\u00F7\u055A-\u055F\u0589\u058A\u05BE\u05C0\u05C3\u05C6"
    r"\u05F3\u05F4\u0609-\u060D\u061B-\u061F\u066A-\u066D\u06D4\u0964\u0965\u0E4F\u0E5A\u0E5B\u0F04-\u0F14\u104A-\u104F"
    r"\u1361-\u1368\u17D4-\u17DA\u2000-\u206F\u3000-\u303F\u30FB\uFE00-\uFE0F\uFEFF"
)

# What `domain.search_tokens.tokenize` does, and no parser or dictionary of the server's. Letters change their case by
# Unicode's tables whatever the locale of the database: those of PostgreSQL, since 17, or else of ICU. Words that no
# tsvector can hold are longer than any that can be asked for. In PL/pgSQL because SQL would be inlined, and the cost
# with it: it is meant to make every plan that works out words row by row look as bad as it is.
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


def upgrade() -> None:
    op.execute(SEARCH_TOKENS_FUNCTION)
    op.create_index_concurrently(
        "ix_posts_search_tokens",
        "posts",
        [sa.text("search_tokens(title)"), sa.text("search_tokens(title || ' ' || content)")],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )
    # No plan is chosen by how frequent words are, and ANALYZE would work out those of each post in its sample.
    for column in (1, 2):
        op.execute(f"ALTER INDEX IF EXISTS ix_posts_search_tokens ALTER COLUMN {column} SET STATISTICS 0")


def downgrade() -> None:
    op.drop_index_concurrently("ix_posts_search_tokens", "posts")
    op.execute("DROP FUNCTION IF EXISTS search_tokens(text)")
