"""The schema version of the database, compared with this release."""
