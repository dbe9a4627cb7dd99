"""Decoding: the texts of ``generate``, whoever else is being answered, and streams that end when they should."""

from __future__ import annotations

import gc
import random
import threading

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from eval_prompts.answers import Settings
from eval_prompts.decoding.general_decoder import GeneralDecoder
from eval_prompts.decoding.pair_decoder import PairDecoder
from eval_prompts.decoding.sampling import sample
from eval_prompts.models.adapter_source import STARTER
from eval_prompts.models.pair import load_pair, with_adapter
from eval_prompts.stream import Stream
from tests.eval_prompts.models.random_adapter import peft_merged, random_adapter
from tuning.data.chat import encode_prompt
from tuning.data.template import ChatTemplate
from tuning.errors import UserError
from tuning.models.weights import resolve

SIDES = ("base", "tuned")
NEAR_TIE = 1e-4


def ask(engine, questions, sides=SIDES, **options):
    stream = Stream(questions, sides, Settings(**options))
    engine.submit(stream)
    return stream


def generated(model, tokenizer, question, cap):
    ids = torch.tensor([encode_prompt(tokenizer, question)])
    with torch.inference_mode():
        output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=cap, do_sample=False)
    return output[0, ids.shape[1] :].tolist()


def assert_same_text(pair, row, cap, references=None):
    """``row`` holds what ``generate`` gives, up to the first step at which two logits lie within ``NEAR_TIE``.

    ``references`` are the models of both sides if not the pair's own. Returns 1 for a tie, else 0.
    """
    question = row.stream.questions[row.index].text
    model = pair.model(row.side) if references is None else references[row.side]
    expected = generated(model, pair.tokenizer, question, cap)
    got = row.ids[row.prompt_length :]
    if got == expected:
        return 0
    step = next(i for i, (one, other) in enumerate(zip(got, expected, strict=False)) if one != other)
    with torch.inference_mode():
        logits = model(torch.tensor([row.ids[: row.prompt_length + step]])).logits[0, -1]
    best = logits.topk(2).values
    assert best[0] - best[1] < NEAR_TIE, f"{row.side} differs at token {step}"
    return 1


QUESTIONS = [" ".join(["word"] * (1 + 7 * (n % 6))) + f" {n}" for n in range(50)]


def plain_references(model_path, adapter_path):
    """Both sides as transformers and peft alone make them."""
    base = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32).eval()
    return {"base": base, "tuned": peft_merged(model_path, adapter_path)}


def test_fifty_prompts_in_shuffled_batches_equal_generate_of_base_and_of_pefts_merge(
    tiny_pair, tiny_model_path, tiny_adapter_path, engine_for
):
    engine = engine_for(tiny_pair, max_rows=14)
    questions = random.Random(5).sample(QUESTIONS, len(QUESTIONS))
    streams = [ask(engine, questions[at : at + 5], max_new_tokens=40) for at in range(0, 50, 5)]
    rows = [row for stream in streams for row in (stream.result() and stream.rows)]
    assert len(rows) == 100
    references = plain_references(tiny_model_path, tiny_adapter_path)
    ties = sum(assert_same_text(tiny_pair, row, 40, references) for row in rows)
    assert ties <= 3


def test_the_real_pair_answers_as_generate_does(smollm_path, cpu, engine_for):
    pair = load_pair(resolve("smollm2-135m"), cpu, "starter")
    questions = ["Reverse a string.", "Sort a list of pairs by their second item, then by their first, downwards."]
    stream = ask(engine_for(pair), questions, max_new_tokens=24)
    stream.result()
    references = plain_references(smollm_path, STARTER)
    assert sum(assert_same_text(pair, row, 24, references) for row in stream.rows) <= 1


def test_the_plain_decoder_gives_the_same_texts(tiny_pair, engine_for):
    fast, plain = engine_for(tiny_pair), engine_for(tiny_pair, GeneralDecoder(tiny_pair))
    texts = [[a.text for a in ask(engine, QUESTIONS[:3], max_new_tokens=20).result()] for engine in (fast, plain)]
    assert texts[0] == texts[1]


def test_two_adapters_against_each_other_answer_as_each_would_alone(
    tmp_path, tiny_pair, tiny_weights, tiny_model_path, tiny_adapter_path, engine_for
):
    other = random_adapter(tiny_model_path, tmp_path / "other", ("q_proj", "down_proj"))
    pair = with_adapter(tiny_pair, tiny_weights, str(tiny_adapter_path), against=str(other))
    stream = ask(engine_for(pair), QUESTIONS[:6], max_new_tokens=30)
    stream.result()
    ties = sum(assert_same_text(pair, row, 30) for row in stream.rows)
    assert ties <= 1
    assert [row.ids for row in stream.rows if row.side == "base"] != [
        row.ids for row in stream.rows if row.side == "tuned"
    ]


def test_a_prompt_fed_in_pieces_gives_the_same_text(tiny_pair, engine_for, monkeypatch):
    import eval_prompts.decoding.engine as engine_module

    whole = ask(engine_for(tiny_pair), QUESTIONS[:4], max_new_tokens=15).result()
    monkeypatch.setattr(engine_module, "PREFILL_TOKENS_PER_STEP", 7)
    pieces = ask(engine_for(tiny_pair), QUESTIONS[:4], max_new_tokens=15).result()
    assert [a.text for a in pieces] == [a.text for a in whole]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=st.lists(
        st.tuples(
            st.lists(st.sampled_from(QUESTIONS), min_size=1, max_size=3),
            st.sampled_from([("base",), ("tuned",), SIDES]),
            st.integers(1, 30),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_rows_that_join_and_leave_at_random_do_not_disturb_each_other(tiny_pair, engine_for, plan):
    engine = engine_for(tiny_pair, max_rows=5)
    streams = []
    for questions, sides, cap, leaves in plan:
        streams.append((ask(engine, questions, sides, max_new_tokens=cap), cap, leaves))
        if leaves:
            streams[-1][0].cancel()
    for stream, cap, leaves in streams:
        stream.result()
        for row in stream.rows:
            if not leaves:
                assert row.state in ("ended", "capped")
                assert_same_text(tiny_pair, row, cap)


def test_memory_returns_after_five_hundred_joins_and_leaves(tiny_pair, engine_for):
    backend = PairDecoder(tiny_pair)
    engine = engine_for(tiny_pair, backend)
    shuffled = random.Random(1)
    for _ in range(50):
        streams = [ask(engine, [shuffled.choice(QUESTIONS)] * 5, max_new_tokens=3) for _ in range(1)]
        if shuffled.random() < 0.5:
            streams[0].cancel()
        for stream in streams:
            stream.result()
    assert not backend._lanes
    gc.collect()
    assert engine.answering == engine.queued == 0


def test_a_row_ends_at_its_cap_or_by_itself(tiny_pair, engine_for):
    engine = engine_for(tiny_pair)
    answers = ask(engine, QUESTIONS[:5], max_new_tokens=4).result()
    assert all(answer.tokens <= 4 for answer in answers)
    assert {answer.state for answer in answers if answer.tokens == 4} <= {"capped"}


def test_an_end_token_ends_the_answer_and_is_not_part_of_it(tiny_pair, engine_for, monkeypatch):
    """The fourth token of a known answer is declared the end token: three remain."""
    greedy = generated(tiny_pair.base, tiny_pair.tokenizer, QUESTIONS[3], 10)
    assert greedy[3] not in greedy[:3]
    engine = engine_for(tiny_pair)
    monkeypatch.setattr(ChatTemplate, "end_ids", lambda self, generation_config=None: frozenset({greedy[3]}))
    (answer,) = ask(engine, [QUESTIONS[3]], ("base",), max_new_tokens=10).result()
    assert answer.stopped
    assert answer.tokens == 3
    assert answer.text == tiny_pair.tokenizer.decode(greedy[:3])


def test_a_seed_gives_the_same_text_twice_and_another_seed_another(tiny_pair, engine_for):
    engine = engine_for(tiny_pair)
    first, again, other = (
        [a.text for a in ask(engine, QUESTIONS[:2], max_new_tokens=20, temperature=1.0, top_p=0.9, seed=s).result()]
        for s in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_a_row_at_the_context_limit_ends_there(tiny_pair, engine_for):
    context = tiny_pair.base.config.max_position_embeddings
    empty = len(encode_prompt(tiny_pair.tokenizer, "x"))
    engine = engine_for(tiny_pair)
    answers = ask(engine, ["x" * (context - empty - 4)], max_new_tokens=300).result()
    assert all(answer.done and answer.tokens <= 5 for answer in answers)
    with pytest.raises(UserError, match="shorten"):
        ask(engine, ["x" * context])


def test_cancelling_ends_a_stream_and_spares_the_others(tiny_pair, engine_for):
    engine = engine_for(tiny_pair)
    doomed = ask(engine, QUESTIONS[:3], max_new_tokens=300)
    safe = ask(engine, QUESTIONS[3:5], max_new_tokens=30)
    snapshots = doomed.snapshots(interval=0)
    next(snapshots)
    snapshots.close()
    assert doomed.cancelled
    assert {answer.state for answer in doomed.result()} <= {"cancelled", "ended"}
    safe.result()
    for row in safe.rows:
        assert_same_text(tiny_pair, row, 30)


def test_stopping_one_question_ends_both_its_answers_and_spares_the_others(tiny_pair, engine_for):
    stream = ask(engine_for(tiny_pair, max_rows=4), QUESTIONS[:3], max_new_tokens=60)
    stream.stop(0)
    stream.stop(2)
    assert stream.wait(2, timeout=60)
    answers = stream.result()
    assert [answer.state for answer in answers if answer.index != 1] == ["cancelled"] * 4
    for row in stream.rows[2:4]:
        assert_same_text(tiny_pair, row, 60)


def test_two_hundred_questions_are_served_in_order(tiny_pair, engine_for):
    engine = engine_for(tiny_pair)
    finished: list[int] = []
    streams = [ask(engine, [f"question {n}"], max_new_tokens=2) for n in range(200)]

    def wait(n):
        streams[n].result()
        finished.append(n)

    threads = [threading.Thread(target=wait, args=(n,)) for n in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(finished) == list(range(200))
    starts = [stream.rows[0].started for stream in streams]
    assert starts == sorted(starts)


def test_a_failing_step_fails_its_requests_and_not_the_engine(tiny_pair, engine_for):
    backend = PairDecoder(tiny_pair)
    engine = engine_for(tiny_pair, backend)
    real_advance = backend.advance

    def out_of_memory(rows, allowance):
        backend.advance = real_advance
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    backend.advance = out_of_memory
    with pytest.raises(UserError, match="memory ran out"):
        ask(engine, ["one"]).result()
    assert ask(engine, ["two"], max_new_tokens=3).result()[0].done


def test_snapshots_start_at_once_grow_and_end_complete(tiny_pair, engine_for):
    engine = engine_for(tiny_pair)
    seen = list(ask(engine, ["Grow"], max_new_tokens=30).snapshots(interval=0))
    assert all(not answer.done for answer in seen[0])
    assert all(answer.done for answer in seen[-1])
    lengths = [answers[0].tokens for answers in seen]
    assert lengths == sorted(lengths)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"max_new_tokens": 0},
        {"max_new_tokens": 10**9},
        {"max_new_tokens": 1.5},
        {"top_p": 0},
        {"top_p": 1.1},
        {"seed": -1},
        {"temperature": "hot"},
    ],
)
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(UserError):
        Settings(**options)


@settings(max_examples=60)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=20), st.floats(0.05, 1.0), st.integers(0, 1000))
def test_sampling_stays_within_the_nucleus(logits, top_p, seed):
    logits = torch.tensor(logits)
    token = sample(logits, 1.0, top_p, torch.Generator().manual_seed(seed))
    probabilities = logits.softmax(-1)
    more_likely = probabilities[probabilities > probabilities[token]].sum()
    assert more_likely < top_p + 1e-5
