"""How sure a model was of its tokens, against whole passes of the model; and what of it is told to whom."""

import pytest
import torch

from eval_prompts.answers import Answer, Settings
from eval_prompts.decoding.general_decoder import GeneralDecoder
from eval_prompts.decoding.generation_defaults import GenerationDefaults
from eval_prompts.decoding.pair_decoder import PairDecoder
from eval_prompts.rows import Prompt
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.showing.certainty import recorded
from eval_prompts.stream import Stream
from tests.eval_prompts.showing.showings import showing_of

QUESTIONS = ["Why is it?", "What?"]


def answered(engine, settings, questions=QUESTIONS):
    stream = Stream(questions, ("base", "tuned"), settings)
    engine.submit(stream)
    return stream, stream.result()


@pytest.mark.parametrize("decoder", [PairDecoder, GeneralDecoder])
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_odds_are_those_of_the_models_own_logits(engine_for, tiny_pair, decoder, temperature):
    """Whatever temperature, top-p and generation settings then make of the logits."""
    defaults = GenerationDefaults({"repetition_penalty": 1.3, "top_k": 5})
    engine = engine_for(tiny_pair, decoder(tiny_pair), defaults=defaults)
    stream, answers = answered(engine, Settings(12, temperature, 0.9, seed=3, confidence=True))
    for row, answer in zip(stream.rows, answers, strict=True):
        with torch.inference_mode():
            logits = tiny_pair.model(row.side)(input_ids=torch.tensor([row.ids])).logits[0].double()
        places = range(row.prompt_length - 1, row.prompt_length - 1 + answer.tokens)
        expected = [logits[place].softmax(-1)[row.ids[place + 1]].item() for place in places]
        assert [odds for _, odds in answer.confidence] == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert "".join(piece for piece, _ in answer.confidence) == answer.text


def test_nobody_pays_who_does_not_ask(engine_for, tiny_pair):
    stream, answers = answered(engine_for(tiny_pair), Settings(5))
    assert all(answer.confidence == () for answer in answers)
    assert all(odds is None for row in stream.rows for odds in row.odds)
    assert "confidence" not in stream.settings.to_dict()


def test_what_was_given_has_no_odds_and_what_is_cut_off_no_tokens(engine_for, tiny_pair):
    engine = engine_for(tiny_pair)
    prompt = Prompt("Go on.", ({"role": "user", "content": "Go on."},), begun="ab")
    stream = Stream([prompt], ("tuned",), Settings(20, confidence=True))
    engine.submit(stream)
    [answer] = stream.result()
    assert [odds for _, odds in answer.confidence[:2]] == [None, None]
    assert all(odds is not None for _, odds in answer.confidence[2:])
    stop = answer.text[4]
    stream = Stream([prompt], ("tuned",), Settings(20, stop=(stop,), confidence=True))
    engine.submit(stream)
    [cut] = stream.result()
    assert "".join(piece for piece, _ in cut.confidence) == cut.text == answer.text[: answer.text.index(stop)]


def test_blind_pairs_tell_nothing_before_the_vote_and_drafts_are_left_out():
    showing = showing_of(["A?"], Lens(LocalLoader("a-model")).status, Settings(confidence=True))
    sure = (("<think>", 0.9), ("hm</think>y", 0.8), ("es", 0.123456), ("!", None))
    text = "<think>hm</think>yes!"
    answers = [Answer(side, 0, "A?", text, 4, state="ended", confidence=sure) for side in ("base", "tuned")]
    view = showing.view(answers)["rows"][0]["sides"]["left"]["confidence"]
    assert view["tokens"] == [("y", 0.8), ("es", 0.123), ("!", None)]
    assert view["note"].startswith("1 of 3 tokens")
    showing.pairs[0].thread.revealed = False
    assert "confidence" not in showing.view(answers)["rows"][0]["sides"]["left"]
    assert recorded(answers[0])[0] == ["<think>", 0.9]
