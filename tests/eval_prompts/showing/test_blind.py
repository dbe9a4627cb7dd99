"""Blind, both sides of a pair stand at the same token, whichever of them is computed first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.answers import Settings
from eval_prompts.showing.blind import in_step, timeless
from eval_prompts.stream import Stream

LENGTH = st.integers(0, 12)


def stream_at(step, lengths, lead, stopped_at=None, ends="ended"):
    """A stream after ``step`` steps of the engine; ``lead`` says by how many steps each side is ahead."""
    stream = Stream(["Why?"], ("base", "tuned"), Settings())
    stream.decode = lambda ids: "".join(chr(97 + token) for token in ids)
    for row, length, ahead in zip(stream.rows, lengths, lead, strict=True):
        done = step + ahead
        tokens = max(0, min(done, length))
        row.written = [token % 26 for token in range(tokens)]
        writes = done < length or (done == length and ends == "ended")  # the closing token takes a step of its own
        row.state = "waiting" if done < 0 else "streaming" if writes else ends
        if stopped_at is not None and step >= stopped_at and row.state in ("waiting", "streaming"):
            row.state = "cancelled"
    return stream


def shown(stream):
    return [(answer.text, answer.tokens, answer.state) for answer in in_step(stream, stream.answers)]


def trajectory(lengths, lead, ends):
    return {tuple(shown(stream_at(step, lengths, lead, ends=ends))) for step in range(-5, 30)}


@given(LENGTH, LENGTH, st.integers(-3, 3), st.sampled_from(["ended", "capped"]))
def test_who_is_ahead_cannot_be_seen(first, second, lead, ends):
    """Whatever is shown of a side that is ahead could be shown of two that are computed together."""
    together = trajectory((first, second), (0, 0), ends)
    assert trajectory((first, second), (0, lead), ends) <= together
    assert trajectory((first, second), (lead, 0), ends) <= together
    for left, right in together:
        assert (left[2] == "waiting") == (right[2] == "waiting")
        if left[2] == right[2] == "streaming":
            assert left[1] == right[1]


@given(LENGTH, LENGTH, st.integers(-3, 3), st.integers(0, 10))
def test_stopped_answers_are_cut_to_the_same_token(first, second, lead, stop):
    one = shown(stream_at(stop, (first, second), (0, lead), stopped_at=stop))
    other = shown(stream_at(stop, (second, first), (lead, 0), stopped_at=stop))
    assert one == other[::-1]
    cancelled = [tokens for _, tokens, state in one if state == "cancelled"]
    assert len(set(cancelled)) <= 1
    assert all(state in ("cancelled", "ended") for _, _, state in one)


def test_complete_answers_are_shown_whole():
    stream = stream_at(20, (3, 9), (0, 1))
    assert shown(stream) == [("abc", 3, "ended"), ("abcdefghi", 9, "ended")]


def test_times_are_taken_out():
    stream = stream_at(20, (3, 9), (0, 1))
    stream.rows[0].started, stream.rows[0].finished, stream.rows[0].first_token_seconds = 1.0, 3.0, 0.5
    raw = stream.answers[0]
    assert (raw.seconds, raw.first_token_seconds) == (2.0, 0.5)
    assert (timeless(raw).seconds, timeless(raw).first_token_seconds) == (0.0, None)
