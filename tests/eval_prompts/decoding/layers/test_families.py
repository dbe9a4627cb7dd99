"""Every family against ``generate``: prompts of mixed lengths, rows that join and leave, answers past the window."""

from __future__ import annotations

import random

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaMLP

from eval_prompts.answers import Settings
from eval_prompts.decoding.choice import make_backend
from eval_prompts.decoding.general_decoder import GeneralDecoder
from eval_prompts.decoding.general_model import PROBE_TOKENS, differ_in_linears
from eval_prompts.decoding.pair_decoder import PairDecoder
from eval_prompts.models.pair import Pair, load_pair
from eval_prompts.rows import Row
from eval_prompts.stream import Stream
from tests.eval_prompts.decoding.tiny_families import BATCHED, COMMON_STEP, ONE_BY_ONE, REFUSED, SWITCH, write_model
from tests.eval_prompts.models.random_adapter import random_adapter
from tuning.errors import UserError
from tuning.models.weights import resolve

LENGTHS = (3, 25, SWITCH - 2, 9)
LEAVES = (30, 5, 30, 24)
NEAR_TIE = 1e-4
TARGETS = ("q_proj", "o_proj", "qkv_proj", "gate_up_proj", "down_proj")


def prompts_of_mixed_lengths() -> list[list[int]]:
    chance = random.Random(1)
    return [[chance.randrange(4, 260) for _ in range(length)] for length in LENGTHS]


def answer(backend, sides) -> list[Row]:
    """Greedy answers to all prompts on all sides: a row joins every third step, and they leave at different lengths."""
    prompts = prompts_of_mixed_lengths()
    stream = Stream(["question"] * len(prompts), sides, Settings())
    waiting, live, step = list(stream.rows), [], 0
    with torch.inference_mode():
        while waiting or live:
            if waiting and step % 3 == 0:
                row = waiting.pop(0)
                row.ids = list(prompts[row.index])
                row.prompt_length, row.limit = len(row.ids), len(row.ids) + LEAVES[row.index]
                backend.enter(row)
                live.append(row)
            ready, logits = backend.advance(live, 12)
            step += 1
            for row, token in zip(ready, logits.argmax(-1).tolist(), strict=True):
                row.ids.append(token)
                if len(row.ids) == row.limit:
                    backend.leave(row)
                    live.remove(row)
    return stream.rows


def assert_as_generate(pair: Pair, rows: list[Row]) -> None:
    ties = 0
    for row in rows:
        model, count = pair.model(row.side), row.limit - row.prompt_length
        ids = torch.tensor([row.ids[: row.prompt_length]])
        with torch.inference_mode():
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                eos_token_id=10_000,
                pad_token_id=0,
                output_logits=True,
                return_dict_in_generate=True,
            )
        expected = output.sequences[0].tolist()
        if row.ids != expected:
            step = next(i for i, (one, other) in enumerate(zip(row.ids, expected, strict=True)) if one != other)
            best = output.logits[step - row.prompt_length][0].topk(2).values
            assert best[0] - best[1] < NEAR_TIE, f"{row.side}, prompt of {row.prompt_length}: differs at {step}"
            ties += 1
    assert ties <= 1


@pytest.mark.parametrize("name", COMMON_STEP)
def test_both_sides_of_a_known_family_answer_in_common_steps_as_generate_does(name, tmp_path, tiny_tokenizer, cpu):
    path = write_model(COMMON_STEP[name], tmp_path, tiny_tokenizer)
    adapter = random_adapter(path, tmp_path / "adapter", TARGETS)
    pair = load_pair(resolve(str(path)), cpu, str(adapter))
    backend = make_backend(pair)
    assert isinstance(backend, PairDecoder), backend.notes
    rows = answer(backend, ("base", "tuned"))
    assert_as_generate(pair, rows)
    assert [row.ids for row in rows if row.side == "base"] != [row.ids for row in rows if row.side == "tuned"]


@pytest.mark.parametrize("name", COMMON_STEP)
def test_the_general_decoder_answers_known_families_too(name, tmp_path, tiny_tokenizer, cpu):
    path = write_model(COMMON_STEP[name], tmp_path, tiny_tokenizer)
    pair = load_pair(resolve(str(path)), cpu, None)
    backend = GeneralDecoder(pair)
    assert backend.batches == (name != "phi 3, longrope")
    assert_as_generate(pair, answer(backend, ("base",)))


@pytest.mark.parametrize("name", [*BATCHED, *ONE_BY_ONE])
def test_other_families_answer_as_generate_does(name, tmp_path, tiny_tokenizer, cpu):
    path = write_model((BATCHED | ONE_BY_ONE)[name], tmp_path, tiny_tokenizer)
    pair = load_pair(resolve(str(path)), cpu, None)
    backend = make_backend(pair)
    assert isinstance(backend, GeneralDecoder)
    assert backend.batches == (name in BATCHED)
    assert any("general decoder" in note for note in backend.notes)
    assert any("one by one" in note for note in backend.notes) == (name in ONE_BY_ONE)
    assert_as_generate(pair, answer(backend, ("base",)))


@pytest.mark.parametrize("name", REFUSED)
def test_a_family_that_mixes_its_rows_is_refused_by_name(name, tmp_path, tiny_tokenizer, cpu):
    pair = load_pair(resolve(str(write_model(REFUSED[name], tmp_path, tiny_tokenizer))), cpu, None)
    with pytest.raises(UserError, match=r"RecurrentGemmaForCausalLM cannot be asked here: step by step"):
        make_backend(pair)


@pytest.mark.parametrize(("together", "batches"), [(True, True), (False, True), (False, False)])
def test_the_general_decoder_answers_both_sides(together, batches, tiny_pair):
    backend = GeneralDecoder(tiny_pair, together=together, batches=batches)
    assert (backend.together, backend.batches) == (together, batches)
    rows = answer(backend, ("base", "tuned"))
    assert_as_generate(tiny_pair, rows)
    assert not backend._caches
    assert all(model.batch.cache is None for model in backend._models.values())


def mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a Llama's products see tokens in an order of their own, as experts do."""
    plain = LlamaMLP.forward

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        return plain(self, flat.flip(0)).flip(0).view(x.shape)

    monkeypatch.setattr(LlamaMLP, "forward", forward)


def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a layer of a Llama see nothing of short texts, as experts do that are not chosen."""
    plain = LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda self, x: plain(self, x) if x.shape[1] > PROBE_TOKENS else x)


@pytest.mark.parametrize("change", [mixed, idle])
def test_rows_that_cannot_be_told_apart_are_computed_side_by_side(change, tiny_model_path, tmp_path, cpu, monkeypatch):
    change(monkeypatch)
    adapter = random_adapter(tiny_model_path, tmp_path / "adapter", ("down_proj",))
    pair = load_pair(resolve(str(tiny_model_path)), cpu, str(adapter))
    backend = GeneralDecoder(pair)
    assert backend.batches
    assert not backend.together
    if change is mixed:
        assert_as_generate(pair, answer(backend, ("base", "tuned")))


def test_sides_that_differ_in_more_than_linears_are_computed_side_by_side(tiny_pair):
    assert differ_in_linears(tiny_pair)
    norm = tiny_pair.tuned.model.norm
    before = norm.weight
    try:
        norm.weight = torch.nn.Parameter(before * 2, requires_grad=False)
        assert not differ_in_linears(tiny_pair)
        assert not GeneralDecoder(tiny_pair).together
    finally:
        norm.weight = before
