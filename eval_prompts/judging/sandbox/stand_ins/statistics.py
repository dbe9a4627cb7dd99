# ruff: noqa: ANN001, ANN201
# The sandbox reads this as text; annotations would be of no use there.
"""The usual averages of the standard library's ``statistics`` in floating point, for an interpreter that lacks it."""

import math


def mean(data):
    values = list(data)
    if not values:
        raise ValueError("mean requires at least one data point")
    total = sum(values)
    if isinstance(total, int) and total % len(values) == 0:
        return total // len(values)
    return total / len(values)


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
    values = list(data)
    if not values:
        raise ValueError("pvariance requires at least one data point")
    centre = sum(values) / len(values)
    return sum([(value - centre) ** 2 for value in values]) / len(values)


def variance(data):
    values = list(data)
    if len(values) < 2:
        raise ValueError("variance requires at least two data points")
    return pvariance(values) * len(values) / (len(values) - 1)


def pstdev(data):
    return math.sqrt(pvariance(data))


def stdev(data):
    return math.sqrt(variance(data))
