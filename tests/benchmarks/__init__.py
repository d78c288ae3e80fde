"""The benchmark: Hexapost beside two yardsticks that do the same work.

`python -m tests.benchmarks` loads one database, starts the three services on it, checks that their answers are right,
and measures them in turn: `dataset` -> `servers` -> `checks` -> `campaign` (over `load`) -> `summary` -> `table` and
`picture`.

With `--against REV` it compares the working tree with a commit: `comparison` (over `campaign`) -> `verdicts`.
"""
