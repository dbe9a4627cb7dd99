"""A newcomer's own task in Chromium: written in the drawer, asked, told better or worse, paged, reported."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from playwright.sync_api import expect

from tests.app.visiting import ASK_ALL, CONTRAST, HELD, choose_longest_answer, overflow, screenshot, wait_until_done

pytestmark = pytest.mark.browser
CHOICE = "#ll-task-choice"


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """Thirty questions with references as a spreadsheet program saves them."""
    path = tmp_path_factory.mktemp("questions") / "pirate.csv"
    rows = "".join(f'{n};"Where is the ship, number {n}?";"Arr, she be in bay {n}!"\n' for n in range(30))
    path.write_text("Nr;User question;Good reply\n" + rows, encoding="utf-8-sig")
    return path


@pytest.fixture
def drawer(page):
    return page.locator(".ll-drawer")


@pytest.fixture
def page(visit, fresh):
    return visit(fresh.url)


def fill(drawer, label, value):
    drawer.get_by_label(label, exact=True).fill(value)


def add_scorer(drawer, name):
    drawer.locator("#ll-task-add-scorer").select_option(name)


def test_thirty_questions_of_ones_own_tell_better_same_or_worse_without_a_shell(page, drawer, questions):
    expect(page.locator(ASK_ALL)).to_have_text("Ask all five questions")
    expect(page.locator(".ll-probe")).to_have_count(5)
    page.get_by_role("button", name="New task…").click()
    file = drawer.locator("input[type=file]")
    file.set_input_files({"name": "questions.docx", "mimeType": "application/msword", "buffer": b"PK"})
    expect(drawer.locator("#ll-task-questions-wrong")).to_contain_text("questions.docx is not a file of questions")
    fill(drawer, "Questions", "Is it?")
    expect(drawer.locator(".ll-task-ways").first).to_contain_text("Read as one question a line")
    fill(drawer, "Questions", "")
    expect(drawer.locator("footer")).to_contain_text("Give it questions first.")
    expect(drawer.locator(".ll-task-ways").first).not_to_contain_text("Read as")
    file.set_input_files(questions)
    expect(drawer.get_by_label("Column of: Question")).to_have_value("User question")
    expect(drawer.locator(".ll-prompt")).to_contain_text("Where is the ship, number 0?")  # before all else is right
    drawer.get_by_label("Column of: Reference answer").select_option("Good reply")
    drawer.get_by_label("Column of: Id").select_option("Nr")
    expect(drawer.locator("footer")).to_contain_text("To be put right: Name.")
    fill(drawer, "Name", "pirate")
    fill(drawer, "System prompt", "Answer like a pirate.")
    expect(drawer.locator(".ll-prompt")).to_contain_text("Answer like a pirate.")
    assert drawer.locator(".ll-prompt .ll-token").count() > 10
    expect(drawer.locator(".ll-task-preview")).to_contain_text("question 1 of 30")
    expect(drawer.locator(".ll-task-preview")).to_contain_text("Reference: Arr, she be in bay 0!")
    fill(drawer, "User turn", "{questionn}")
    expect(drawer.locator("#ll-task-user-wrong")).to_contain_text("user names the column 'questionn'")
    expect(drawer.get_by_role("button", name="Save task")).to_be_disabled()
    fill(drawer, "User turn", "Ahoy! {question}")
    add_scorer(drawer, "chrf")
    add_scorer(drawer, "regex")
    fill(drawer, "pattern", "(")
    expect(drawer.locator(".ll-task-scorers > .ll-wrong")).to_contain_text("regex: pattern is not a regular expression")
    fill(drawer, "pattern", "Arr")
    drawer.get_by_label("Try them on an answer").fill("Arr, she be in bay 9!")
    drawer.get_by_role("button", name="Judge it").click()
    expect(drawer.locator(".ll-task-said")).to_contain_text("regex: passes")
    expect(drawer.locator(".ll-task-said")).to_contain_text("chrf: measured")
    drawer.locator("summary", has_text="Settings of the answers").click()
    fill(drawer, "Longest answer, in tokens", "12")
    expect(drawer.locator("footer")).to_contain_text("30 questions.")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="New task…").click()
    expect(drawer.get_by_text("What you wrote before is still here.")).to_be_visible()
    expect(drawer.get_by_label("User turn", exact=True)).to_have_value("Ahoy! {question}")
    expect(drawer.locator("footer")).to_contain_text("30 questions.")
    screenshot(page, "task-drawer")
    drawer.get_by_role("button", name="Save task").click()

    expect(page.locator(CHOICE)).to_have_value("pirate")
    expect(page.locator(".ll-task-about")).to_contain_text("30 questions · system prompt “Answer like a pirate.”")
    expect(page.locator(ASK_ALL)).to_have_text("Ask all 30 questions")
    expect(page.locator(".ll-probe")).to_have_count(30)
    screenshot(page, "task-chosen")
    page.click(ASK_ALL)
    wait_until_done(page, answers=60)
    page.wait_for_function("document.querySelectorAll('.ll-change:not([hidden])').length === 30")
    words = {"▲ better": "better", "= same": "the same", "▼ worse": "worse"}
    marks = page.locator(".ll-change").all_inner_texts()
    counts = [f"{marks.count(mark)} {words[mark]}" for mark in words]
    expect(page.locator(".ll-changes")).to_have_text(", ".join(counts))
    row = page.locator(".ll-row").first
    row.locator(".ll-reference summary").click()
    expect(row.locator(".ll-against h4")).to_have_text(["Base against the reference", "Tuned against the reference"])
    assert row.locator(".ll-against del").count()
    screenshot(page, "task-answered")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the report as json").click()
    report = json.loads(saved.value.path().read_text(encoding="utf-8"))
    assert report["changes"] == {
        name: marks.count(mark) for mark, name in zip(words, ("better", "same", "worse"), strict=True) if mark in marks
    }
    assert report["task"]["prompt_format"]["system"] == "Answer like a pirate."
    assert {turn["role"]: turn["content"] for turn in report["questions"][0]["prompt"]}["user"].startswith(
        "Ahoy! Where"
    )
    assert len(report["answers"]) == len(report["verdicts"]) == 60
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the report as html").click()
    assert "Arr, she be in bay 0!" in saved.value.path().read_text(encoding="utf-8")

    page.reload()
    expect(page.locator(CHOICE)).to_have_value("pirate")
    expect(page.locator(ASK_ALL)).to_have_text("Ask all 30 questions")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export").click()
    exported = saved.value.path()
    assert "Where is the ship, number 29?" in exported.read_text(encoding="utf-8")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.locator(CHOICE)).to_have_value("")
    expect(page.locator(ASK_ALL)).to_have_text("Ask all five questions")
    page.locator(
        "#ll-tasks > .ll-task-row input[type=file], #ll-tasks .ll-task-tools input[type=file]"
    ).first.set_input_files({"name": "pirate.yaml", "mimeType": "text/yaml", "buffer": exported.read_bytes()})
    expect(page.locator(CHOICE)).to_have_value("pirate")


def test_held_out_rows_are_asked_in_pages_and_stop_stops(page, drawer):
    page.get_by_role("button", name="New task…").click()
    drawer.get_by_role("button", name="From a data set…").click()
    drawer.get_by_role("button", name="python_qa embedded").click()
    expect(drawer.locator("footer")).to_contain_text("questions.", timeout=60_000)
    expect(drawer.get_by_label("Name", exact=True)).to_have_value("python_qa-held-out")
    assert "Python coding expert" in drawer.get_by_label("System prompt").input_value()
    drawer.get_by_role("button", name="Remove python").click()
    add_scorer(drawer, "rouge_l")
    drawer.locator("summary", has_text="Settings of the answers").click()
    fill(drawer, "Longest answer, in tokens", "2")
    expect(drawer.get_by_role("button", name="Save task")).to_be_enabled()
    drawer.get_by_role("button", name="Save task").click()
    expect(page.locator(CHOICE)).to_have_value("python_qa-held-out")
    expect(page.locator(ASK_ALL)).to_have_text(re.compile(r"Ask all 2\d\d questions"))
    page.click(ASK_ALL)
    page.wait_for_function("document.documentElement.dataset.lensBusy === 'true'")
    page.wait_for_function("document.documentElement.dataset.lensBusy === 'false'", timeout=180_000)
    expect(page.locator(".ll-progress")).to_have_text(re.compile(r"2\d\d questions answered"))
    expect(page.locator(".ll-pager input")).to_have_value("6")
    for first in (201, 151, 101, 51, 1):
        page.get_by_role("button", name="Previous page").click()
        expect(page.locator(".ll-number").first).to_have_text(f"{first}")
    expect(page.locator(".ll-row")).to_have_count(50)
    expect(page.locator(".ll-changes")).to_contain_text("better")

    choose_longest_answer(page, 2000)  # the first page alone is more than any machine writes before the stop
    page.click(ASK_ALL)
    page.wait_for_selector(".ll-side[data-state=streaming]")
    page.keyboard.press("Escape")
    page.wait_for_function("document.documentElement.dataset.lensBusy === 'false'")
    expect(page.locator(".ll-progress")).to_contain_text("stopped")


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 400)])
def test_a_visitor_chooses_among_what_the_owner_shows_and_writes_nothing(visit, guarded_app, theme, width):
    page = visit(guarded_app.url, theme=theme, width=width)
    expect(page.locator(f"{CHOICE} option[value=shown]")).to_have_count(1)
    assert not page.locator(f"{CHOICE} option[value=secret]").count()
    assert not page.get_by_role("button", name="New task…").is_visible()
    page.select_option(CHOICE, "shown")
    expect(page.locator(ASK_ALL)).to_have_text("Ask 1 to 50 of 120")
    expect(page.locator(".ll-probe")).to_have_count(50)
    page.get_by_role("button", name="Next questions").click()
    expect(page.locator(ASK_ALL)).to_have_text("Ask 51 to 100 of 120")
    expect(page.locator(".ll-probe").first).to_contain_text("Q50?")
    page.get_by_label("Page of questions").fill("3")
    page.keyboard.press("Tab")
    expect(page.locator(".ll-probe")).to_have_count(20)
    page.get_by_label("Search the questions").fill("q11")
    expect(page.locator(".ll-finder")).to_contain_text("11 of 120 questions")
    numbers = [probe.get_attribute("data-number") for probe in page.locator(".ll-probe").all()]
    assert numbers == ["12", *(str(number) for number in range(111, 121))]
    page.get_by_label("Search the questions").fill("nowhere")
    expect(page.locator(".ll-finder")).to_contain_text("None of 120 questions holds that.")
    page.get_by_label("Search the questions").fill("")
    expect(page.locator(".ll-probe")).to_have_count(20)
    assert overflow(page) <= 0
    found = page.evaluate(CONTRAST)
    assert min(found, key=lambda each: each[0])[0] >= 4.5, min(found, key=lambda each: each[0])
    screenshot(page, f"task-visitor-{theme}-{width}")


def test_what_is_typed_before_a_tasks_settings_arrive_stays_and_its_adapter_is_offered(
    visit, start_app, page_model_path, page_adapter_path, tmp_path
):
    home, other = tmp_path / "data", tmp_path / "other-adapter"
    shutil.copytree(page_adapter_path, other)
    (home / "tasks").mkdir(parents=True)
    for name, adapter in (("short", page_adapter_path), ("odd", other)):
        (home / "tasks" / f"{name}.yaml").write_text(
            f"settings: {{max_new_tokens: 12, temperature: 0.5}}\nadapter: {adapter}\nquestions: ['What is it?']\n"
        )
    app = start_app("--model", str(page_model_path), "--adapter", str(page_adapter_path), data=home)
    app.wait_for_line("is ready on")
    page = visit(app.url)
    page.wait_for_selector(".ll-state[data-state=ready]")
    page.click("#ll-settings > button")
    cap, warmth = (page.locator(f"#ll-setting-{name} input[type=number]") for name in ("max_new_tokens", "temperature"))
    expect(cap).to_have_value("300")
    expect(page.locator(".ll-task-fit")).to_contain_text("The adapter in use was made for the task short.")
    page.get_by_role("button", name="Ask that").click()
    expect(page.locator(CHOICE)).to_have_value("short")
    expect(cap).to_have_value("12")
    expect(warmth).to_have_value("0.5")

    held = []
    page.route(
        re.compile("component_server"),
        lambda route: held.append(route) if '"listed"' in route.request.post_data else route.continue_(),
    )
    page.reload()
    page.wait_for_selector(".ll-state[data-state=ready]")
    page.click("#ll-settings > button")
    cap.fill("77")
    cap.press("Tab")
    expect(warmth).to_have_value("0")
    assert held
    for route in held:
        route.continue_()
    page.unroute(re.compile("component_server"))
    expect(page.locator(CHOICE)).to_have_value("short")
    expect(warmth).to_have_value("0.5")  # the task's settings are here now
    expect(cap).to_have_value("77")
    page.select_option(CHOICE, "odd")
    expect(cap).to_have_value("12")
    expect(page.locator(".ll-task-fit")).to_contain_text("An adapter was made for this task: other-adapter.")
    page.get_by_role("button", name="Use it").click()
    expect(page.locator(".ll-adapter .ll-name")).to_contain_text("other-adapter")
    expect(page.locator(".ll-task-fit")).to_be_hidden()


def test_the_task_that_was_chosen_last_is_asked_whichever_list_comes_first(visit):
    page = visit()
    page.wait_for_selector(".ll-state[data-state=ready]")
    page.evaluate(HELD)
    page.evaluate(
        """() => {
            const root = document.createElement("div");
            document.body.append(root);
            LoraLens.mountTasks(root, { settings: {}, count: 5, scorers: [] }, held);
        }"""
    )
    choice = page.locator("body > .ll-tasks select").first
    names = ("", "before", "blind")
    tasks = [{"name": name, "title": name or "Usual", "questions": 5, "score": [], "settings": {}} for name in names]
    listed = {"default": tasks[0], "tasks": tasks[1:], "owner": False, "problems": [], "size": 50}

    lists = "calls.filter(({ name }) => name === 'listed')"

    def called(count):
        page.wait_for_function(f"(count) => {lists}.length === count", arg=count)

    def answer(number):
        page.evaluate(f"([number, value]) => {lists}[number].answer(value)", [number, listed])

    answer(0)
    expect(choice.locator("option")).to_have_count(3)
    choice.select_option("before")
    page.evaluate("LoraLens.pollStatus()")
    page.evaluate("() => void LoraLens.beginBlindRound('blind')")
    called(2)
    # The other adapter of the round is news for the header, which has the tasks read again.
    page.route(re.compile("component_server"), with_another_adapter)
    page.evaluate("LoraLens.pollStatus()")
    called(3)
    answer(1)
    answer(2)
    expect(choice).to_have_value("blind")
    page.evaluate("() => (LoraLens.beginBlindRound('before'), void LoraLens.beginBlindRound('blind'))")
    called(5)
    answer(4)
    expect(choice).to_have_value("blind")
    answer(3)
    page.evaluate("LoraLens.pollStatus()")
    expect(choice).to_have_value("blind")


def with_another_adapter(route):
    if '"status"' not in route.request.post_data:
        return route.continue_()
    response = route.fetch()
    return route.fulfill(response=response, body=response.text().replace("page-adapter", "other-adapter"))
