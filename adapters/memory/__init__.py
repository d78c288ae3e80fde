"""Storage in memory: the same contract as PostgreSQL, for tests and demos."""
