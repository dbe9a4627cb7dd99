"""``python -m tuning.views.preview``: what a run would train on, as JSON; asked as JSON on standard input.

The question holds the fields of a Config; the answer ``facts``, a sentence or two a line, ``samples``, of which each is
a list of [text, whether its tokens are trained] (in preference pairs also "chosen" or "rejected"), ``columns``: each
with the role that it has. Where a source's columns are not understood, the answer is those columns with a guess to
correct. A UserError becomes one line on standard error.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from tuning.runs import helper_process

LONGEST_PIECE = 6000
TOO_OFTEN = 10
SUITE = "python-suite"
"""The suite that comes with the project: what its questions tell of an adapter, training on them must not teach."""


def preview(asked: dict[str, Any]) -> dict[str, Any]:
    """Read, clean and encode. Raises UserError if the data or the tokenizer cannot be used."""
    from tuning import presets
    from tuning.data.dataset import load
    from tuning.data.reading.layouts import UnknownColumns
    from tuning.models.of_config import find_weights
    from tuning.models.weights import load_tokenizer
    from tuning.training.optimizer import warm_up_warning
    from tuning.views.describe import samples

    config = presets.from_dict(asked)
    tokenizer = load_tokenizer(find_weights(config))
    try:
        dataset = load(
            config.data,
            empty_input_only=config.empty_input_only,
            limit=config.limit,
            tokenizer=tokenizer,
            max_tokens=config.max_tokens,
            reading=config.reading,
            wish=config.format_wish,
        )
    except UnknownColumns as error:
        columns = [[name, error.guess.get(name, "")] for name in error.columns]
        return {"facts": "", "samples": [], "columns": columns, "roles": roles(), "wrong": error.on_page}
    shown = [
        [[span.text[:LONGEST_PIECE], span.trained, *([span.part] if span.part else [])] for span in spans]
        for spans in samples(dataset, tokenizer, config.max_tokens)
    ]
    columns = [[name, role] for name, role in dataset.used.items()] + [[name, ""] for name in dataset.unused]
    whole = replace(config.in_steps(len(dataset.train)), epochs=None)
    told = facts(dataset, whole.max_steps * whole.batch_size)
    if config.epochs is not None:
        told += f"\nIts epochs make {whole.max_steps:,} steps. {warm_up_warning(whole)}".rstrip()
    return {"facts": told, "samples": shown, "columns": columns, "roles": roles(), "wrong": ""}


def roles() -> list[str]:
    """The roles that a column can be given."""
    from tuning.data.options import COLUMN_ROLES

    return list(COLUMN_ROLES)


def facts(dataset: Any, examples: int) -> str:
    """Counts, how often each row is met, how it is read, and what was dropped, in lines of words."""
    from tuning.data.place import PYTHON_SOURCES
    from tuning.views.contamination import near_suite, near_test
    from tuning.views.suite_questions import questions_of

    rows = len(dataset.train)
    words = [f"{rows:,} training rows, {len(dataset.validation):,} for validation, {len(dataset.test):,} for the test."]
    if rows:
        often = "That is more than so few rows bear: expect them to be learned by heart."
        met = f"The run meets each {examples / rows:.1f} times."
        words.append(f"{met} {often}" if examples > TOO_OFTEN * rows else met)
    words += dataset.notes
    if dataset.unused:
        words.append(f"Columns that are not used: {', '.join(dataset.unused)}.")
    words.append(f"Left out: {dataset.dropped.words()}." if dataset.dropped else "Nothing was left out.")
    close = near_test(dataset)
    if close.count:
        line, row, other = close.examples[0]
        words.append(f"{close.count:,} training rows are near a test row, such as “{row}” (line {line}) and “{other}”.")
    if dataset.source not in PYTHON_SOURCES:
        close = near_suite(dataset, SUITE, questions_of(SUITE))
        if close.count:
            line, row, _ = close.examples[0]
            words.append(f"{close.count:,} rows are near questions of {SUITE}, such as “{row}” (line {line}).")
    return "\n".join(words)


if __name__ == "__main__":
    sys.exit(helper_process.answer(preview))
