"""What a right KNN classifier does: it labels the points of a small labelled set, however it wants to be given them.

The set: five points of class 0 around the origin, one of them far out at (9, 9), and ten of class 1: four around
(10, 10), three around (0, 20) and three around (20, 0), which are told from class 0 by one coordinate each.
Near (9, 9) the nearest point is of class 0 and the next two are of class 1, so that k decides.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

from eval_prompts.judging.outcome import Check, Outcome, Session, in_words
from eval_prompts.judging.probes.program import Program, bound_names, numbers_in, stopped

LABEL = "classifies a small labelled set"
POINTS = [[0, 0], [0, 1], [1, 0], [1, 1], [9, 9], [10, 10], [10, 11], [11, 10], [11, 11]]
POINTS += [[0, 20], [1, 20], [1, 21], [20, 0], [20, 1], [21, 0]]
LABELS = [0] * 5 + [1] * 10
QUERIES = (([0.5, 0.2], 0), ([10.5, 10.8], 1), ([9.2, 9.2], 1), ([0.5, 20.2], 1), ([20.2, 0.4], 1))
NEAREST_ONLY = ([9.2, 9.2], 0)
SHAPES = ("rows", "pairs", "groups")
"""Points and their labels in one: rows that end in the label, pairs of both, lists of points by label."""
MOST_WAYS = 80


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


ROLES = (
    ("k", _words(r"^(k|n|n_?neighbou?rs|num_?neighbou?rs|k_?neighbou?rs|k_?value)$"), None),
    ("labels", _words(r"^y$|y_|label|target|class"), _words("test|classifier")),
    ("query", _words("test|query|new|point|instance|sample|^x$|row|predict|input|unknown|item"), _words("train|s$")),
    ("points", _words("train|data|points|features|examples|samples|^xs$"), None),
    ("query", _words("test|quer|instances|inputs|items"), None),
)
FITTING = re.compile(r"fit|train|learn", re.IGNORECASE)
PREDICTING = re.compile(r"predict|classif", re.IGNORECASE)


@dataclass(frozen=True)
class _Way:
    """One way to use the program: ``prepare`` is run once per k, ``ask`` gives the label of the query."""

    prepare: str
    ask: str
    many: bool
    sets_k: bool


def check_knn(program: Program) -> list[Check]:
    """Whether some class or function of the program, given the set, labels the queries."""
    with program.open_session() as session:
        if found := stopped(LABEL, session.run(program.source)):
            return [found]
        ways = list(_ways(program))
        if not ways:
            return [Check(LABEL, False, "has no class or function that takes labelled points")]
        first_failure = None
        for way in ways[:MOST_WAYS]:
            checks = _try(session, way)
            if checks[0].passed and (checks[-1].passed or _told(checks)):
                return checks
            if first_failure is None or (len(checks), _told(checks)) > (len(first_failure), _told(first_failure)):
                first_failure = checks
    return first_failure or [Check(LABEL, False, "could not be called")]


def _told(checks: list[Check]) -> bool:
    """Whether the last check failed with a wrong label, which says more than a call that did not fit."""
    return checks[-1].wrong_value or checks[-1].passed is None


def _try(session: Session, way: _Way) -> list[Check]:
    for query, expected in QUERIES:
        outcome = _label(session, way, 3, query)
        if outcome.state == "lacking":
            return [Check(LABEL, None, outcome.reason)]
        if not outcome.ok:
            return [Check(LABEL, False, outcome.reason, outcome.printed)]
        if _is(outcome, expected) is False:
            reason = f"gives {_shown(outcome)} for {query}, expected {expected}"
            return [Check(LABEL, False, reason, outcome.printed, wrong_value=True)]
    passed = Check(LABEL, True)
    if not way.sets_k:
        return [passed]
    outcome = _label(session, way, 1, NEAREST_ONLY[0])
    right = outcome.ok and _is(outcome, NEAREST_ONLY[1])
    reason = "" if right else outcome.reason or f"gives {_shown(outcome)} where k = 1 must give {NEAREST_ONLY[1]}"
    label = "follows the number of neighbours k"
    return [passed, Check(label, right, reason, outcome.printed, wrong_value=not right and not outcome.reason)]


def _label(session: Session, way: _Way, k: int, query: list[float]) -> Outcome:
    values = {"_points_": POINTS, "_labels_": LABELS, "_query_": query, "_k_": k, "_queries_": [query, POINTS[0]]}
    values["_rows_"] = [[*point, label] for point, label in zip(POINTS, LABELS, strict=True)]
    values["_pairs_"] = [(point, label) for point, label in zip(POINTS, LABELS, strict=True)]
    values["_groups_"] = {
        label: [point for point, own in zip(POINTS, LABELS, strict=True) if own == label] for label in (0, 1)
    }
    expression = f"(lambda _model_: {way.ask})({way.prepare or 'None'})"
    outcome = session.evaluate(expression, values)
    if outcome.ok and way.many and isinstance(outcome.value, list | tuple) and len(outcome.value) == 2:
        return Outcome("ok", outcome.value[0], outcome.printed)
    return outcome


def _is(outcome: Outcome, expected: int) -> bool:
    value = outcome.value
    if isinstance(value, list | tuple) and 1 <= len(value) <= 2:
        value = value[0]
    if value is None and outcome.printed:
        found = numbers_in(outcome.printed)
        value = found[-1] if found else None
    if isinstance(value, str) and value.strip() in ("0", "1"):
        value = int(value)
    return type(value) in (int, float) and value == expected


def _shown(outcome: Outcome) -> str:
    return in_words(outcome.value if outcome.value is not None else outcome.printed.strip() or None)


def _ways(program: Program) -> Iterator[_Way]:
    """Ways to use the classes, then the functions, then the models that the program makes itself, each with arrays
    first where the program uses numpy."""
    plain = [*_class_ways(program), *_function_ways(program), *_model_ways(program)]
    if re.search(r"\bnumpy\b", program.source):
        array = re.compile(r"\b_(points|labels|query|queries|rows)_\b")
        convert = "__import__('numpy').array(_\\1_)"
        for way in plain:
            yield _Way(array.sub(convert, way.prepare), array.sub(convert, way.ask), way.many, way.sets_k)
    yield from plain


def _class_ways(program: Program) -> Iterator[_Way]:
    for owner in program.classes():
        methods = {node.name: _parameters(node) for node in owner.body if isinstance(node, ast.FunctionDef)}
        fit = next((name for name in methods if FITTING.search(name) and not PREDICTING.search(name)), None)
        predicts = [name for name in methods if PREDICTING.search(name)]
        predicts.sort(key=lambda name: (name.startswith("_"), name != "predict"))
        start = methods.get("__init__", ((), 0))
        for predict in predicts[:3]:
            for many in (True, False):
                for made, sets_k in _constructions(owner.name, *start):
                    for arguments, asked_k in _named_arguments(*methods[predict], many):
                        sets = sets_k or asked_k
                        if fit is None:
                            yield _Way(made, f"_model_.{predict}({arguments})", many, sets)
                            continue
                        for given, given_k in _named_arguments(*methods[fit], many, fitting=True):
                            fitted = f"(_model_.{fit}({given}), _model_.{predict}({arguments}))[1]"
                            yield _Way(made, fitted, many, sets or given_k)


def _constructions(name: str, parameters: tuple[str, ...], needed: int) -> Iterator[tuple[str, bool]]:
    roles = [_role(parameter) for parameter in parameters]
    if "points" in roles or "labels" in roles:
        given = [f"{p}={_value(r, False)}" for p, r in zip(parameters, roles, strict=True) if r]
        yield f"{name}({', '.join(given)})", "k" in roles
    elif "k" in roles:
        yield f"{name}({parameters[roles.index('k')]}=_k_)", True
    elif needed == 1 or (parameters and not needed):
        yield f"{name}(_k_)", True
    if needed == 0:
        yield f"{name}()", False


def _model_ways(program: Program) -> Iterator[_Way]:
    """Objects that the program itself trains by ``fit`` and asks by ``predict``, such as one of scikit-learn."""
    names: dict[str, set[str]] = {"fit": set(), "predict": set()}
    for node in ast.walk(program.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in names:
            names[node.attr].add(node.value.id)
    for name in sorted(names["fit"] & names["predict"] & bound_names(program.tree)):
        yield _Way("", f"({name}.fit(_points_, _labels_), {name}.predict(_queries_))[1]", True, False)


def _function_ways(program: Program) -> Iterator[_Way]:
    entries = [entry for entry in program.functions("knn|nearest|predict|classif") if "()." not in entry.call]
    usable = [entry for entry in entries if any(entry.takes(count) for count in (2, 3, 4))]
    for arguments_of in (_named_arguments, _ordered_arguments):
        for entry in usable:
            for many in (False, True):
                for arguments, sets_k in arguments_of(entry.parameters, entry.needed, many):
                    yield _Way("", f"{entry.call}({arguments})", many, sets_k)


def _named_arguments(
    parameters: tuple[str, ...], needed: int, many: bool, fitting: bool = False
) -> Iterator[tuple[str, bool]]:
    """Argument lists by what the parameters' names say, and whether they set k."""
    roles = [_role(parameter) for parameter in parameters]
    if fitting and len(parameters) >= 2:
        roles = ["points", "labels", *[role if role == "k" else "" for role in roles[2:]]]
    elif len(parameters) == 1:
        roles = ["points" if fitting else "query"]
    if len(set(roles)) == len(roles) and "" not in roles:
        shapes = ("points",) if "labels" in roles else (*SHAPES, "points")
        for shape in shapes:
            given = [_value(shape if role == "points" else role, many) for role in roles]
            yield ", ".join(given), "k" in roles


def _ordered_arguments(parameters: tuple[str, ...], needed: int, many: bool) -> Iterator[tuple[str, bool]]:
    """Argument lists in every order that makes sense for their number, the number of neighbours among them where there
    is room for it."""
    orders: list[tuple[str, ...]] = []
    count = min(max(needed, 2), 4)
    if count == 2 and len(parameters) > 2:
        orders += [(shape, "query", "k") for shape in SHAPES]
    if count == 2:
        orders += [order for shape in SHAPES for order in permutations((shape, "query"))]
    if count == 3:
        orders += [(shape, "query", "k") for shape in SHAPES]
        orders += [(*order, "k") for order in permutations(("points", "labels", "query")) if len(parameters) > 3]
        orders += permutations(("points", "labels", "query"))
    if count == 4:
        orders += permutations(("points", "labels", "query", "k"))
    for order in orders:
        yield ", ".join(_value(role, many) for role in order), "k" in order


def _role(parameter: str) -> str:
    """What a parameter's name says that it takes; '' if nothing."""
    if parameter == "X":
        return "points"
    for role, pattern, but_not in ROLES:
        if pattern.search(parameter) and not (but_not and but_not.search(parameter)):
            return role
    return ""


def _value(role: str, many: bool) -> str:
    return "_queries_" if role == "query" and many else f"_{role}_"


def _parameters(node: ast.FunctionDef) -> tuple[tuple[str, ...], int]:
    """A method's parameters after ``self``, and how many of them have no default."""
    names = tuple(argument.arg for argument in node.args.args)[1:]
    return names, max(len(names) - len(node.args.defaults), 0)
