"""Judge models: both orders, lengths, agreement with people, and endpoints that are slow, wrong or gone."""

from __future__ import annotations

import random
import threading

import pytest

from eval_prompts.scoring.folder import Scoring
from eval_prompts.scoring.judge import replies
from eval_prompts.scoring.judge.pairs import JudgedPair, judge_pairs, kept_lines, verdict_in
from eval_prompts.scoring.judge.replies import endpoint_reply
from eval_prompts.serving.endpoint import Endpoint
from tests.eval_prompts.scoring.judge.judge_server import JudgeServer, send
from tuning.errors import UserError


def pairs_with(size, seed=3):
    """Pairs of which the better answer says "right", whatever its length, and people have voted for it."""
    chance = random.Random(seed)
    found = []
    for number in range(size):
        right = chance.random() < 0.5
        lengths = chance.sample(range(2, 60), 2)
        words = ("wrong", "right") if right else ("right", "wrong")
        texts = [f"{word} {'word ' * length}" for word, length in zip(words, lengths, strict=True)]
        vote = "tuned" if right else "base"
        found.append(JudgedPair(f"k{number}", f"q{number}", *texts, *lengths, scored=True, votes=(vote,)))
    return found


@pytest.fixture
def scoring(tmp_path):
    return Scoring(tmp_path)


def reply_of(server, seconds=5.0):
    return endpoint_reply(Endpoint(server.url, "judge"), seconds)


def test_a_fair_judge_is_one_that_agrees_with_people(scoring):
    with JudgeServer(lambda first, second: f"Because. [[{'A' if first.startswith('right') else 'B'}]]") as server:
        found = judge_pairs(scoring, pairs_with(40), "fair", reply_of(server))
        assert (found.agreed, found.voted, found.flips, found.ties) == (40, 40, 0, 0)
        assert found.first / found.orders == 0.5
        assert not found.follows_length
        assert "agrees with people on 40 of 40 blind votes (91% to 100%)" in found.trust
        asked = server.asked
        assert judge_pairs(scoring, pairs_with(40), "fair", reply_of(server)) == found
        assert server.asked == asked == 80
    assert kept_lines(scoring) == found.lines


def test_a_judge_that_loves_length_is_exposed(scoring):
    with JudgeServer(lambda first, second: "A" if len(first) > len(second) else "B") as server:
        found = judge_pairs(scoring, pairs_with(60), "long", reply_of(server))
    assert found.follows_length
    assert found.longer == found.compared == 60
    assert any("what it says is about length" in line for line in found.lines)
    assert found.equal["low"] < 0.5 < found.equal["high"]
    assert found.agreed < 45


def test_a_verdict_that_flips_with_the_order_is_a_tie(scoring):
    with JudgeServer(lambda first, second: "[[A]]") as server:
        found = judge_pairs(scoring, pairs_with(12), "first", reply_of(server))
    assert (found.decided, found.ties, found.flips) == (0, 12, 12)
    assert (found.first, found.orders) == (24, 24)
    assert "decided no pair" in found.lines[0]
    assert (found.voted, found.tied_votes) == (0, 12)


def test_equal_answers_are_not_asked_about(scoring):
    same = [JudgedPair("k", "q", "a ", "a", 1, 1, scored=True)]
    found = judge_pairs(scoring, same, "none", lambda prompt: pytest.fail("it was asked"))
    assert (found.same, found.decided) == (1, 0)


def test_without_votes_its_worth_is_not_known(scoring):
    pairs = [JudgedPair(**vars(pair) | {"votes": ()}) for pair in pairs_with(3)]
    found = judge_pairs(scoring, pairs, "judge", lambda prompt: "[[TIE]]")
    assert "is not known" in found.trust
    assert (found.ties, found.flips) == (3, 0)


@pytest.mark.parametrize(
    ("reply", "turned", "choice"),
    [
        ("A is short. [[B]]", False, "tuned"),
        ("[[A]] … no: [[B]]", True, "base"),
        (" b. ", False, "tuned"),
        ("**A**", True, "tuned"),
        ("[[tie]]", False, "tie"),
        ("[[C]]", False, "tie"),
        ("I think A.", False, "unreadable"),
        ("", False, "unreadable"),
    ],
)
def test_what_a_reply_says(reply, turned, choice):
    assert verdict_in(reply, turned) == choice


def test_a_judge_that_gives_no_verdicts_is_none(scoring):
    with pytest.raises(UserError, match="hold no verdict"):
        judge_pairs(scoring, pairs_with(20), "poet", lambda prompt: "Both are lovely.")


@pytest.mark.parametrize(
    ("respond", "words"),
    [
        (lambda handler: send(handler, 500, "oops"), "it answers 500"),
        (lambda handler: send(handler, 401, '{"error": {"message": "no key"}}'), r"refused \(401\): no key"),
        (lambda handler: send(handler, 200, "<html>"), "no OpenAI-compatible endpoint"),
        (lambda handler: send(handler, 200, '{"choices": []}'), "no OpenAI-compatible endpoint"),
        (lambda handler: handler.connection.close(), "no connection"),
    ],
)
def test_a_wrong_endpoint_is_one_sentence(scoring, monkeypatch, respond, words):
    monkeypatch.setattr(replies, "PAUSE_SECONDS", 0.0)
    with JudgeServer(respond=respond) as server, pytest.raises(UserError, match=words):
        judge_pairs(scoring, pairs_with(5), "wrong", reply_of(server))


def test_one_that_is_slow_and_then_gone_keeps_what_it_said(scoring, monkeypatch):
    monkeypatch.setattr(replies, "PAUSE_SECONDS", 0.0)
    over = threading.Event()
    said = []

    def verdict(first, second):
        said.append(1)
        if len(said) > 8:
            over.wait(20)
        return "[[A]]"

    with JudgeServer(verdict) as server:
        with pytest.raises(UserError, match=r"no reply within 0.2 s.*of 4 pairs is kept"):
            judge_pairs(scoring, pairs_with(10), "slow", reply_of(server, 0.2))
        over.set()
    with pytest.raises(UserError, match=r"no connection.*of 4 pairs is kept"):
        judge_pairs(scoring, pairs_with(10), "slow", reply_of(server, 0.2))
    with JudgeServer(lambda first, second: "[[TIE]]") as back:
        found = judge_pairs(scoring, pairs_with(10), "slow", reply_of(back))
        assert back.asked == 12
    assert (found.flips, found.ties) == (4, 10)
