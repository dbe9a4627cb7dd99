"""A conversation in Chromium: followed up by keyboard, blind until a vote, voted on as a whole, reported, on a phone;
and the example turns of a new task."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

from tests.app.visiting import CONTRAST, ask, overflow, screenshot, wait_until_done

pytestmark = pytest.mark.browser


@pytest.fixture
def page(visit):
    return visit()


def follow_up(page, row, question, basis="own"):
    row.get_by_role("button", name="Follow up…").click()
    row.get_by_role("combobox", name="What both go on from").select_option(basis)
    box = row.get_by_role("textbox", name="Follow up on")
    expect(box).to_be_focused() if basis == "own" else box.focus()
    page.keyboard.type(question)
    page.keyboard.press("Enter")


def texts(row):
    return row.locator(".ll-body").all_inner_texts()


def test_a_conversation_goes_on_below_its_row_and_is_voted_on_and_reported(page):
    page.get_by_label("Blind: names are hidden until you vote").check()
    ask(page, "Who are you?", tokens=16)
    wait_until_done(page, answers=2)
    first, second, third = (page.locator(".ll-row").nth(place) for place in range(3))
    expect(page.locator(".ll-about h2")).to_have_text("Your own question")
    said = texts(first)
    row_height = first.bounding_box()["height"]
    follow_up(page, first, "And then?")
    expect(second.locator(".ll-number")).to_have_text("turn 2")
    wait_until_done(page, answers=4)
    expect(second.locator(".ll-follows")).to_have_text("each goes on from its own answer")
    expect(second.locator(".ll-badge")).to_have_text(["A", "B"])
    assert texts(first) == said
    assert first.bounding_box()["height"] <= row_height
    expect(first.locator(".ll-further")).to_be_hidden()
    second.locator(".ll-sides").focus()
    page.keyboard.press("2")
    expect(second.locator(".ll-said").first).to_contain_text("✓ saved · A was")
    names = second.locator(".ll-badge").all_inner_texts()
    assert sorted(names) == ["Base", "Tuned"]
    expect(first.locator(".ll-badge")).to_have_text(names)
    follow_up(page, second, "Both of you?", "left")
    wait_until_done(page, answers=6)
    expect(third.locator(".ll-follows")).to_have_text("both go on from the left answer")
    whole = third.get_by_role("group", name="Which answer to the whole conversation on your question is better?")
    expect(third.locator(".ll-whole")).to_contain_text("The whole conversation")
    whole.get_by_role("button", name="Tie").click()
    expect(whole.locator(".ll-said")).to_contain_text("✓ saved")
    expect(third.locator(".ll-votes .ll-choice[aria-pressed=true]")).to_have_count(1)
    third.get_by_role("button", name="Tokens").click()
    expect(third.locator(".ll-lens-place .ll-token:visible").nth(1)).to_be_visible()  # the first may be a space
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the report as json").click()
    report = json.loads(saved.value.path().read_text(encoding="utf-8"))
    assert [(one["question"], one["turn"]) for one in report["questions"]] == [
        ("Who are you?", 1),
        ("And then?", 2),
        ("Both of you?", 3),
    ]
    assert report["questions"][1]["prompt"] != report["questions"][1]["prompt_tuned"]
    screenshot(page, "follow-up", full_page=True)

    page.reload()
    expect(page.locator(".ll-row")).to_have_count(3)
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme="dark")
    follow_up(page, third, "On a phone?", "right")
    wait_until_done(page, answers=8)
    assert overflow(page) <= 0
    found = page.evaluate(CONTRAST)
    assert min(found, key=lambda each: each[0])[0] >= 4.5, min(found, key=lambda each: each[0])
    screenshot(page, "follow-up-phone", full_page=True)


def test_example_turns_are_added_moved_and_removed_in_the_drawer(page):
    page.get_by_role("button", name="New task…").click()
    drawer = page.locator(".ll-drawer")
    drawer.locator("input[type=file]").set_input_files(
        {"name": "q.csv", "mimeType": "text/csv", "buffer": b"question,answer\nWhat?,That.\n"}
    )
    drawer.get_by_label("Name", exact=True).fill("shots")
    for number, (question, answer) in enumerate((("First?", "One."), ("Second?", "")), 1):
        drawer.get_by_role("button", name="Add an example").click()
        expect(drawer.get_by_label(f"Question of example {number}")).to_be_focused()
        page.keyboard.type(question)
        drawer.get_by_label(f"Answer of example {number}").fill(answer)
    expect(drawer.locator(".ll-task-examples > .ll-wrong")).to_contain_text("example 2 has no text for an answer")
    drawer.get_by_label("Answer of example 2").fill("Two.")
    prompt = drawer.locator(".ll-prompt")
    expect(prompt).to_contain_text("Second?")
    drawer.get_by_role("button", name="Move up example 2").press("Enter")
    expect(drawer.get_by_label("Question of example 1")).to_have_value("Second?")
    expect(prompt).to_have_text(re.compile(r"Second\?[\s\S]*Two\.[\s\S]*First\?[\s\S]*One\.[\s\S]*What\?"))
    drawer.get_by_role("button", name="Remove example 1").click()
    expect(prompt).not_to_contain_text("Second?")
    screenshot(page, "example-turns")
    expect(drawer.get_by_role("button", name="Save task")).to_be_enabled()
