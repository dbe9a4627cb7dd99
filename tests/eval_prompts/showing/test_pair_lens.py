"""The lens on pairs that were shown: their own tokens while they are remembered, their texts afterwards, none blind."""

from dataclasses import replace

import pytest

from eval_prompts.answers import Settings
from eval_prompts.rows import Prompt
from eval_prompts.serving.readings import Readings
from eval_prompts.showing.pair_lens import asked, pair_view
from eval_prompts.showing.showing import answering
from eval_prompts.showing.shown_pairs import ShownPairs
from eval_prompts.tasks.catalogue import python_task
from tuning.data.chat import PYTHON_FORMAT
from tuning.errors import UserError


@pytest.fixture
def pairs(tmp_path):
    pairs = ShownPairs(f"sqlite:///{tmp_path}/ratings.sqlite")
    yield pairs
    pairs.close()


def answered_pair(lens, pairs, blind=False, question="Why?"):
    stream = lens.ask([question], Settings(max_new_tokens=12))
    showing = pairs.show(stream, lens.status, "me", blind)
    stream.result()
    return showing.pairs[0]


def test_both_answers_are_read_in_the_tokens_they_were_written_in(lens, pairs):
    pair = answered_pair(lens, pairs)
    found = asked(pairs, pair.id, python_task())
    rows = {row.side: row for row in pair.showing.stream.rows}
    assert {side: list(one.ids) for side, one in found.answers.items()} == {
        side: row.ids[row.prompt_length :] for side, row in rows.items()
    }
    view = pair_view(found, Readings(lens), answering(lens.status()))
    assert view["notes"] == []
    for place, side in pair.names.items():
        assert [token["id"] for token in view["sides"][place]["tokens"]] == list(found.answers[side].ids)
    place, words = view["parting"]["place"], view["parting"]["words"]
    assert found.answers["base"].ids[:place] == found.answers["tuned"].ids[:place]
    assert words.startswith("here they part: base wanted ")


def test_a_pair_that_is_kept_is_read_from_its_texts_and_other_models_are_named(lens, pairs):
    pair = answered_pair(lens, pairs)
    pair.file(pairs.ratings)
    pairs._recent.clear()
    found = asked(pairs, pair.id, python_task())
    asked_of_both = tuple(PYTHON_FORMAT.messages({"question": "Why?", "input": ""}))
    assert found.messages == {"base": asked_of_both, "tuned": asked_of_both}
    now = answering(lens.status())
    assert not any("written by" in note for note in pair_view(found, Readings(lens), now)["notes"])
    other = now | {"tuned": ("another", "other")}
    assert any("read by what is loaded now" in note for note in pair_view(found, Readings(lens), other)["notes"])


def test_blind_pairs_are_not_read_before_the_vote_nor_after_a_restart(lens, pairs):
    pair = answered_pair(lens, pairs, blind=True)
    with pytest.raises(UserError, match="vote first"):
        asked(pairs, pair.id, python_task())
    pair.file(pairs.ratings)
    pairs._recent.clear()
    with pytest.raises(UserError, match="vote first"):
        asked(pairs, pair.id, python_task())
    pairs.rate(pair.id, "me", "tie")
    assert asked(pairs, pair.id, python_task()).answers


def test_what_cannot_be_read_is_refused(lens, pairs):
    for unknown in ("nothing", None, {"a": 1}):
        with pytest.raises(UserError, match="no such pair"):
            asked(pairs, unknown, python_task())
    found = asked(pairs, answered_pair(lens, pairs).id, python_task())
    empty = {side: replace(one, text="", ids=()) for side, one in found.answers.items()}
    with pytest.raises(UserError, match="Neither answer"):
        pair_view(replace(found, answers=empty), Readings(lens), answering(lens.status()))


def test_an_answer_goes_on_from_any_beginning(lens):
    messages = tuple(PYTHON_FORMAT.messages({"question": "Why?", "input": ""}))
    whole = lens.ask([Prompt("Why?", messages)], Settings(max_new_tokens=12), ("tuned",))
    [answer] = whole.result()
    ids = whole.rows[0].generated
    [again] = lens.ask([Prompt("Why?", messages, begun=tuple(ids[:5]))], Settings(7), ("tuned",)).result()
    assert again.text == answer.text
    [text] = lens.ask([Prompt("Why?", messages, begun="because")], Settings(3), ("base",)).result()
    assert text.text.startswith("because")
    with pytest.raises(UserError, match="tokens that this model lacks"):
        lens.ask([Prompt("Why?", messages, begun=(10**9,))], Settings(3), ("base",))
    with pytest.raises(UserError, match="fill the"):
        lens.ask([Prompt("Why?", messages, begun="x" * 600)], Settings(3), ("base",))


def test_the_adapters_report_is_told_once_and_without_places_on_this_machine(lens, tiny_adapter_path, tmp_path):
    readings = Readings(lens)
    found = readings.report()
    assert found is readings.report()
    assert len(found["modules"]) == 8
    assert not found["unmatched"]
    assert str(tiny_adapter_path.parent) not in str(found)
    with pytest.raises(UserError, match="No adapter"):
        readings.report("base")
