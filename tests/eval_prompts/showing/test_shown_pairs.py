"""Pairs on show: who stands where is chance when blind, hidden in everything shown, and revealed by a vote."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

from eval_prompts.answers import Settings
from eval_prompts.models.adapters import AdapterCard
from eval_prompts.serving.status import Status
from eval_prompts.showing.shown_pairs import ShownPairs
from eval_prompts.stream import Stream
from eval_prompts.tasks.probes import PROBES
from tuning.errors import UserError

CARD = AdapterCard("mine", Path("/a"), "m", 4, 8.0, ("q_proj",), fingerprint="22")
STATUS = Status("ready", "ready", None, "/models/smol", "", "CPU", CARD, True, 1, 0, 0, 1.0, "0", fingerprint="11")
QUESTIONS = [PROBES[2].question, "My own?"]
TEXTS = ("```python\ndef average(x):\n    return sum(x) / len(x)\n```", "I do not know.")


def stream_of(texts=TEXTS, state="ended", tokens=(7, 9), seconds=(1.0, 2.0)):
    """A stream whose base and tuned answers to every question are these."""
    stream = Stream(QUESTIONS, ("base", "tuned"), Settings())
    stream.decode = lambda ids: texts[ids[0] // 100] if ids else ""
    for row in stream.rows:
        side = ("base", "tuned").index(row.side)
        row.written = [100 * side] * tokens[side]
        row.state, row.started, row.first_token_seconds = state, 10.0, 0.1 * (side + 1)
        row.finished = 10.0 + seconds[side] if state != "streaming" else None
    return stream


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'ratings.sqlite'}"


@pytest.fixture
def pairs(url):
    pairs = ShownPairs(url)
    yield pairs
    pairs.close()


def view_of(showing):
    return showing.view()


def place(showing, left):
    for pair in showing.pairs:
        pair.thread.left = left


def without_identity(view):
    rows = [{key: value for key, value in row.items() if key not in ("pair", "thread")} for row in view["rows"]]
    return json.dumps({**view, "id": "", "asked_at": 0, "rows": rows})


@pytest.mark.parametrize("state", ["ended", "capped", "streaming", "cancelled"])
def test_a_blind_view_is_the_same_whichever_model_gave_the_answers(pairs, state):
    """The same two texts in the same places, written by swapped models that differ in speed: not a byte differs."""
    tokens = (7, 9) if state == "ended" else (9, 9)
    one = pairs.show(stream_of(TEXTS, state, tokens), lambda: STATUS, "me", blind=True)
    place(one, "base")
    other = pairs.show(stream_of(TEXTS[::-1], state, tokens[::-1]), lambda: STATUS, "me", blind=True)
    place(other, "tuned")
    assert without_identity(view_of(one)) == without_identity(view_of(other))
    for row in view_of(one)["rows"]:
        assert row["names"] is None
        assert row["sides"]["left"]["verdict"] is None
    assert view_of(one)["rows"][0]["sides"]["left"]["text"] == TEXTS[0]


def test_blind_places_are_chance_and_open_ones_are_fixed(pairs):
    blind = [pair.left for _ in range(40) for pair in pairs.show(stream_of(), lambda: STATUS, "me", True).pairs]
    assert 10 < blind.count("base") < 70
    shown = [pair.left for _ in range(5) for pair in pairs.show(stream_of(), lambda: STATUS, "me").pairs]
    assert set(shown) == {"base"}


def test_a_vote_reveals_its_own_pair_alone(pairs):
    showing = pairs.show(stream_of(), lambda: STATUS, "me", blind=True)
    place(showing, "tuned")
    first, second = showing.pairs
    vote = pairs.rate(first.id, "visitor", "left")
    assert (vote["outcome"], vote["blind"], vote["streaming"]) == ("tuned", True, False)
    assert vote["reveals"]["names"] == {"left": "tuned", "right": "base"}
    assert vote["reveals"]["sides"]["right"]["facts"] == ["7 tokens in 1.0 s", "7 tok/s"]
    rows = view_of(showing)["rows"]
    assert [row["names"] for row in rows] == [{"left": "tuned", "right": "base"}, None]
    assert "first after 0.2 s" in rows[0]["sides"]["left"]["facts"]
    assert pairs.judged([first.id, second.id, 7]).keys() == {first.id, "7"}


def test_what_is_kept_says_who_answered_with_what(pairs):
    showing = pairs.show(stream_of(), lambda: STATUS, "me", blind=True)
    pair = showing.pairs[0]
    pairs.rate(pair.id, "visitor", "tie", ["correct"], "fine")
    showing.verdicts.wait(30)
    pairs.keep(showing)
    pairs.close()
    kept = pairs.ratings.pair(pair.id)
    assert (kept.base.label, kept.tuned.label) == ("smol", "mine")
    assert (kept.base.fingerprint, kept.tuned.fingerprint) == ("11", "11+22")
    assert (kept.left, kept.blind, kept.probe) == (pair.left, True, "average")
    settings = {"max_new_tokens": 300, "temperature": 0.0, "top_p": 1.0, "seed": 0}
    assert kept.settings == settings | {"messages": [dict(turn) for turn in showing.stream.questions[0].messages]}
    assert kept.base.verdict["task"] == "passes"
    assert (kept.base.text, kept.base.tokens, kept.tuned.seconds) == (TEXTS[0], 7, 2.0)
    (voted,) = pairs.ratings.votes()
    assert "visitor" not in (voted.vote.session, kept.session)


def test_an_adapter_on_the_base_side_is_named_as_the_one_who_answered(pairs):
    """A vote between two adapters is never recorded as one against the base model."""
    rival = replace(CARD, name="theirs", fingerprint="33")
    showing = pairs.show(stream_of(), lambda: replace(STATUS, against=rival), "me")
    assert showing.who("base") == ("theirs", "11+33")
    assert showing.who("tuned") == ("mine", "11+22")


def test_a_pair_can_be_voted_on_after_a_restart(pairs, url):
    showing = pairs.show(stream_of(), lambda: STATUS, "me", blind=True)
    pairs.keep(showing)
    pairs.close()
    later = ShownPairs(url)
    vote = later.rate(showing.pairs[1].id, "visitor", "right")
    assert vote["outcome"] == vote["reveals"]["names"]["right"]
    assert later.undo(showing.pairs[1].id, "visitor") is True
    later.close()


def test_a_vote_while_streaming_stops_these_two_and_says_so_for_good(pairs):
    stream = stream_of(state="streaming", tokens=(8, 9))
    showing = pairs.show(stream, lambda: STATUS, "me", blind=True)

    def stop(index):
        for row in stream.rows:
            if row.index == index:
                row.state, row.finished = "cancelled", 12.0
        stream.notify()

    stream.stop = stop
    assert pairs.rate(showing.pairs[0].id, "visitor", "left")["streaming"] is True
    assert pairs.rate(showing.pairs[0].id, "visitor", "tie", comment="again")["streaming"] is True
    kept = pairs.ratings.pair(showing.pairs[0].id)
    assert kept.base.tokens == kept.tuned.tokens == 8
    assert [row.state for row in stream.rows] == ["cancelled", "cancelled", "streaming", "streaming"]


@pytest.mark.parametrize("state", ["waiting", "streaming", "cancelled"])
def test_where_nothing_is_written_there_is_nothing_to_vote_on(pairs, state):
    showing = pairs.show(stream_of(state=state, tokens=(0, 0)), lambda: STATUS, "me")
    pairs.keep(showing)
    with pytest.raises(UserError, match="has begun"):
        pairs.rate(showing.pairs[0].id, "visitor", "left")


@pytest.mark.parametrize("visitor", ["", None, "x" * 1000, ["me"]])
def test_a_vote_says_whose_it_is(pairs, visitor):
    showing = pairs.show(stream_of(), lambda: STATUS, "me")
    with pytest.raises(UserError, match="whose it is"):
        pairs.rate(showing.pairs[0].id, visitor, "left")
    with pytest.raises(UserError, match="no such pair"):
        pairs.rate(["no", "id"], "visitor", "left")


def test_a_database_that_refuses_loses_no_pair(tmp_path):
    (tmp_path / "folder").write_text("")
    pairs = ShownPairs(f"sqlite:///{tmp_path / 'folder' / 'ratings.sqlite'}")
    showing = pairs.show(stream_of(), lambda: STATUS, "me")
    pairs.keep(showing)
    with pytest.raises(UserError, match=r"ratings\.sqlite cannot be used"):
        pairs.rate(showing.pairs[0].id, "visitor", "left")
    (tmp_path / "folder").unlink()
    assert pairs.rate(showing.pairs[0].id, "visitor", "left")["outcome"] == "base"
    pairs.close()


def test_requests_that_are_long_over_are_let_go(pairs):
    showings = weakref.WeakSet()
    for _ in range(1000):
        showings.add(pairs.show(stream_of(), lambda: STATUS, "me"))
    newest = pairs.show(stream_of(), lambda: STATUS, "me")
    assert newest.pairs[0].id in pairs.judged([pair.id for pair in newest.pairs])
    gc.collect()
    assert len(showings) <= 400


def test_where_all_is_blind_nobody_is_told_the_sides_for_asking(url):
    pairs = ShownPairs(url, always_blind=True)
    showing = pairs.show(stream_of(), lambda: STATUS, "me", blind=False)
    assert showing.blind
    assert all(row["names"] is None for row in view_of(showing)["rows"])
    pairs.close()
