"""The lens against llama.cpp on the same text and models: its logits here, and its server as two sides elsewhere."""

from __future__ import annotations

import math

import numpy
import pytest

from eval_prompts.lens.set_figures import TextSet
from eval_prompts.lens.token_lens import encoded, read
from eval_prompts.lens.view import Written, reading_view
from eval_prompts.models.pair import load_pair
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.readings import Readings
from eval_prompts.serving.remote import RemoteLoader
from tests.tuning.exports.gguf_models import QUESTIONS, make_subject
from tuning.exports.certify import llama_engine
from tuning.exports.certify.llama_engine import LlamaCpp
from tuning.exports.llama_cpp.model_file import write_model
from tuning.models.device import pick_device

pytest.importorskip("xllamacpp")

TEXTS = ("There are many words here.", "The fox asks 12 times.", "\u00fcber and \u65e5\u672c")


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return make_subject(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def engines(subject, tmp_path_factory):
    """llama.cpp with the base and with the merged adapter, in F32."""
    folder, opened = tmp_path_factory.mktemp("gguf"), []
    for name, bare in (("base", True), ("tuned", False)):
        write_model(subject, folder / f"{name}.gguf", "F32", lambda *_: None, bare=bare)
        opened.append(LlamaCpp(folder / f"{name}.gguf"))
    yield opened
    for engine in opened:
        engine.close()


@pytest.fixture(scope="module")
def pair(subject):
    return load_pair(subject.weights, pick_device("cpu"), str(subject.adapter))


def test_set_figures_are_those_of_llama_cpps_logits(pair, engines, monkeypatch):
    """As ``llama-perplexity --kl-divergence`` makes them: mean KL, perplexities, share of the same first token."""
    monkeypatch.setattr(llama_engine, "LIKELIEST", llama_engine.EVERYTHING)  # the whole vocabulary at every place
    found, logs = TextSet(), {"base": [], "tuned": []}
    chosen: list[int] = []
    for question, text in zip([one.messages for one in QUESTIONS] * 2, TEXTS, strict=False):
        found.add(text, read(pair, question, text))
        prompt, ids = encoded(pair, "base", question, text, False)
        chosen += ids
        for engine, rows in zip(engines, logs.values(), strict=True):
            for place in engine.read(prompt, ids):
                row = numpy.full(len(pair.tokenizer), -numpy.inf)
                row[list(place.tokens)] = place.logprobs
                rows.append(row)
    base, tuned = (numpy.array(rows) for rows in logs.values())
    kl = (numpy.exp(base) * (base - tuned)).sum(1)
    places = numpy.arange(len(chosen))
    ours = {name: estimate["value"] for name, estimate in found.figures()["estimates"].items()}
    assert ours["kl"] == pytest.approx(kl.mean(), rel=1e-3)
    assert ours["kl_percentile_90"] == pytest.approx(numpy.percentile(kl, 90), rel=5e-3)
    assert ours["same_top"] == pytest.approx((base.argmax(1) == tuned.argmax(1)).mean())
    for side, rows in (("base", base), ("tuned", tuned)):
        assert ours[f"perplexity_{side}"] == pytest.approx(math.exp(-rows[places, chosen].mean()), rel=1e-3)
    change = (tuned - base)[places, chosen].mean()
    assert ours["change_per_token"] == pytest.approx(change, abs=1e-3)


def test_sides_at_llama_cpps_servers_are_read_as_the_same_models_here(pair, engines):
    urls = [f"{engine._address}/v1" for engine in engines]
    question = QUESTIONS[0].messages
    with Lens(RemoteLoader(*urls)) as lens:
        lens.start()
        lens.wait_ready(60)
        found = Readings(lens).read(question, {"text": Written(TEXTS[0], ended=True)})["text"]
    here = read(pair, question, TEXTS[0])
    assert found.pieces == here.pieces
    assert found.prompt_tokens == here.prompt_tokens
    for ours, theirs in zip(found.scores, here.scores, strict=True):
        for side in ("base", "tuned"):
            told, known = getattr(ours, side), getattr(theirs, side)
            assert told.logprob == pytest.approx(known.logprob, abs=2e-2)  # its cache is in 16 bits
            assert abs(told.rank - known.rank) <= 3
            top = [(found.choices[side][token], odds) for token, odds in told.top[:3]]
            assert [odds for _, odds in top] == pytest.approx([odds for _, odds in known.top[:3]], abs=5e-3)
            first = here.choices[side][known.top[0][0]]
            if known.top[0][1] - known.top[1][1] > 0.02 and "\ufffd" not in first:
                assert top[0][0] == first
            assert (told.entropy, told.end) == (None, None)
    assert found.figures.mean_kl is None
    assert "no KL" in found.notes[0]
    assert "closes the answer was not read" in found.notes[1]
    assert reading_view(found)["tokens"][0]["base"][2] is None
