"""The benchmark: Hexapost beside two yardsticks that do the same work.

`python -m tests.benchmarks` loads one database, starts the services on it, checks that their responses are correct,
and measures them in turn: `dataset` -> `servers` -> `checks` -> `runner` (over `load`) -> `summary` -> `table` and
`chart`.

With `--against REV` it compares the working tree with a commit: `comparison` (over `runner`) -> `verdicts`.
"""
