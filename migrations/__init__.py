"""The revisions of the schema, and how they are applied (Alembic)."""
