"""The pair on a GPU: in fp32 the texts of ``generate`` on the CPU, in half precision nearly so; adapters exchanged."""

from __future__ import annotations

import pytest
import torch

from eval_prompts.answers import Settings
from eval_prompts.models.pair import load_pair, with_adapter
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from tests.eval_prompts.decoding.test_decode import QUESTIONS, ask, assert_same_text, plain_references
from tests.eval_prompts.models.random_adapter import random_adapter
from tuning.models.device import pick_device
from tuning.models.weights import load_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def test_a_gpu_gives_the_texts_of_generate(tiny_weights, tiny_model_path, tiny_adapter_path, engine_for):
    pair = load_pair(tiny_weights, pick_device("cuda", "fp32"), str(tiny_adapter_path))
    engine = engine_for(pair, max_rows=14)
    assert type(engine.backend).__name__ == "PairDecoder"
    streams = [ask(engine, QUESTIONS[at : at + 5], max_new_tokens=40) for at in range(0, 50, 5)]
    rows = [row for stream in streams for row in (stream.result() and stream.rows)]
    references = plain_references(tiny_model_path, tiny_adapter_path)
    ties = sum(assert_same_text(pair, row, 40, references) for row in rows)
    assert ties <= 5


def test_half_precision_is_named_and_stays_near(tiny_weights, tiny_adapter_path, engine_for):
    device = pick_device("cuda")
    pair = load_pair(tiny_weights, device, str(tiny_adapter_path))
    engine = engine_for(pair)
    assert engine.backend.precision == device.label.split()[-1]
    exact = load_model(tiny_weights, pick_device("cpu"))
    stream = ask(engine, QUESTIONS[:5], max_new_tokens=1)
    stream.result()
    for row in stream.rows:
        if row.side == "base":
            with torch.inference_mode():
                logits = exact(torch.tensor([row.ids[: row.prompt_length]])).logits[0, -1]
            assert logits[row.ids[row.prompt_length]] > logits.max() - 0.1 * logits.std()


def test_another_adapter_takes_its_place_and_the_base_stays(tiny_weights, tiny_model_path, tiny_adapter_path, tmp_path):
    pair = load_pair(tiny_weights, pick_device("cuda"), str(tiny_adapter_path))
    other = random_adapter(tiny_model_path, tmp_path / "other", ["q_proj", "down_proj"])
    exchanged = with_adapter(pair, tiny_weights, str(other), against=str(tiny_adapter_path))
    assert exchanged.base is pair.base
    again = with_adapter(exchanged, tiny_weights, str(tiny_adapter_path))
    assert again.base_is_base


@pytest.mark.parametrize("quantize", [None, "4bit", "8bit"])
def test_the_app_answers_on_the_gpu(tiny_model_path, tiny_adapter_path, quantize):
    with Lens(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), device="cuda", quantize=quantize)) as lens:
        lens.start()
        lens.wait_ready()
        assert lens.status().device.startswith("CUDA")
        answers = lens.ask(["Reverse a list."], Settings(max_new_tokens=8)).result()
    assert [answer.side for answer in answers] == ["base", "tuned"]
    assert all(answer.tokens for answer in answers)
