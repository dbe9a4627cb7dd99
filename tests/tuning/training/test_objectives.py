"""Preference objectives against their formulas on whole logits, however a step is cut; runs that use them."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from tests.tuning.rows import make_examples
from tests.tuning.tiny_runs import interrupted, losses, new_run, of_kind, outcome
from tuning.data.chat import Example, Pair
from tuning.errors import UserError
from tuning.presets import Config
from tuning.training import objectives, reference, setup, worker
from tuning.training.adapter.lora import trainable
from tuning.training.parallel import Ranks
from tuning.training.step import accumulate, measured, open_session

FORWARDS = ("packed", "padded")


def make_pairs(tokenizer, count, seed=0):
    """Pairs whose answers differ in length, with their prompt in common."""
    others = make_examples(tokenizer, count, seed=seed + 1)
    return [
        Pair(one, Example(one.prompt_ids, other.answer_ids))
        for one, other in zip(make_examples(tokenizer, count, seed=seed), others, strict=True)
    ]


def session_for(path, tokenizer, pairs, **settings):
    from transformers import AutoModelForCausalLM

    config = Config(**{"rank": 4, "batch_size": 6, "warmup_steps": 0, "dropout": 0.0, **settings})
    session = open_session(AutoModelForCausalLM.from_pretrained(path), config, pairs, say=[].append)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, factor in trainable(session.model).items():
            if "lora_B" in name:
                factor.copy_(torch.randn(factor.shape, generator=generator) * 0.3)
    return session


def log_probs(model, examples):
    """Summed log p of answers and their tokens, from whole logits, one row at a time."""
    found = []
    for example in examples:
        ids = torch.tensor([example.prompt_ids + example.answer_ids])
        scores = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
        start = len(example.prompt_ids) - 1
        found.append(scores[start:].gather(1, ids[0, start + 1 :, None]).sum())
    return torch.stack(found), torch.tensor([float(len(example.answer_ids)) for example in examples])


def by_formula(model, pairs, kind, beta, per_token):
    """The papers' losses, written out on whole logits."""
    better, better_tokens = log_probs(model, [pair.chosen for pair in pairs])
    worse, worse_tokens = log_probs(model, [pair.rejected for pair in pairs])
    if kind == "dpo":
        with torch.no_grad(), model.disable_adapter():
            known_better, _ = log_probs(model, [pair.chosen for pair in pairs])
            known_worse, _ = log_probs(model, [pair.rejected for pair in pairs])
        gains = [better - known_better, worse - known_worse]
        if per_token:
            gains = [gains[0] / better_tokens, gains[1] / worse_tokens]
        return -F.logsigmoid(beta * (gains[0] - gains[1])).mean()
    likelihood = -better.sum() / better_tokens.sum()
    if per_token:
        better, worse = better / better_tokens, worse / worse_tokens
    odds = [score - torch.log1p(-score.double().exp()) for score in (better, worse)]
    return likelihood + beta * -F.logsigmoid(odds[0] - odds[1]).mean().float()


@pytest.mark.parametrize("forward", FORWARDS)
@pytest.mark.parametrize(("kind", "per_token"), [("dpo", False), ("dpo", True), ("orpo", True), ("orpo", False)])
def test_loss_and_gradient_are_the_papers(tiny_model_path, tiny_tokenizer, kind, per_token, forward, monkeypatch):
    if forward == "padded":
        monkeypatch.setattr("tuning.kernels.llama.supported", lambda model: False)
    pairs = make_pairs(tiny_tokenizer, 6)
    settings = {"objective": kind, "length_normalised": per_token, "beta": 0.7, "micro_batch_rows": 2}
    session = session_for(tiny_model_path, tiny_tokenizer, pairs, **settings)
    assert session.forward.name == forward
    if kind == "dpo":
        with session.model.disable_adapter():
            found = reference.log_probs(session, pairs)
        pairs = [dataclasses.replace(pair, reference=each) for pair, each in zip(pairs, found, strict=True)]
    sums, _ = accumulate(session, pairs, range(6), key=5)
    ours = torch.cat([factor.grad.flatten() for factor in trainable(session.model).values()]) / 6
    session.model.zero_grad()
    loss = by_formula(session.model, pairs, kind, 0.7, per_token)
    loss.backward()
    theirs = torch.cat([factor.grad.flatten() for factor in trainable(session.model).values()])
    assert sums[0] / 6 == pytest.approx(loss.item(), rel=1e-5)
    assert (ours - theirs).norm() < 1e-5 * theirs.norm()
    figures = measured(session, pairs)
    assert figures["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert 0 <= figures["right"] <= 1


@given(st.floats(min_value=-60, max_value=-1e-9))
def test_the_log_of_the_rest_is_accurate_at_both_ends(log_p):
    from mpmath import mp, mpf

    with mp.workdps(50):
        expected = float(mp.log(1 - mp.exp(mpf(log_p))))
    found = objectives.log_of_the_rest(torch.tensor(log_p, dtype=torch.float64)).item()
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-15)


@pytest.fixture
def preferences(settings, tmp_path):
    """Sixty pairs: the better answer is long, the worse one short."""
    path = tmp_path / "pairs.jsonl"
    rows = [
        {
            "prompt": f"Sort the {name}-list number {number}.",
            "chosen": f"```python\nsorted(list_{number})\n```",
            "rejected": f"No. {number % 7}",
        }
        for number in range(12)
        for name in "abcde"
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return settings | {"data": str(path), "learning_rate": 5e-3}


@pytest.mark.parametrize("kind", ["dpo", "orpo"])
def test_a_killed_run_goes_on_exactly_and_learns_to_prefer(preferences, kind, monkeypatch):
    chosen = preferences | {"objective": kind}
    whole = new_run(chosen)
    assert worker.work(whole, Ranks(), quiet=True) == "finished"
    steps = of_kind(whole.history(), "step")
    assert all({"right", "margin"} <= event.keys() for event in steps)
    assert steps[-1]["margin"] > steps[0]["margin"]
    result = of_kind(whole.history(), "result")[0]
    assert result["test_loss_after"] < result["test_loss_before"]
    broken = interrupted(chosen, 5, monkeypatch)
    assert worker.work(broken, Ranks(), quiet=True) == "finished"
    assert losses(broken.history()) == losses(whole.history())
    assert outcome(broken) == outcome(whole)


def test_a_run_goes_on_from_an_adapter_and_dpo_measures_against_it(whole, preferences, monkeypatch):
    monkeypatch.setattr(reference, "TOLD_SECONDS", 0)
    chosen = preferences | {"objective": "dpo", "from_adapter": whole.name, "rank": 2, "max_steps": 3}
    further = new_run(chosen)
    assert (further.config().rank, further.config().from_adapter) == (4, str(whole.adapter))
    weights = whole.adapter / "adapter_model.safetensors"
    weights.unlink()  # what the run needs lies in its own folder
    assert worker.work(further, Ranks(), quiet=True) == "finished"
    first = of_kind(further.history(), "validation")[0]
    assert first["validation_loss"] == pytest.approx(0.693147, rel=1e-4)
    told = [event.get("message", "") for event in of_kind(further.history(), "log")]
    assert any("It goes on from" in message for message in told)
    shares = [re.fullmatch(r"Reference: (\d+) of (\d+) pairs\.", message) for message in told]
    done = [tuple(map(int, found.groups())) for found in shares if found]
    assert done == sorted(done)
    assert done[-1][0] == done[-1][1] > 0


def test_references_of_other_answers_are_computed_anew(preferences, monkeypatch):
    """A run that ended before its first checkpoint is resumed with other answers to the same prompts."""
    chosen = preferences | {"objective": "dpo", "max_steps": 2}
    broken = interrupted(chosen, 1, monkeypatch)
    path = Path(preferences["data"])
    path.write_text(path.read_text().replace("```python", "I would say ").replace("No.", "Never, number"))
    assert worker.work(broken, Ranks(), quiet=True) == "finished"
    first = of_kind(broken.history(), "validation")[0]
    assert (first["step"], first["validation_loss"]) == (0, pytest.approx(0.693147, rel=1e-4))


def test_continued_training_begins_at_the_adapters_loss(whole, settings):
    further = new_run(settings, from_adapter=str(whole.path), max_steps=2)
    assert worker.work(further, Ranks(), quiet=True) == "finished"
    before = of_kind(whole.history(), "result")[0]["best_loss"]
    assert of_kind(further.history(), "validation")[0]["validation_loss"] == pytest.approx(before, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"target_modules": ".*attn.*"}, "pattern"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ],
)
def test_an_adapter_that_cannot_be_trained_on_is_refused_by_name(whole, settings, change, told):
    path = whole.adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=told):
        new_run(settings, from_adapter=whole.name)


def test_an_adapter_of_another_base_is_refused(whole, settings):
    path = whole.adapter / "run_record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_fingerprint": "of another"}))
    with pytest.raises(UserError, match="another base"):
        worker.work(new_run(settings, from_adapter=whole.name), Ranks(), quiet=True)


def test_epochs_are_told_in_steps_and_kept_for_resuming(settings, monkeypatch):
    chosen = settings | {"epochs": 0.5, "limit": 31, "warmup_steps": 8, "beta": 0.5, "checked_by": "python"}
    broken = interrupted(chosen, 2, monkeypatch)
    assert worker.work(broken, Ranks(), quiet=True) == "finished"
    assert broken.state().step == broken.config().max_steps == 4
    told = "\n".join(event.get("message", "") for event in broken.history())
    assert "0.5 epochs of 31 examples are 4 steps" in told
    assert "The warm-up is longer than the run, so the learning rate ends at about 0.0005" in told
    assert "Not used by the objective sft: --beta, --checked-by." in told


@pytest.mark.parametrize("recipe", [{"dora": True}, {"rslora": True}, {"lora_plus": 8.0}])
def test_recipes_train_go_on_exactly_and_load_in_peft(settings, recipe, monkeypatch):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from tuning.training.forward import reference_loss

    chosen = settings | recipe | {"max_steps": 4}
    whole = new_run(chosen)
    assert worker.work(whole, Ranks(), quiet=True) == "finished"
    broken = interrupted(chosen, 3, monkeypatch)
    assert worker.work(broken, Ranks(), quiet=True) == "finished"
    assert losses(broken.history()) == losses(whole.history())
    if "dora" in recipe:
        assert of_kind(whole.history(), "start")[0]["forward"] == "padded"
    config = whole.config()
    tokenizer = setup.load_tokenizer(setup.find_weights(config))
    rows = setup.dataset.load(config.data, tokenizer=tokenizer, max_tokens=config.max_tokens)
    examples = setup.held_out(tokenizer, rows, "test", config.test_rows, config).examples
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(config.model), whole.adapter).eval()
    found = reference_loss(tuned, examples) / sum(example.label_count for example in examples)
    assert found == pytest.approx(of_kind(whole.history(), "result")[0]["test_loss_after"], rel=1e-4)
