"""GGUF files of every family, as llama.cpp itself reads them."""

from __future__ import annotations

import pytest

from tests.tuning.exports.gguf_models import FAMILIES, QUESTIONS, make_subject
from tuning.exports import formats

pytest.importorskip("xllamacpp")


@pytest.mark.parametrize("name", FAMILIES)
def test_llama_cpp_computes_what_the_adapter_over_its_base_does(short, tmp_path, name):
    made = formats.export(make_subject(tmp_path, name), tmp_path / "out", "gguf", "F32", questions=QUESTIONS)
    proof = made.certificate
    assert proof.colour == "green", (proof.lines(), proof.questions)
    assert proof.figures["mean_kl"] < 1e-5
    assert proof.figures["kl_tuned_base"] > 0.05
    assert proof.figures["prompts_equal"] == len(QUESTIONS)
