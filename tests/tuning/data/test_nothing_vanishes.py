"""Each text of a row is shown to the model, or something is said to be left out or unused, whatever its columns."""

from __future__ import annotations

import json
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuning.data.dataset import load
from tuning.data.options import Reading

WORD = st.sampled_from(["word", "word", "word", "word", None, "", "  "])
MARKS = {"weight": st.sampled_from([0, 1, None]), "label": st.sampled_from([True, False, None]), "name": WORD}
SPEAKERS = st.sampled_from(["user", "human", "assistant", "gpt", "system"])
PARTS = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": WORD}), min_size=1, max_size=2)
MESSAGES = st.lists(
    st.one_of(
        st.fixed_dictionaries({"role": SPEAKERS, "content": WORD | PARTS}, optional=MARKS),
        st.fixed_dictionaries({"From": SPEAKERS, "value": WORD}, optional=MARKS),
        st.fixed_dictionaries({"user": WORD, "assistant": WORD}, optional={"system": WORD, "input": WORD, **MARKS}),
        st.fixed_dictionaries({}, optional={"question": WORD, "bot": WORD, "system": WORD, "extra": WORD}),
    ),
    max_size=4,
)
PAIRS = st.lists(st.tuples(WORD, WORD).map(list), max_size=2)
TEXTS = ("context", "input", "system", "system_prompt", "text", "other", "output")
FURTHER = {**dict.fromkeys(TEXTS, WORD), "history": PAIRS | MESSAGES, "messages": MESSAGES}
ROWS = st.one_of(
    st.fixed_dictionaries({"question": WORD, "answer": WORD}, optional=FURTHER),
    st.fixed_dictionaries({"prompt": WORD | MESSAGES, "completion": WORD | MESSAGES}, optional=FURTHER),
    st.fixed_dictionaries({"conversation": MESSAGES}, optional=FURTHER),
)
CHOICES = st.fixed_dictionaries(
    {"chosen": WORD | MESSAGES, "rejected": WORD | MESSAGES, "prompt": WORD}, optional=FURTHER
)
GOOD = {"question": "fine?", "answer": "yes", "prompt": "fine?", "chosen": "yes", "rejected": "no"}


def numbered(value, numbers, bad=False):
    """A value with every word told apart, and its words, marked as bad in messages that are not to be trained."""
    if value == "word":
        name = f"word{next(numbers)}."
        return name, {name: bad}
    words: dict[str, bool] = {}
    if isinstance(value, list):
        pieces = [numbered(each, numbers, bad) for each in value]
        found = [piece for piece, _ in pieces]
    elif isinstance(value, dict):
        bad = bad or value.get("weight") == 0 or value.get("label") is False
        pieces = [numbered(each, numbers, bad) for each in value.values()]
        found = dict(zip(value, (piece for piece, _ in pieces), strict=True))
    else:
        return value, words
    for _, each in pieces:
        words |= each
    return found, words


def check(path, row, reading):
    numbers = count()
    cells = {column: numbered(value, numbers) for column, value in row.items()}
    written = {column: value for column, (value, _) in cells.items()}
    good = {
        key: GOOD[key] for key in (("prompt", "chosen", "rejected") if reading.preference else ("question", "answer"))
    }
    path.write_text(f"{json.dumps(written)}\n{json.dumps(good)}\n")
    data = load(str(path), reading=reading)
    shown = learned = ""
    for found in data.rows():
        shown += "\n".join([found.question, found.input, found.answer, found.rejected, *(t.text for t in found.turns)])
        learned += "\n".join([turn.text for turn in found.turns if turn.trained] if found.turns else [found.answer])
    for column, (_, words) in cells.items():
        named = any(name == column or name.startswith(f"{column}.") for name in data.unused)
        for word, bad in words.items():
            assert word in shown or data.dropped or named, (word, written)
            assert not (bad and word in learned), (word, written)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=ROWS)
def test_no_text_of_a_row_vanishes(tmp_path, row):
    check(tmp_path / "rows.jsonl", row, Reading())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=CHOICES)
def test_no_text_of_a_preference_pair_vanishes(tmp_path, row):
    check(tmp_path / "pairs.jsonl", row, Reading(preference=True))
