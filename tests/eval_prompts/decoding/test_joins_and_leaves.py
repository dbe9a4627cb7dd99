"""Five hundred rows that join and leave one batch at random: every text stays its own, and the memory comes back."""

from __future__ import annotations

import gc
import random

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eval_prompts.answers import Settings
from eval_prompts.decoding.layers.kv_cache import Lane
from eval_prompts.decoding.pair_decoder import PairDecoder
from eval_prompts.rows import Row
from eval_prompts.stream import Stream
from tuning.data.chat import encode_prompt

SIDES = ("base", "tuned")
QUESTIONS = ["a", "word" * 9, "x" * 60, "long" * 40]
CAP = 24
NEAR_TIE = 1e-4


def tensor_bytes() -> int:
    """Bytes of all tensors that live in this process, each storage once."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, torch.nn.Parameter) and thing.layout is torch.strided and not thing.is_meta:
            storages[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
    return sum(storages.values())


@pytest.fixture(scope="module")
def greedy(tiny_pair) -> dict[tuple[str, str], tuple[list[int], list[int]]]:
    """Prompt and ``generate``'s tokens for each question and side, past end tokens; shorter from a near tie on."""
    found = {}
    for question in QUESTIONS:
        prompt = encode_prompt(tiny_pair.tokenizer, question)
        ids = torch.tensor([prompt])
        for side in SIDES:
            output = tiny_pair.model(side).generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=CAP,
                min_new_tokens=CAP,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
                suppress_tokens=[tiny_pair.tokenizer.eos_token_id],
            )
            best = torch.stack(output.logits)[:, 0].topk(3).values
            clear = ((best[:, :-1] - best[:, 1:]) > NEAR_TIE).all(dim=-1).tolist()
            sure = clear.index(False) if False in clear else CAP
            found[question, side] = prompt, output.sequences[0, len(prompt) : len(prompt) + sure].tolist()
    return found


def join(backend: PairDecoder, question: str, side: str, prompt: list[int]) -> Row:
    (row,) = Stream([question], [side], Settings()).rows
    row.ids, row.prompt_length, row.limit = list(prompt), len(prompt), len(prompt) + CAP
    backend.enter(row)
    return row


def test_five_hundred_rows_join_and_leave_without_a_trace(tiny_pair, greedy):
    backend, chance = PairDecoder(tiny_pair), random.Random(9)
    end = tiny_pair.tokenizer.eos_token_id
    before = tensor_bytes()
    live: list[tuple[Row, int]] = []
    joined = compared = 0
    with torch.inference_mode():
        while joined < 500 or live:
            while joined < 500 and len(live) < 12 and chance.random() < 0.8:
                question, side = chance.choice(QUESTIONS), chance.choice(SIDES)
                row = join(backend, question, side, greedy[question, side][0])
                live.append((row, chance.randint(0, CAP)))
                joined += 1
            if live:
                ready, logits = backend.advance([row for row, _ in live], chance.choice([7, 50, 10_000]))
                logits[:, end] = -torch.inf
                for row, token in zip(ready, logits.argmax(-1).tolist(), strict=True):
                    row.ids.append(token)
                    row.written.append(token)
            for row, length in list(live):
                if len(row.generated) >= length:
                    backend.leave(row)
                    live.remove((row, length))
                    _, expected = greedy[row.stream.questions[0].text, row.side]
                    seen = row.generated[: len(expected)]
                    assert seen == expected[: len(seen)], (row.side, row.stream.questions)
                    compared += len(seen)
    assert compared > 3000
    del live, row, ready, logits
    assert tensor_bytes() == before


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), st.sampled_from(SIDES), st.integers(0, 10**6)), max_size=40))
def test_a_lane_keeps_each_rows_keys_and_the_base_rows_first(moves):
    lane = Lane((1, 1, 4, 2), torch.float32, torch.device("cpu"))
    rows: list[Row] = []
    for number, (joins, side, choice) in enumerate(moves):
        if joins or not rows:
            (row,) = Stream([f"row {number}"], [side], Settings()).rows
            slot = lane.add(row)
            lane.write_span(0, slot, 0, torch.full((1, 2, 2), float(number)))
            row.fed, row.limit = 1, number
            rows.append(row)
        else:
            assert lane.discard(rows.pop(choice % len(rows)))
        assert sorted(map(id, rows)) == sorted(map(id, lane.rows))
        assert [row.side for row in lane.rows] == sorted(row.side for row in rows)
        for slot, row in enumerate(lane.rows):
            assert (lane._cache[0, slot, :, 0] == row.limit).all()
