# SPDX-License-Identifier: MIT
"""What can be said of a handful of measurements: pure functions, nothing is measured here."""
import math
from statistics import median


def spread(values):
    """How far apart the measurements are: half the range, as a part of the median."""
    middle = median(values)
    return (max(values) - min(values)) / 2 / middle if middle else 0.0


def coverage(count, rank):
    """The probability that the true median lies between the rank-th lowest and the rank-th
    highest of count independent measurements (rank 1: all of them)."""
    outside = sum(math.comb(count, below) for below in range(rank)) / 2 ** count
    return 1 - 2 * outside


def interval(values, confidence=0.9):
    """(low, high, coverage): the narrowest pair of order statistics that holds the true median
    with that confidence, or all of the values where there are too few for it.  It supposes
    nothing about how the values are distributed."""
    ordered = sorted(values)
    count = len(ordered)
    best = 1
    for rank in range(2, count // 2 + 1):
        if coverage(count, rank) >= confidence:
            best = rank
    return ordered[best - 1], ordered[count - best], coverage(count, best)


def pairwise(values, base):
    """value / base of each round in which both were measured: what drifts from one round to the
    next is in both and cancels."""
    return [value / other for value, other in zip(values, base)
            if value is not None and other]


def ratio(values, base):
    """The median ratio pair by pair with its interval, or None without a pair."""
    pairs = pairwise(values, base)
    if not pairs:
        return None
    low, high, sure = interval(pairs)
    return {"ratio": median(pairs), "low": low, "high": high, "confidence": round(sure, 3),
            "pairs": pairs}


def known(values):
    return [value for value in values if value is not None]


def middle(values):
    """The median of those that are known, else None; of words, the last one."""
    values = known(values)
    if values and isinstance(values[0], str):
        return values[-1]
    return median(values) if values else None
