"""Requests in the background: everybody else goes first, and what they write is what they would have written alone."""

from __future__ import annotations

from dataclasses import replace

from eval_prompts.answers import Settings
from eval_prompts.rows import Ahead, prompt_of
from eval_prompts.stream import Stream

SIDES = ("base", "tuned")
SAMPLED = Settings(max_new_tokens=24, temperature=0.8, top_p=0.9)


def texts(stream):
    return [answer.text for answer in stream.result()]


def test_who_asks_goes_before_what_runs_in_the_background(tiny_pair, engine_for):
    engine = engine_for(tiny_pair, max_rows=4)
    questions = [f"Question number {number}?" for number in range(30)]
    alone = Stream(questions, SIDES, SAMPLED)
    engine.submit(alone)
    expected = texts(alone)
    background = Stream(questions, SIDES, SAMPLED)
    background.background = True
    engine.submit(background)
    snapshots = background.snapshots(interval=0.0)
    while not any(answer.done for answer in next(snapshots)):
        pass
    asked = Stream(["And mine?"], SIDES, Settings(max_new_tokens=40))
    engine.submit(asked)
    assert asked.ahead == Ahead()
    assert all(answer.state in ("ended", "capped") for answer in asked.result())
    assert not background.done
    assert engine.queued == 0
    assert [answer.text for answer in list(snapshots)[-1]] == expected


def test_who_waits_is_told_the_true_place_in_line(tiny_pair, engine_for):
    engine = engine_for(tiny_pair, max_rows=2)
    streams = [Stream([f"Question {number}?"], SIDES, Settings(max_new_tokens=400)) for number in range(7)]
    for stream in streams:
        engine.submit(stream)
    assert streams[6].ahead == Ahead(answers=12, requests=6, at_once=2)
    for stream in streams[:5]:
        stream.cancel()
    streams[5].cancel()
    next(filter(lambda answers: answers[0].text, streams[6].snapshots()))
    assert streams[6].ahead == Ahead()
    streams[6].cancel()


def test_a_question_may_have_a_seed_of_its_own(tiny_pair, engine_for):
    engine = engine_for(tiny_pair)
    asked = prompt_of("Say something.")
    together = Stream([replace(asked, seed=seed) for seed in (5, 6, 5)], ("base",), SAMPLED)
    apart = [Stream([asked], ("base",), replace(SAMPLED, seed=seed)) for seed in (5, 6)]
    for stream in (together, *apart):
        engine.submit(stream)
    five, six = (texts(stream)[0] for stream in apart)
    assert texts(together) == [five, six, five]
    assert five != six


def test_answers_are_told_once_as_they_end(tiny_pair, engine_for):
    stream = Stream(["a", "b", "c"], SIDES, Settings(max_new_tokens=4))
    engine_for(tiny_pair).submit(stream)
    taken, told = set(), []
    for _ in stream.snapshots():
        told += stream.newly_finished(taken)
    told += stream.newly_finished(taken)
    assert sorted((answer.index, answer.side) for answer in told) == [(n, side) for n in range(3) for side in SIDES]
    assert stream.error is None
