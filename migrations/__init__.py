"""The schema revisions and the code that lints and applies them with Alembic."""
