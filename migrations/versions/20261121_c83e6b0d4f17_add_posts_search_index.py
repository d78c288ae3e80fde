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
exceptions = {"not-idempotent": "the block executes CREATE OR REPLACE"}

SEPARATORS = (
    r"\u0001-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u00BF\u00D7\u00F7\u055A-\u055F\u0589\u058A\u05BE\u05C0\u05C3\u05C6"
    r"\u05F3\u05F4\u0609-\u060D\u061B-\u061F\u066A-\u066D\u06D4\u0964\u0965\u0E4F\u0E5A\u0E5B\u0F04-\u0F14\u104A-\u104F"
    r"\u1361-\u1368\u17D4-\u17DA\u2000-\u206F\u3000-\u303F\u30FB\uFE00-\uFE0F\uFEFF"
)

# The same result as `domain.search_tokens.tokenize`, without a text search parser or dictionary of the server. The case
# of letters follows Unicode in every locale: with PostgreSQL's tables since version 17, with ICU before. The function
# drops words that exceed the limit of tsvector; search queries are shorter. It is PL/pgSQL because SQL functions are
# inlined and lose their COST. The high cost keeps the planner from calling it for each row.
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
    # Plans do not depend on word frequencies, and ANALYZE would compute the tokens of each sampled post.
    for column in (1, 2):
        op.execute(f"ALTER INDEX IF EXISTS ix_posts_search_tokens ALTER COLUMN {column} SET STATISTICS 0")


def downgrade() -> None:
    op.drop_index_concurrently("ix_posts_search_tokens", "posts")
    op.execute("DROP FUNCTION IF EXISTS search_tokens(text)")
