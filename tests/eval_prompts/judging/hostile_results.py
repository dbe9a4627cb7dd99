# One result, one line.
"""Results that hold whoever builds, copies, compares or shows them. Each is the body of ``def f(n):``."""

from __future__ import annotations

PRIME = "(2 ** 61 - 1)"
"""Integers that are multiples of it have the same hash."""

RESULTS = {
    "a set of integers that collide": f"return {{i * {PRIME} for i in range(30000)}}",
    "a dictionary of them": f"return {{i * {PRIME}: i for i in range(30000)}}",
    "a set of tuples of them": f"return {{(i * {PRIME},) for i in range(20000)}}",
    "a set of floats that collide": "return {float(i * 2 ** 61) for i in range(30000)}",
    "a number of a million digits": "return 10 ** 1000000",
    "a list of long numbers": "return [7 ** 300000] * 50",
    "a negative long number": "return -(10 ** 1000000)",
    "a long string": "return 'x' * 40_000_000",
    "long bytes": "return b'x' * 40_000_000",
    "a long string of wide characters": "return '\\U0001F600' * 8_000_000",
    "many strings": "return ['x' * 100] * 1_000_000",
    "a deep list": "x = []\n    for _ in range(100_000): x = [x]\n    return x",
    "a deep dictionary": "x = {}\n    for _ in range(100_000): x = {1: x}\n    return x",
    "a deep tuple": "x = ()\n    for _ in range(100_000): x = (x,)\n    return x",
    "shared parts": "x = [1]\n    for _ in range(60): x = [x, x]\n    return x",
    "shared parts in dictionaries": "x = {1: 1}\n    for _ in range(60): x = {1: x, 2: x}\n    return x",
    "a list in itself": "x = []\n    x.append(x)\n    return x",
    "a dictionary in itself": "x = {}\n    x[1] = x\n    return x",
    "a long list": "return list(range(3_000_000))",
    "a wide set": "return set(range(1_000_000))",
    "a long range": "return range(10 ** 18)",
    "not a number, often": "return [float('nan')] * 500_000",
    "half characters": "return '\\ud800' * 1000",
    "control characters": "return '\\x00\\x1b[2J\\r\\n' * 100_000",
    "lines of a table": "return '\\n'.join('0 1 1 2 3' for _ in range(400_000))",
    "a class": "class A: pass\n    return A",
    "itself": "return f",
    "an error": "return ValueError('x' * 1_000_000)",
}

CHANNELS = {
    "as the last expression": "def f(n):\n    {body}\nf(5)",
    "to input": "def f(n):\n    {body}\ninput(f(5))",
    "to exit": "def f(n):\n    {body}\nexit(f(5))",
    "in print": "def f(n):\n    {body}\nprint(f(5))",
    "in an error": "def f(n):\n    {body}\nraise ValueError(f(5))",
    "as an argument of a name of ours": "def f(n):\n    {body}\n_tested_(f(5))",
}
"""Ways out of a program other than a tested function's result."""
