"""The starter adapter over the real 135M model as Q8_0, read back by llama.cpp."""

from __future__ import annotations

from pathlib import Path

import pytest

import eval_prompts
from tuning.exports import formats, questions, subject
from tuning.exports.certify import measure

pytest.importorskip("xllamacpp")
STARTER = Path(eval_prompts.__file__).parent / "starter_adapter"


@pytest.mark.real
def test_the_starter_as_q8_0_is_the_starter(smollm_path, tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "ANSWER_TOKENS", 24)
    monkeypatch.setattr(measure, "GOLD_TOKENS", 12)
    found = subject.find(str(STARTER))
    asked, where = questions.held_out(found, 2)
    assert where == "2 of 293 test rows of python_qa"
    made = formats.export(found, tmp_path / "out", "gguf", "Q8_0", questions=asked)
    proof = made.certificate
    assert proof.colour == "green", proof.lines()
    assert proof.figures["prompts_equal"] == 2
    assert proof.figures["kept"] > 0.95
    assert proof.figures["strength"] == pytest.approx(1, abs=0.05)
    assert next((tmp_path / "out").glob("*.gguf")).stat().st_size < 150e6
