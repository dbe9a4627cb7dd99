"""What votes can teach, and what of them is left out and said."""

from __future__ import annotations

import json

import pytest

from eval_prompts.votes.lesson import consistency, of_votes, run_settings, write
from tests.eval_prompts.votes.kept_pairs import answered, voted
from tuning.data import dataset
from tuning.data.options import Reading
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.errors import UserError


def vote(number, choice="right", **changes):
    """A blind vote on a question of its own: 'right' prefers the tuned side."""
    about = {
        "question": f"Question number {number}?",
        "blind": True,
        "session": f"person {number}",
        "base": answered(text=f"short {number}"),
        "tuned": answered("mine", text=f"a longer answer {number}"),
    }
    return voted(choice, **({"ident": f"p{number}"} | about | changes))


def lesson_of(votes, blind_only=True):
    return of_votes(votes, "mine", "f", blind_only)


def test_votes_become_pairs_that_training_reads(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    found = lesson_of([vote(1), vote(2, "left"), vote(3)])
    assert found.words() == "3 pairs on 3 questions, by 3 people, from 3 votes."
    data = dataset.load(str(write(found)), reading=Reading(preference=True))
    rows = {row.answer: row.rejected for row in data.rows()}
    assert rows == {
        "a longer answer 1": "short 1",
        "short 2": "a longer answer 2",
        "a longer answer 3": "short 3",
    }
    assert write(found) == write(found)


def test_what_teaches_nothing_is_left_out_and_counted():
    cut = answered("mine", text="cut")
    cut = type(cut)(**{**vars(cut), "state": "capped"})
    votes = [
        vote(1),
        vote(1, session="another", ident="p1b"),
        vote(2, blind=False),
        vote(3, "tie"),
        vote(4, question=next(iter(PROBE_QUESTIONS.values()))),
        vote(5, tuned=cut),
        vote(6, tuned=answered("mine", text="short 6 ")),
        vote(7),
        vote(7, "left", session="another", ident="p7b"),
    ]
    found = lesson_of(votes)
    assert [row["chosen"][0]["content"] for row in found.rows] == ["a longer answer 1"]
    assert found.left_out == {
        "votes with the names in sight": 1,
        "votes for no side": 1,
        "votes on the example questions, which stay for comparing": 1,
        "votes for an answer that did not end by itself": 1,
        "votes between equal answers": 1,
        "votes against each other on the same answers": 2,
    }
    assert found.agreement == pytest.approx(0.5)
    assert "learn them by heart" in found.warning()
    assert len(lesson_of(votes, blind_only=False).rows) == 2


def test_it_says_what_a_run_will_train_hold_out_and_leave_out(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    near_a_probe = f"Please, once more: {next(iter(PROBE_QUESTIONS.values()))}"
    found = lesson_of([*(vote(number) for number in range(40)), vote(40, question=near_a_probe)])
    data = dataset.load(str(write(found)), reading=Reading(preference=True))
    assert (found.trained, found.held_out) == (len(data.train), len(data.validation) + len(data.test))
    assert 0 < found.held_out < found.trained < 40
    told = found.to_dict()
    assert told["pairs"] == found.trained
    assert told["words"] == (
        "41 pairs on 41 questions, by 41 people, from 41 votes. "
        f"A run trains {found.trained} of them and holds {found.held_out} out for the blind round afterwards; "
        "1 left out (repeats a probe question)."
    )
    assert run_settings(found, tmp_path, "m", tmp_path)["batch_size"] == 16
    one = next(lesson_of([vote(number)]) for number in range(40) if lesson_of([vote(number)]).trained)
    assert one.words() == "1 pair on 1 question, by 1 person, from 1 vote."
    assert "no blind round could follow" in one.warning()
    assert run_settings(one, tmp_path, "m", tmp_path)["batch_size"] == 1
    none = next(lesson_of([vote(number)]) for number in range(40) if lesson_of([vote(number)]).held_out)
    assert "None of them would be trained" in none.warning()
    assert none.to_dict()["pairs"] == 0


def test_drafts_are_no_part_of_a_pair():
    """They are folded away from who votes, and the export leaves them out too."""
    drafted = "<think>\nhm {}\n</think>\n\n{}"
    (row,) = lesson_of([vote(1, tuned=answered("mine", text=drafted.format(1, "Yes.")))]).rows
    assert row["chosen"] == [{"role": "assistant", "content": "Yes."}]
    alike = [answered(label, text=drafted.format(label, "Yes.")) for label in ("base", "mine")]
    assert lesson_of([vote(2, base=alike[0], tuned=alike[1])]).left_out == {"votes between equal answers": 1}


def test_nothing_to_learn_from_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    with pytest.raises(UserError, match="nothing to learn from"):
        write(lesson_of([vote(1, "tie")]))


def test_consistency_is_fleiss_kappa():
    """Five answers, three votes each. Agreeing pairs of votes: 1, 1/3, 1/3, 1, 1, so 0.7333 in the mean; 9 of 15 votes
    go one way, so 0.36 + 0.16 = 0.52 is expected; (0.7333 - 0.52) / 0.48 = 0.4444."""
    groups = []
    for number, (tuned, base) in enumerate([(3, 0), (2, 1), (1, 2), (0, 3), (3, 0)]):
        group = [vote(number, "right", session=f"a{n}") for n in range(tuned)]
        groups.append(group + [vote(number, "left", session=f"b{n}") for n in range(base)])
    assert consistency(groups) == (pytest.approx(0.7333, abs=1e-4), pytest.approx(0.4444, abs=1e-4))
    assert consistency([groups[0][:1]]) == (None, None)


def test_the_prompt_of_a_pair_is_what_was_asked():
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}]
    pair = vote(1)
    pair = type(pair)(type(pair.pair)(**{**vars(pair.pair), "settings": {"messages": messages}}), pair.vote)
    (row,) = lesson_of([pair]).rows
    assert json.loads(json.dumps(row))["prompt"] == messages
