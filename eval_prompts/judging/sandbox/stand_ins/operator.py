# ruff: noqa: ANN001, ANN002, ANN201
# The sandbox reads this as text; annotations would be of no use there.
"""The usual functions of the standard library's ``operator``, for an interpreter that lacks the module."""


def itemgetter(*items):
    if len(items) == 1:
        item = items[0]
        return lambda subject: subject[item]
    return lambda subject: tuple([subject[item] for item in items])


def attrgetter(name):
    return lambda subject: getattr(subject, name)


def add(a, b):
    return a + b


def sub(a, b):
    return a - b


def mul(a, b):
    return a * b


def truediv(a, b):
    return a / b


def floordiv(a, b):
    return a // b


def mod(a, b):
    return a % b


def pow(a, b):
    return a**b


def neg(a):
    return -a


def eq(a, b):
    return a == b


def ne(a, b):
    return a != b


def lt(a, b):
    return a < b


def le(a, b):
    return a <= b


def gt(a, b):
    return a > b


def ge(a, b):
    return a >= b


def xor(a, b):
    return a ^ b


def and_(a, b):
    return a & b


def or_(a, b):
    return a | b


def contains(a, b):
    return b in a


def getitem(a, b):
    return a[b]
