# ruff: noqa: ANN001, ANN201, ANN202
# The sandbox reads this as text; annotations would be of no use there.
"""The usual averages of the standard library's ``statistics`` in floating point, for an interpreter that lacks it."""

import math


def mean(data):
    values = list(data)
    if not values:
        raise ValueError("mean requires at least one data point")
    whole, scale = _exact(values)
    return _divided(sum(whole), scale * len(values), values)


def _exact(values):
    """The values as whole numbers of one fraction, 1 / scale: every float is such a fraction of a power of 2."""
    scale = 1
    for value in values:
        if type(value) not in (int, float) or value != value or value in (math.inf, -math.inf):
            raise NotImplementedError("monty has no numbers but int and float for this module")
        while value * scale != int(value * scale):
            scale *= 2
    return [int(value * scale) for value in values], scale


def _squares(values):
    """The sum of squares about the mean, as a whole number over the square of a scale and the number of values."""
    whole, scale = _exact(values)
    total = sum(whole)
    return len(whole) * sum([value * value for value in whole]) - total * total, scale * scale * len(whole)


def _divided(number, by, values):
    if number % by == 0 and all(type(value) is int for value in values):
        return number // by
    return number / by


def _root(number, by):
    """The root of number / by, rounded once: an odd last bit stands for all that is cut off of more than 54 bits."""
    shift = 0
    while number and (number << 2 * shift) // by < 1 << 110:
        shift += 1
    whole = math.isqrt((number << 2 * shift) // by)
    if whole * whole * by != number << 2 * shift:
        whole |= 1
    return whole / (1 << shift)


def fmean(data):
    values = list(data)
    if not values:
        raise ValueError("fmean requires at least one data point")
    return math.fsum(values) / len(values)


def median(data):
    values = sorted(data)
    if not values:
        raise ValueError("no median for empty data")
    middle = len(values) // 2
    if len(values) % 2:
        return values[middle]
    return (values[middle - 1] + values[middle]) / 2


def mode(data):
    counts = {}
    for value in data:
        counts[value] = counts.get(value, 0) + 1
    if not counts:
        raise ValueError("no mode for empty data")
    most = max(counts.values())
    for value, count in counts.items():
        if count == most:
            return value


def pvariance(data):
    values = _at_least(1, data, "pvariance")
    squares, by = _squares(values)
    return _divided(squares, by * len(values), values)


def variance(data):
    values = _at_least(2, data, "variance")
    squares, by = _squares(values)
    return _divided(squares, by * (len(values) - 1), values)


def pstdev(data):
    values = _at_least(1, data, "pstdev")
    squares, by = _squares(values)
    return _root(squares, by * len(values))


def stdev(data):
    values = _at_least(2, data, "stdev")
    squares, by = _squares(values)
    return _root(squares, by * (len(values) - 1))


def _at_least(count, data, name):
    values = list(data)
    if len(values) < count:
        raise ValueError(f"{name} requires at least {'one data point' if count == 1 else 'two data points'}")
    return values
