"""What a scorer says of one answer."""

from __future__ import annotations

from eval_prompts.tasks.scorers.base import Given, Outcome
from eval_prompts.tasks.scorers.names import make

P, F, N, M = Outcome.PASSES, Outcome.FAILS, Outcome.NOT_RUN, Outcome.MEASURED
SHOP = "create table item(name text, price real); insert into item values ('tea', 2.5), ('jam', 4), ('pie', 4);"


def score(spec, text, reference=(), stopped=None, **columns):
    references = tuple(filter(None, [reference] if isinstance(reference, str) else reference))
    return make(spec)(Given(text, references, columns, stopped))


def outcome(*arguments, **named):
    found = score(*arguments, **named)
    return found and found.outcome
