"""``python -m tuning.views.preview``: what a run would train on, as JSON; asked as JSON on standard input.

The question holds the fields of a Config; the answer ``facts``, in words, and ``samples``, of which each is a list of
[text, whether its tokens are trained]. A UserError becomes one line on standard error.
"""

from __future__ import annotations

import sys
from typing import Any

from tuning.runs import helper_process

LONGEST_PIECE = 6000


def preview(asked: dict[str, Any]) -> dict[str, Any]:
    """Read, clean and encode. Raises UserError if the data or the tokenizer cannot be used."""
    from tuning import presets
    from tuning.data.dataset import load
    from tuning.models.weights import load_tokenizer
    from tuning.training.job import find_weights
    from tuning.views.describe import samples

    config = presets.from_dict(asked)
    tokenizer = load_tokenizer(find_weights(config))
    dataset = load(
        config.data,
        empty_input_only=config.empty_input_only,
        limit=config.limit,
        tokenizer=tokenizer,
        max_tokens=config.max_tokens,
    )
    shown = [
        [[span.text[:LONGEST_PIECE], span.trained] for span in spans]
        for spans in samples(dataset, tokenizer, config.max_tokens)
    ]
    return {"facts": facts(dataset, config.max_steps * config.batch_size), "samples": shown}


def facts(dataset: Any, examples: int) -> str:
    """Counts, how often each row is met, and what was dropped, in words."""
    rows = len(dataset.train)
    words = [f"{rows:,} training rows, {len(dataset.validation):,} for validation, {len(dataset.test):,} for the test."]
    if rows:
        words.append(f"The run meets each {examples / rows:.1f} times.")
    dropped = ", ".join(f"{reason} {count:,}" for reason, count in sorted(dataset.dropped.items()) if count)
    words.append(f"Left out: {dropped}." if dropped else "Nothing was left out.")
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(helper_process.answer(preview))
