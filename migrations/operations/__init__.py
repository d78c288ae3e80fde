"""The operations of revisions, the generator of revisions, and the backfills."""
