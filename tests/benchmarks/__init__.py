"""The benchmark: Hexapost compared with two baselines that handle the same requests.

`python -m tests.benchmarks` loads one database, starts the services on it, checks that their responses are correct,
and measures them in turn: `dataset` -> `servers` -> `checks` -> `runner` (over `load`) -> `summary` -> `table` and
`chart`.

With `--against REV` it compares the working tree with a commit: `comparison` (over `runner`) -> `verdicts`.
"""
