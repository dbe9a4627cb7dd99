"""What is forgotten: sums against the models' own, the interval by passage, and what cannot be read."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from eval_prompts.__main__ import main
from eval_prompts.lens.likelihood import Likelihood
from eval_prompts.scoring import forgetting
from eval_prompts.scoring.figures import Figures
from eval_prompts.scoring.forgetting import compared, measure, passages
from eval_prompts.scoring.gate import Exit
from eval_prompts.scoring.pages import forgetting_rows
from tuning.errors import UserError


class LensOf:
    def __init__(self, pair):
        self.pair = pair


def test_both_texts_are_of_a_useful_size_and_written_here():
    for name in forgetting.TEXTS:
        found = passages(name)
        assert len(found) >= 20
        assert len(set(found)) == len(found)
        assert 8_000 < sum(map(len, found)) < 20_000  # some three to six thousand tokens


def test_it_is_the_difference_of_the_models_own_losses(tiny_pair, monkeypatch):
    texts = {"prose": ["A first passage.", "A second one, which is longer."], "code": ["x = 1", "y = x + 1", "z"]}
    monkeypatch.setattr(forgetting, "passages", texts.__getitem__)
    found = {one.name: one for one in measure(LensOf(tiny_pair), lambda: False)}
    tokenizer = tiny_pair.tokenizer
    for name, each in texts.items():
        losses, tokens = {"base": 0.0, "tuned": 0.0}, 0
        for text in each:
            ids = [tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False)]
            tokens += len(ids) - 1
            for side in losses:
                with torch.inference_mode():
                    logits = tiny_pair.model(side)(torch.tensor([ids])).logits[0, :-1]
                losses[side] += float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum"))
        one = found[name]
        assert one.tokens == tokens
        assert one.before == pytest.approx(losses["base"] / tokens, abs=1e-3)
        assert one.now == pytest.approx(losses["tuned"] / tokens, abs=1e-3)
        assert one.low <= one.difference <= one.high
        assert one.unit == "token"


def passage(nats, tokens=10):
    return Likelihood(-nats, tokens, 4 * tokens, 4 * tokens)


def both(before, now):
    return [(passage(one), passage(other)) for one, other in zip(before, now, strict=True)]


def test_what_is_clearly_forgotten_is_worse_and_little_is_not():
    before = [30.0 + number % 3 for number in range(20)]
    lost = compared("prose", both(before, [nats + 4 + 0.1 * (at % 2) for at, nats in enumerate(before)]), "token", 20)
    assert lost.worse
    assert lost.difference == pytest.approx(0.405)
    assert "forgets neutral prose" in lost.sentence
    assert "50% less expected" in lost.sentence
    gone = compared("prose", both(before, [nats + 80 + 0.1 * (at % 2) for at, nats in enumerate(before)]), "token", 20)
    assert f"{math.exp(gone.difference):,.0f} times less expected" in gone.sentence
    assert gone.difference == pytest.approx(8.005)
    kept = compared("prose", both(before, [nats + 0.1 for nats in before]), "token", 20)
    assert not kept.worse
    assert "is not forgotten" in kept.sentence
    gained = compared("code", both(before, [nats - 1 for nats in before]), "token", 20)
    assert "more expected" in gained.sentence
    unclear = compared(
        "code", both(before, [nats + (8 if at == 3 else 0) for at, nats in enumerate(before)]), "token", 20
    )
    assert not unclear.worse
    assert "too close to tell" in unclear.sentence


def test_one_passage_and_no_numbers_claim_nothing_false():
    one = compared("prose", both([30.0], [60.0]), "token", 24)
    assert not one.worse
    assert "23 of 24 passages left out" in one.sentence
    broken = compared("prose", both([30.0, 31.0], [math.nan, 31.0]), "token", 2)
    assert broken.worse
    assert "no numbers" in broken.sentence
    untold = compared("code", both([math.nan, 31.0], [30.0, 31.0]), "token", 2)
    assert not untold.worse
    assert "the base side's figures on neutral code are no numbers" in untold.sentence
    figures = [json.loads(json.dumps(each.to_dict(), allow_nan=False)) for each in (one, broken, untold)]
    rows = forgetting_rows(Figures((), (), tuple(figures)), {"base": "Base", "tuned": "Tuned"})
    assert rows[1:] == [
        ["prose", "3.000", "6.000", "+3.000 (no interval)"],
        ["prose", "3.050", "–", "–"],
        ["code", "–", "3.050", "–"],
    ]


def test_passages_that_do_not_fit_are_left_out_and_counted(tiny_pair, monkeypatch):
    monkeypatch.setattr(forgetting, "passages", lambda name: ["short", "x" * 900, "another"])
    found = measure(LensOf(tiny_pair), lambda: False)
    assert [(one.passages, one.whole) for one in found] == [(2, 3), (2, 3)]
    monkeypatch.setattr(forgetting, "passages", lambda name: ["x" * 900])
    with pytest.raises(UserError, match="cannot be read: The text has 900 tokens"):
        measure(LensOf(tiny_pair), lambda: False)


def test_tokenizers_that_cut_otherwise_are_compared_by_bytes(tiny_pair, monkeypatch, tiny_tokenizer_own_pad):
    class Halves:
        bos_token_id = 1

        def encode(self, text, add_special_tokens):
            return tiny_tokenizer_own_pad.encode(text[::2], add_special_tokens=add_special_tokens)

    monkeypatch.setattr(forgetting, "passages", lambda name: ["A passage.", "Another."])
    other = replace(tiny_pair, side_tokenizers={"tuned": Halves()})
    assert {one.unit for one in measure(LensOf(other), lambda: False)} == {"byte"}


def test_it_stops_when_told_and_says_where_it_cannot_be_read(tiny_pair):
    assert measure(LensOf(tiny_pair), lambda: True) is None
    with pytest.raises(UserError, match="other machines give none"):
        measure(LensOf(None), lambda: False)
    with pytest.raises(UserError, match="no tuned side"):
        measure(LensOf(tiny_pair.alone), lambda: False)


def test_one_side_alone_has_forgotten_nothing_that_could_be_told(capsys):
    assert main(["score", "--task", "general", "--sides", "base", "--forgetting"]) == 2
    assert "--forgetting compares both sides: leave out --sides." in capsys.readouterr().err


@pytest.fixture(scope="module")
def literate(tmp_path_factory, tiny_model_path, tiny_tokenizer):
    """The tiny model after it has read the neutral prose for a while, so that there is something to forget."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_path).train()
    teach(model, tiny_tokenizer, passages("prose"), list(model.parameters()), 0.01, 24)
    path = tmp_path_factory.mktemp("literate")
    model.save_pretrained(path)
    tiny_tokenizer.save_pretrained(path)
    return path


def teach(model, tokenizer, texts, parameters, rate, steps):
    """Take so many steps over ``texts`` in turn."""
    optimizer = torch.optim.AdamW(parameters, lr=rate)
    for step in range(steps):
        ids = torch.tensor([tokenizer.encode(texts[step % len(texts)], add_special_tokens=False)[:400]])
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def adapter_taught(path, base, tokenizer, rate, steps):
    """A LoRA adapter that was taught one line again and again."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    teach(model, tokenizer, ["0123456789 " * 20], trained, rate, steps)
    model.save_pretrained(path)
    return path


@pytest.mark.parametrize(("rate", "steps", "forgets"), [(0.05, 30, True), (1e-5, 2, False)])
def test_a_fine_tune_that_forgets_is_flagged_unasked(
    literate, tiny_tokenizer, tmp_path, monkeypatch, cpu, rate, steps, forgets
):
    """High rate, many steps: the card says so, though only the task was asked for."""
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "data"))
    short = {name: [text[:300] for text in passages(name)] for name in forgetting.TEXTS}  # the context has 512 bytes
    monkeypatch.setattr(forgetting, "passages", short.__getitem__)
    adapter = adapter_taught(tmp_path / "adapter", literate, tiny_tokenizer, rate, steps)
    task = tmp_path / "digits.yaml"
    task.write_text(
        "name: digits\nscore: {contains: {text: '1'}}\nsettings: {max_new_tokens: 4}\nbattery: [little.yaml]\n"
        "questions: ['Say one', 'Say two', 'Say three']\n"
    )
    (tmp_path / "little.yaml").write_text(
        "name: little\nscore: {choice: {by: likelihood}}\nquestions: [{question: 'Q', options: [a, b], answer: a}]\n"
    )
    told = tmp_path / "score.json"
    common = ("--model", str(literate), "--adapter", str(adapter), "--precision", "fp32", "--device", "cpu")
    code = main(["score", "--task", str(task), *common, "--out", str(told), "--fail-if-worse"])
    content = json.loads(told.read_text())
    figures = {figure["name"]: figure for figure in content["figures"]}
    assert set(figures) == {"prose", "code"}
    assert figures["prose"]["worse"] is forgets
    assert any(line.startswith("forgets neutral prose") for line in content["card"]["worse"]) is forgets
    assert code == (Exit.WORSE if forgets else Exit.PASSED)
