"""What one press asked: pages that are packed and read again, counts, and a report that tells nothing hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval_prompts.answers import Settings
from eval_prompts.asked_report import comparison_of, report_of
from eval_prompts.models.adapters import AdapterCard
from eval_prompts.serving.status import Status
from eval_prompts.showing.ask_pages import Asker, ask_pages, follow_up
from eval_prompts.showing.asked import REMEMBERED, Asked, AskedBefore, Page
from eval_prompts.showing.shown_pairs import ShownPairs
from eval_prompts.stream import Stream
from eval_prompts.tabs.compare_tab import ask_all_words
from eval_prompts.tasks.choice import AT_ONCE, TaskChoice, pages_of
from eval_prompts.tasks.files import parse_task
from tuning.errors import UserError

CARD = AdapterCard("mine", Path("/a"), "m", 4, 8.0, ("q_proj",), fingerprint="22")
STATUS = Status("ready", "ready", None, "/models/smol", "", "CPU", CARD, True, 1, 0, 0, 1.0, "0", fingerprint="11")
COUNT = 2 * AT_ONCE + 3
ROWS = "\n".join(f"- {{question: 'Q{n}?', answer: 'A{n}'}}" for n in range(COUNT))
TASK = parse_task(f"name: many\nsystem: Be brief.\nscore: [exact]\nquestions:\n{ROWS}\n", "many.yaml")


class ReadyLens:
    """Answers at once: base with "A1" to everything, tuned with the reference of every even question."""

    def __init__(self):
        self.asked = []

    def status(self):
        return STATUS

    def ask(self, prompts, settings, visitor, address, prompts_for):
        stream = Stream(prompts, ("base", "tuned"), settings, visitor)
        self.asked.append(stream)
        texts = {}
        for number, row in enumerate(stream.rows):
            own = int(prompts[row.index].text[1:-1])
            texts[number] = "A1" if row.side == "base" or own % 2 else f"A{own}"
            row.written, row.state = [number], "ended"
            row.started, row.first_token_seconds, row.finished = 1.0, 0.1, 2.0
        stream.decode = lambda ids: texts[ids[0]] if ids else ""
        return stream


class FollowedLens(ReadyLens):
    """Its requests are looked at several times before they are over."""

    def ask(self, *asked, **named):
        stream = super().ask(*asked, **named)
        once = stream.snapshots

        def again():
            for _ in range(3):
                yield stream.answers
            yield from once()

        stream.snapshots = again
        return stream


@pytest.fixture
def pairs(tmp_path):
    pairs = ShownPairs(f"sqlite:///{tmp_path / 'ratings.sqlite'}")
    yield pairs
    pairs.close()


def ask(pairs, before, *, first=1, through=True, blind=False, stop_after=99, question=None, task=TASK):
    lens, seen = ReadyLens(), []
    who = Asker(
        "visitor", "", "many", lambda stream, _: stream.snapshots(), blind, lambda: len(lens.asked) >= stop_after
    )
    views = ask_pages(lens, pairs, TaskChoice(task), before, who, task, Settings(), question, first, through)
    seen += views
    return lens, seen


def finished(asked):
    for page in asked.pages:
        if not page.packed:
            assert page.showing.verdicts.wait(30)


def test_all_pages_are_asked_one_after_the_other_and_counted(pairs):
    before = AskedBefore()
    lens, views = ask(pairs, before)
    assert [len(stream.questions) for stream in lens.asked] == [AT_ONCE, AT_ONCE, 3]
    assert [view["running"] for view in views][-1] is False
    assert all(view["running"] for view in views[:-1])
    asked = before.find(views[-1]["asked"]["id"])
    finished(asked)
    told = json.loads(json.dumps(asked.told(3)))
    assert (told["answered"], told["asking"], told["count"], told["begun"]) == (COUNT, COUNT, COUNT, 3)
    better = sum(n % 2 == 0 for n in range(COUNT))
    assert told["changes"] == {"better": better, "same": COUNT - better, "worse": 0, "unknown": 0, "hidden": 0}

    live = asked.view(2)
    for page in asked.pages:
        page.settle()
        page.settle()
    assert all(page.packed for page in asked.pages)
    assert asked.view(2)["rows"] == live["rows"]
    assert asked.view(2)["rows"][0]["question"] == f"Q{AT_ONCE}?"
    assert asked.view(2)["rows"][0]["change"] == "better"
    assert asked.told(1)["changes"] == told["changes"]
    with pytest.raises(UserError, match="has not been asked"):
        asked.view(4)

    comparison = comparison_of(asked, None)
    assert len(comparison.groups) == COUNT
    assert comparison.change(AT_ONCE + 2) == "better"
    assert comparison.messages(0)[0] == {"role": "system", "content": "Be brief."}
    content = json.loads(report_of(asked, "json", None)["text"])
    assert content["changes"] == {"better": better, "same": COUNT - better}
    assert content["remarks"] == []
    assert "Q102?" in report_of(asked, "html", None)["text"]
    with pytest.raises(UserError, match="one of html, md, json"):
        report_of(asked, "pdf", None)


def test_a_follow_up_finds_its_page_and_unpacks_it_once(pairs, monkeypatch):
    before = AskedBefore()
    _, views = ask(pairs, before)
    asked = before.find(views[-1]["asked"]["id"])
    finished(asked)
    for page in asked.pages:
        page.settle()
    threads = {number: asked.view(number)["rows"][0]["thread"] for number in (1, 2, 3)}
    assert [asked.page_with(thread, 1).number for thread in threads.values()] == [1, 2, 3]
    assert [asked.page_with("elsewhere", number).number for number in (2, 7, None)] == [2, 3, 3]
    with pytest.raises(UserError, match="no longer kept"):
        Asked(TASK, Settings(), 1).page_with("elsewhere", 1)

    row = next(row for row in asked.view(2)["rows"] if row["question"] == f"Q{AT_ONCE + 1}?")
    sent = {"pair": row["pair"], "id": asked.id, "page": 2}
    who = Asker("visitor", "", "many", lambda stream, _: stream.snapshots())
    unpacked, plain = [], Page.part
    monkeypatch.setattr(Page, "part", lambda page: unpacked.append(page.number) or plain(page))
    found = follow_up(
        FollowedLens(), pairs, TaskChoice(TASK), before, who, Settings(), f"Q{AT_ONCE + 1}?", sent, owner=True
    )
    views = list(found)
    assert len(views) > 3
    assert views[-1]["rows"][2]["turn"] == 2
    assert len(unpacked) <= len(asked.pages) + 1, "once to find the page, and once to show it"


def test_a_follow_up_of_a_press_without_pages_asks_nothing(pairs):
    before = AskedBefore()
    _, views = ask(pairs, before, question="Q7?")
    empty = Asked(TASK, Settings(), 1)
    before.add(empty)
    lens, who = ReadyLens(), Asker("visitor", "", "many", lambda stream, _: stream.snapshots())
    sent = {"pair": views[-1]["rows"][0]["pair"], "id": empty.id}
    with pytest.raises(UserError, match="no longer kept"):
        list(follow_up(lens, pairs, TaskChoice(TASK), before, who, Settings(), "Q8?", sent, owner=True))
    assert lens.asked == []


def test_a_stopped_press_and_a_single_page_say_what_is_left_out(pairs):
    before = AskedBefore()
    _, views = ask(pairs, before, stop_after=2)
    asked = before.find(views[-1]["asked"]["id"])
    assert views[-1]["running"] is False
    assert (len(asked.pages), asked.told(1)["answered"]) == (2, 2 * AT_ONCE)
    assert comparison_of(asked, None).remarks == [f"Asked so far: questions 1 to 100 of the task's {COUNT}."]
    _, views = ask(pairs, before, first=2, through=False)
    told = views[-1]["asked"]
    assert (told["first"], told["last"], told["asking"], told["page"]) == (2, 2, AT_ONCE, 2)
    page = before.find(told["id"])
    assert comparison_of(page, None).remarks == [f"Asked so far: questions 51 to 100 of the task's {COUNT}."]
    with pytest.raises(UserError, match="3 pages of 50"):
        ask(pairs, before, first=4)
    _, views = ask(pairs, before, question="Q7?")
    assert views[-1]["rows"][0]["references"] == ["A7"]


def test_blind_answers_are_counted_as_hidden_and_reported_after_the_votes(pairs):
    before = AskedBefore()
    _, views = ask(pairs, before, first=3, blind=True)
    asked = before.find(views[-1]["asked"]["id"])
    finished(asked)
    assert asked.told(3)["changes"] == {"better": 0, "same": 0, "worse": 0, "unknown": 0, "hidden": 3}
    assert [row["change"] for row in asked.view(3)["rows"]] == [None] * 3
    with pytest.raises(UserError, match="3 answers are hidden"):
        report_of(asked, "md", None)
    for row in views[-1]["rows"]:
        pairs.rate(row["pair"], "visitor", "tie")
    finished(asked)
    found = pairs.judged([row["pair"] for row in views[-1]["rows"]])
    assert [each["change"] for each in found.values()] == ["better", "same", "better"]
    assert asked.told(3)["changes"]["hidden"] == 0
    assert "2 better, 1 the same" in report_of(asked, "md", pairs.ratings)["text"]


def test_only_what_was_asked_lately_is_kept():
    before = AskedBefore()
    old = Asked(TASK, Settings(), 1)
    before.add(old)
    with pytest.raises(UserError, match="Nothing is answered yet"):
        old.parts()
    for _ in range(REMEMBERED):
        before.add(Asked(TASK, Settings(), 1))
    for gone in (old.id, None, 3, ""):
        with pytest.raises(UserError, match="no longer kept"):
            before.find(gone)


def test_pages_are_counted_on_from_a_conversation_that_straddles_one(pairs):
    """The third of its turns stands beyond the fiftieth question, and belongs to the first page."""
    talk = {"turns": [f"Q{n}?" for n in range(AT_ONCE - 1, AT_ONCE + 2)]}
    rows = [f"Q{n}?" for n in range(AT_ONCE - 1)] + [talk] + [f"Q{n}?" for n in range(AT_ONCE + 2, COUNT)]
    task = parse_task(json.dumps({"name": "many", "score": ["ends"], "questions": rows}), "many.yaml")
    assert (len(task.questions), pages_of(task)) == (COUNT, 3)
    assert [ask_all_words(task, page, through=False) for page in (1, 2, 3)] == [
        "Ask 1 to 52 of 103", "Ask 53 to 100 of 103", "Ask 101 to 103 of 103",
    ]  # fmt: skip
    assert ask_all_words(task, 2) == "Ask 53 to 103"
    before = AskedBefore()
    _, views = ask(pairs, before, first=2, through=False, task=task)
    told = views[-1]["asked"]
    assert (told["before"], told["through"], told["next"], told["asking"]) == (52, 100, 103, 48)
    assert views[-1]["rows"][0]["question"] == "Q52?"
    assert comparison_of(before.find(told["id"]), None).remarks == [
        "Asked so far: questions 53 to 100 of the task's 103."
    ]
    _, views = ask(pairs, before, question="Q7?", task=task)
    told = views[-1]["asked"]
    assert (told["before"], told["through"], told["next"]) == (0, 1, 1)
