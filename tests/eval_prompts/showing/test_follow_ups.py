"""Follow-ups below a pair of answers: what they go on from, who stands where, what is hidden, what is reported."""

from __future__ import annotations

import json

import pytest

from eval_prompts.answers import Settings
from eval_prompts.asked_report import report_of
from eval_prompts.serving.readings import Readings
from eval_prompts.showing.ask_pages import Asker, ask_pages, follow_up
from eval_prompts.showing.asked import AskedBefore
from eval_prompts.showing.follow_ups import prompt_after, turn_before
from eval_prompts.showing.pair_lens import asked, pair_view
from eval_prompts.showing.showing import answering
from eval_prompts.showing.shown_pairs import ShownPairs
from eval_prompts.tasks.choice import TaskChoice
from eval_prompts.tasks.files import parse_task
from eval_prompts.votes.export import preference_rows
from tuning.data.chat import Message
from tuning.errors import UserError

TASK = parse_task(
    "name: talk\nsystem: Be brief.\nscore: [ends]\nquestions: ['One?', {turns: ['Two?', 'Three?']}]\n", "t"
)
SETTINGS = Settings(max_new_tokens=6)


@pytest.fixture
def pairs(tmp_path):
    pairs = ShownPairs(f"sqlite:///{tmp_path / 'ratings.sqlite'}")
    yield pairs
    pairs.close()


class Page:
    """A visitor's page: what was asked and what the board shows."""

    def __init__(self, lens, pairs, blind=False, task=TASK):
        self.lens, self.pairs, self.before, self.tasks = lens, pairs, AskedBefore(), TaskChoice(task)
        self.who = Asker("visitor", "", "talk", lambda stream, _: stream.snapshots(), blind)
        views = ask_pages(lens, pairs, self.tasks, self.before, self.who, task, SETTINGS, None, 1, True)
        self.view = list(views)[-1]

    def row(self, question):
        return next(row for row in self.view["rows"] if row["question"] == question)

    def ask(self, question, below, basis="own"):
        sent = {"pair": self.row(below)["pair"], "id": self.view["id"], "page": 1, "basis": basis}
        views = follow_up(self.lens, self.pairs, self.tasks, self.before, self.who, SETTINGS, question, sent, True)
        self.view = list(views)[-1]
        return self.row(question)

    def messages(self, question):
        live = self.pairs.live(self.row(question)["pair"])
        return {side: live.showing.stream.conversation(live.index, side) for side in ("base", "tuned")}


def test_a_follow_up_stands_below_its_turn_and_each_side_or_both_go_on(lens, pairs):
    page = Page(lens, pairs)
    own = page.ask("Mine?", "One?")
    page.ask("Same?", "Mine?", "right")
    page.ask("Last?", "Three?", "left")
    assert [row["question"] for row in page.view["rows"]] == ["One?", "Mine?", "Same?", "Two?", "Three?", "Last?"]
    assert [row["turn"] for row in page.view["rows"]] == [1, 2, 3, 1, 2, 3]
    assert [row["number"] for row in page.view["rows"]] == [1, 0, 0, 2, 3, 0]
    assert (own["follows"], page.row("Last?")["follows"]) == (
        "each goes on from its own answer",
        "both go on from the left answer",
    )
    first = page.row("One?")["sides"]
    for side, place in (("base", "left"), ("tuned", "right")):
        assert list(page.messages("Mine?")[side]) == [
            Message(role="system", content="Be brief."),
            Message(role="user", content="One?"),
            Message(role="assistant", content=first[place]["text"]),
            Message(role="user", content="Mine?"),
        ]
    same = page.messages("Same?")
    assert same["base"] == same["tuned"]
    assert same["base"][:-2] == page.messages("Mine?")["tuned"]
    found = asked(pairs, own["pair"], TASK)
    view = pair_view(found, Readings(lens), answering(lens.status()))
    assert "the two had parted before" in view["notes"][0]
    assert view["parting"]["place"] is None
    report = json.loads(report_of(page.before.find(page.view["id"]), "json", None)["text"])
    assert [one["question"] for one in report["questions"]][:3] == ["One?", "Mine?", "Same?"]
    assert [one["questions"] for one in report["conversations"]] == [[1, 4, 5], [2, 3, 6]]
    assert report["questions"][1]["prompt_tuned"][2]["content"] == first["right"]["text"]
    assert "prompt_tuned" not in report["questions"][2]
    assert report["remarks"] == []
    html = report_of(page.before.find(page.view["id"]), "html", None)["text"]
    assert "1, turn 2. Mine?" in html
    assert "The whole conversation: Base does" in html
    assert "## 1, turn 3. Same?" in report_of(page.before.find(page.view["id"]), "md", None)["text"]


def test_likelihoods_of_a_follow_up_are_read_behind_each_sides_own_conversation(lens, pairs):
    page = Page(lens, pairs)
    page.ask("Mine?", "One?")
    showing, read = pairs.live(page.row("Mine?")["pair"]).showing, []
    showing._likelihoods = lambda status, side, choices: read.append((side, choices.messages)) or {}
    for answer in showing.stream.answers:
        showing._read(answer, ())
    assert dict(read) == page.messages("Mine?")
    assert read[0][1] != read[1][1]


def test_after_a_restart_it_goes_on_from_what_the_database_keeps(lens, pairs):
    page = Page(lens, pairs)
    page.ask("Mine?", "One?")
    expected = turn_before(pairs, page.row("Mine?")["pair"])
    for live in list(pairs._recent.values()):
        live.file(pairs.ratings)
    pairs._recent.clear()
    again = turn_before(pairs, page.row("Mine?")["pair"])
    assert (again.messages, again.said, again.turn, again.who) == (
        expected.messages, expected.said, 2, expected.who,
    )  # fmt: skip
    page.before = AskedBefore()
    row = page.ask("Then?", "Mine?")
    assert (row["turn"], row["thread"]) == (3, expected.thread.id)
    assert row["follows"] == "each goes on from its own answer"
    assert len(page.view["rows"]) == 1
    page.before, page.tasks = AskedBefore(), TaskChoice()  # the task was removed
    gone = page.ask("And then?", "Then?")
    assert "the task talk cannot be asked any more, so these answers get no verdict" in gone["follows"]


def test_blind_holds_over_all_turns_and_one_vote_reveals_them(lens, pairs):
    page = Page(lens, pairs, blind=True)
    later = page.ask("Mine?", "One?")
    assert later["names"] is None
    assert later["sides"]["left"]["facts"] == ["6 tokens"]
    told = pairs.rate(later["pair"], "visitor", "left")
    assert told["blind"]
    first = pairs.live(page.row("One?")["pair"])
    assert first.revealed
    assert not pairs.live(page.row("Two?")["pair"]).revealed
    assert first.names == told["reveals"]["names"]
    assert not pairs.rate(first.id, "visitor", "left")["blind"]  # it has been told who is who
    assert pairs.rate(first.id, "somebody", "left")["blind"]
    opened = page.ask("Now?", "Mine?")
    assert opened["names"] == first.names
    assert not pairs.rate(opened["pair"], "visitor", "left")["blind"]


def test_a_whole_conversation_is_voted_on_by_itself(lens, pairs):
    page = Page(lens, pairs)
    row = page.ask("Mine?", "One?")
    with pytest.raises(UserError, match="one question with one answer"):
        pairs.rate("whole-" + page.row("One?")["pair"], "visitor", "left")
    told = pairs.rate("whole-" + row["pair"], "visitor", "right", ("correct",))
    assert (told["outcome"], told["reveals"]["names"]["right"]) == ("tuned", "tuned")
    pairs.rate(row["pair"], "visitor", "left")
    assert [voted.pair.turn for voted in pairs.ratings.votes()] == [2]
    whole, turn = pairs.ratings.votes(whole=None)
    assert (whole.pair.question, whole.pair.is_whole, whole.pair.thread) == ("One?\nMine?", True, row["thread"])
    first = page.row("One?")["sides"]
    assert whole.pair.base.text.startswith(first["left"]["text"] + "\n\n» Mine?\n\n")
    rows = preference_rows([whole, turn])
    assert [one["turn"] for one in rows] == [0, 2]
    for one, (better, worse) in zip(rows, (("right", "left"), ("left", "right")), strict=True):
        assert [turn["role"] for turn in one["prompt"]] == ["system", "user"]
        for told_as, place in (("chosen", better), ("rejected", worse)):
            assert [turn["content"] for turn in one[told_as]] == [
                first[place]["text"], "Mine?", row["sides"][place]["text"],
            ]  # fmt: skip
    assert pairs.undo("whole-" + row["pair"], "visitor")


def test_what_cannot_go_on_is_refused(lens, pairs):
    page = Page(lens, pairs)
    pair = page.row("One?")["pair"]
    with pytest.raises(UserError, match="own, left, right"):
        turn_before(pairs, pair, "middle")
    with pytest.raises(UserError, match="no such pair"):
        turn_before(pairs, "nothing")
    with pytest.raises(UserError, match="The question is empty"):
        prompt_after(turn_before(pairs, pair), "  ")
    before = turn_before(pairs, pair)
    before.said["tuned"] = " "
    with pytest.raises(UserError, match="The right answer says nothing"):
        prompt_after(before, "And?")
    with pytest.raises(UserError, match="begin a new one"):
        page.ask("x" * 600, "One?")


def test_a_whole_conversation_holds_every_turn_though_questions_are_given(lens, pairs):
    """What a file gives within a later turn is no turn of its own, and pushes none of the first answers out."""
    given = [{"role": "user", "content": text} for text in ("Given before?", "Own first?", "Given between?", "Last?")]
    given[1:1] = [{"role": "assistant", "content": "Said before."}]
    given[4:4] = [{"role": "assistant", "content": "Said between."}]
    row = {"messages": given[:3], "turns": [{"messages": given[3:]}]}
    task = parse_task(json.dumps({"name": "talk", "score": ["ends"], "questions": [row]}), "t")
    page = Page(lens, pairs, task=task)
    first = page.row("Own first?")["sides"]
    pairs.rate("whole-" + page.row("Last?")["pair"], "visitor", "left")
    (whole,) = pairs.ratings.votes(whole=None)
    assert whole.pair.question == "Own first?\nGiven between?\nLast?"
    last = page.row("Last?")["sides"]
    for side, place in (("base", "left"), ("tuned", "right")):
        assert getattr(whole.pair, side).text == "\n\n".join(
            [first[place]["text"], "» Given between?", "Said between.", "» Last?", last[place]["text"]]
        )
