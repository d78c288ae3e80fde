"""Storage in PostgreSQL, through SQLAlchemy and either of two drivers, asyncpg and psycopg."""
