"""Whether a change of CPU per request is larger than the noise.

The distribution of the ratios is unknown, so their interval is the one of the sign test: the true median is outside of
it with a probability of at most 5 %, by the binomial distribution of ranks. It needs at least 6 rounds.
"""

from collections.abc import Sequence
from math import comb
from statistics import median

from tests.benchmarks.summary import Ratio

ERROR_PROBABILITY = 0.05
MIN_ROUNDS = 6


def interval(ratios: Sequence[float]) -> Ratio:
    """Return the median of the ratios with its interval; of fewer than 6 with their range."""
    ordered = sorted(ratios)
    outside, rank = 2.0 / 2 ** len(ordered), 0
    while (outside := outside + 2 * comb(len(ordered), rank + 1) / 2 ** len(ordered)) <= ERROR_PROBABILITY:
        rank += 1
    return Ratio(median=median(ordered), least=ordered[rank], most=ordered[-1 - rank])


def verdict(change: Sequence[float], noise: Sequence[float]) -> str:
    """Compare the ratios of two source trees with those of one source tree to itself.

    A change needs an interval that excludes 1, and a median beyond the noise. The noise is as large on both sides of 1:
    up to the end of its interval that is farther from 1.
    """
    if len(change) < MIN_ROUNDS:
        return "too few rounds"
    found, same = interval(change), interval(noise)
    limit = max(same.most, 1 / same.least)
    if found.least > 1 and found.median > limit:
        return f"slower by {found.median - 1:.1%}"
    if found.most < 1 and found.median < 1 / limit:
        return f"faster by {1 - found.median:.1%}"
    return "within noise"
