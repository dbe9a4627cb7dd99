"""Strengths side by side: each column is that strength's answer, and nobody's answers are written on."""

import pytest

from eval_prompts.answers import Settings
from eval_prompts.rows import Prompt
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.showing import strength_columns
from eval_prompts.showing.strength_columns import StrengthColumns
from tuning.data.chat import PYTHON_FORMAT
from tuning.errors import UserError

PROMPT = Prompt("Why?", tuple(PYTHON_FORMAT.messages({"question": "Why?", "input": ""})))


def test_columns_grow_to_their_ends_and_end_unread(tiny_model_path, tiny_adapter_path, monkeypatch):
    with Lens(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), device="cpu")) as lens:
        lens.start()
        lens.wait_ready()
        columns = StrengthColumns(lens)
        name = columns.begin(PROMPT, Settings(10), [0, 0.5, 1, 1.5])
        assert columns._of(name)[0].wait_over(60)
        view = columns.look(name)
        assert not view["running"]
        base, tuned = lens.ask(["Why?"], Settings(10)).result()
        texts = {column["strength"]: column["text"] for column in view["columns"]}
        assert (texts[0], texts[1]) == (base.text, tuned.text)
        told = {column["strength"]: column["as_trained"] for column in view["columns"]}
        assert told == {strength: text == tuned.text for strength, text in texts.items()}
        monkeypatch.setattr(strength_columns, "UNREAD_SECONDS", -1)
        left = columns.begin(PROMPT, Settings(400), [0, 1])
        stream = columns._of(left)[0]
        assert stream.wait_over(60)
        with pytest.raises(UserError, match="At most 8"):
            columns.begin(PROMPT, Settings(4), [number / 10 for number in range(9)])
        for unknown in ("nobody", None, []):
            with pytest.raises(UserError, match="not remembered"):
                columns.look(unknown)
