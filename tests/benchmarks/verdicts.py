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

    A change needs an interval that excludes 1, and a median farther from 1 than the median of the noise. In simulated
    rounds of equal trees 3 % to 4 % of the verdicts were a change. A limit at the ends of the interval of the noise
    would reduce that to 0.2 %, but 12 rounds with a noise of 2 % would show a change of 3 % half as often (27 %, 57 %).
    """
    if len(change) < MIN_ROUNDS:
        return "too few rounds"
    found, same = interval(change), median(noise)
    limit = max(same, 1 / same)
    if found.least > 1 and found.median > limit:
        return f"slower by {found.median - 1:.1%}"
    if found.most < 1 and found.median < 1 / limit:
        return f"faster by {1 - found.median:.1%}"
    return "within noise"
