"""Analysis of the SQL of revisions: statements, transactions and locks."""
