"""All scorers by name, and how they are written in a task: a name, or a one-key mapping with options."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval_prompts.tasks.scorers import ending, figures, likelihood, overlap, own, sql, structure, wording
from eval_prompts.tasks.scorers.base import Given, Judge, Score, Scorer
from tuning.errors import UserError


@dataclass(frozen=True)
class Kind:
    """A scorer's maker. ``reference`` says whether it needs one; with ``without`` it does not where that option is
    given. ``columns`` names the option that holds a column it needs."""

    make: Callable[..., Judge]
    reference: bool = False
    without: str = ""
    column: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """Its options and their defaults."""
        parameters = inspect.signature(self.make).parameters.values()
        return {each.name: each.default for each in parameters if each.name != "folder"}

    @property
    def summary(self) -> str:
        """What it asks of an answer, in one sentence."""
        return (inspect.getdoc(self.make) or "").split("\n\n")[0].replace("\n", " ")


def python() -> Judge:
    """The answer's Python code parses, runs in the sandbox, and does its task: the question's probe, or its tests."""

    def judge(_: Given) -> Score | None:
        return None  # judged with all that belongs to it by eval_prompts.tasks.verdicts

    return judge


KINDS: dict[str, Kind] = {
    "exact": Kind(wording.exact, reference=True),
    "normalised": Kind(wording.normalised, reference=True),
    "contains": Kind(wording.contains, reference=True, without="text"),
    "excludes": Kind(wording.excludes),
    "any_of": Kind(wording.any_of, reference=True),
    "regex": Kind(wording.pattern, reference=True, without="pattern"),
    "number": Kind(figures.figure, reference=True),
    "choice": Kind(likelihood.choice, reference=True, column="column"),
    "reference": Kind(likelihood.reference, reference=True),
    "json": Kind(structure.json_scorer),
    "sql": Kind(sql.sql, reference=True, column="column"),
    "bleu": Kind(overlap.bleu, reference=True),
    "chrf": Kind(overlap.chrf, reference=True),
    "rouge_l": Kind(overlap.rouge_l, reference=True),
    "length": Kind(wording.length),
    "language": Kind(wording.language),
    "ends": Kind(ending.ends),
    "no_repeats": Kind(ending.no_repeats),
    "python": Kind(python),
    "own": Kind(own.own),
}


def make(spec: Any, folder: Path | None = None) -> Scorer:
    """A scorer from a name, or a mapping of one name to its options. ``folder`` is where files that options name lie,
    None where none may be named. Raises UserError for an unknown name or option, naming the nearest, or a bad value."""
    if isinstance(spec, dict) and len(spec) == 1:
        ((name, options),) = spec.items()
        options = {} if options is None else options
    elif isinstance(spec, str):
        name, options = spec, {}
    else:
        raise UserError("a scorer is a name, or a name with its options: contains, or {regex: {pattern: '^yes'}}")
    kind = KINDS.get(str(name))
    if kind is None:
        raise UserError(f"there is no scorer {str(name)[:60]!r}{nearest(str(name), KINDS)}")
    if not isinstance(options, dict):
        options = {shorthand(kind, str(name)): options}
    for option in options:
        if option not in kind.options:
            raise UserError(f"{name} has no option {str(option)[:60]!r}{nearest(str(option), kind.options)}")
    missing = [
        o for o, default in kind.options.items() if default is inspect.Parameter.empty and options.get(o) is None
    ]
    if missing:
        raise UserError(f"{name} needs the option {missing[0]}")
    takes_folder = "folder" in inspect.signature(kind.make).parameters
    try:
        if name == "json" and options.get("schema") is not None:  # what is kept and taken away holds the schema itself
            options = options | {"schema": structure.read_schema(options["schema"], folder)}
        judge = kind.make(**options, **({"folder": folder} if takes_folder else {}))
    except UserError as error:
        words = str(error)
        raise UserError(words if words.startswith(f"{name}:") else f"{name}: {words}") from None
    needs = kind.reference and not (kind.without and options.get(kind.without) is not None)
    columns = (str(options.get(kind.column, kind.options[kind.column])),) if kind.column else ()
    reads = judge.wanted if isinstance(judge, likelihood.ByLikelihood) else None
    return Scorer(str(name), judge, options, needs, columns, reads)


def shorthand(kind: Kind, name: str) -> str:
    """The option that a bare value stands for: ``{language: de}``. Raises UserError where there is none."""
    if not kind.options:
        raise UserError(f"{name} has no options")
    return next(iter(kind.options))


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the likeliest that was meant, or all there are."""
    names = list(known)
    close = difflib.get_close_matches(name.lower(), names, 1, 0.5)
    if close:
        return f": did you mean {close[0]}?"
    return f": there are {', '.join(names)}" if names else ": it has none"
