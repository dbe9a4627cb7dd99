"""The Train tab's data in Chromium: uploaded, previewed, and chosen from a table."""

from __future__ import annotations

import json
import os
import re

import pytest
from playwright.sync_api import expect

from tests.app.training import RUN, fill, preview_once, settings, wait_state
from tests.app.visiting import CONTRAST, overflow, screenshot

pytestmark = pytest.mark.browser
WINDOWS_WITHOUT_TRAINED = """(windows) => windows.filter((each) => {
    const [inside, trained] = [each, each.querySelector("mark")].map((part) => part.getBoundingClientRect());
    return trained.top < inside.top || trained.top > inside.bottom;
}).map((each) => each.textContent)"""
"""Of the samples on the page, those whose trained tokens do not begin where one can see them."""


def test_data_is_uploaded_and_shown_as_the_model_sees_it(train, page_model_path, data_file, tmp_path):
    page = train()
    fill(page, settings(page_model_path, "python_qa"))
    page.set_input_files(".ll-data input[type=file]", data_file)
    page.wait_for_selector(".ll-data-samples article", timeout=60_000)
    expect(page.locator(".ll-data-samples article")).to_have_count(3)
    expect(page.locator(".ll-data-samples mark").first).to_have_text(re.compile(r"^answer.*<\|im_end\|>$", re.S))
    assert page.locator(".ll-data-samples pre").evaluate_all(WINDOWS_WITHOUT_TRAINED) == []
    expect(page.locator(".ll-preview").first).to_contain_text("training rows")
    expect(page.locator("#ll-field-data")).to_have_value(re.compile(r"rows\.csv$"))
    screenshot(page, "train-data", full_page=True)

    nonsense = tmp_path / "nonsense.jsonl"
    nonsense.write_bytes(os.urandom(4000))
    page.set_input_files(".ll-data input[type=file]", nonsense)
    expect(page.locator(".ll-data .ll-wrong")).to_contain_text("nonsense.jsonl is malformed in line 1", timeout=60_000)
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as file:
        file.truncate(2**30)
    page.set_input_files(".ll-data input[type=file]", huge)
    expect(page.locator(".ll-data .ll-wrong")).to_contain_text("huge.csv has 1,024 MB; at most 1 MB are taken")


@pytest.fixture(scope="module")
def previews():
    """What the server has told of data, for :func:`preview_once`."""
    return {}


@pytest.fixture(scope="module")
def loaded_table(training_home):
    """A table in the app's own DuckDB file, of which every third row has an input."""
    pytest.importorskip("duckdb", reason="duckdb is not installed (tuning/ingest/requirements.txt)")
    from tuning.data.place import DEFAULT_FILE, FILE, Place
    from tuning.ingest.load import ingest

    source = training_home / "for-a-table.jsonl"
    rows = [{"prompt": f"q {n}", "input": "x" if n % 3 == 0 else "", "completion": f"answer {n}"} for n in range(90)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ingest(str(source), Place(FILE, str(training_home / DEFAULT_FILE), "asked"))


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 400)])
def test_a_table_is_chosen_and_its_rows_by_a_condition(train, previews, page_model_path, loaded_table, theme, width):
    page = train(theme=theme, width=width)
    preview_once(page, previews)
    fill(page, settings(page_model_path, "python_qa"))
    page.get_by_role("button", name="Choose…").click()
    page.get_by_role("button", name="asked table, 90 rows").click()
    assert page.input_value("#ll-field-data") == "duckdb:?table=asked"

    wrong, start = page.locator(".ll-data .ll-wrong"), page.get_by_role("button", name="Start training")
    page.fill("#ll-field-where", "QuestionInput = '")
    expect(wrong).to_contain_text(
        "where= is no condition on table asked of lora_lens.duckdb: Parser Error: unterminated"
    )
    expect(start).to_be_disabled()
    page.fill("#ll-field-where", "Id IN (FROM read_text('/etc/passwd'))")
    expect(wrong).to_contain_text("where= may ask for the columns of the row alone")
    page.fill("#ll-field-where", "Colour = 'red'")
    page.get_by_role("button", name="Preview").click()
    expect(wrong).to_contain_text('Referenced column "Colour" not found', timeout=60_000)

    page.fill("#ll-field-where", "QuestionInput = 'x'")
    expect(start).to_be_enabled()
    expect(page.locator(".ll-does")).to_contain_text("from table asked of lora_lens.duckdb where QuestionInput = 'x'")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator(".ll-data-samples article")).to_have_count(3, timeout=60_000)
    train_rows, held, tested = map(int, re.findall(r"\d+", page.inner_text(".ll-preview .ll-note >> nth=0"))[:3])
    assert train_rows + held + tested == 30
    page.get_by_role("button", name="Choose…").click()
    page.wait_for_selector(".ll-data-source >> nth=1")
    assert overflow(page) <= 0
    found = page.evaluate(CONTRAST.replace("#ll-results *", "#ll-train *"))
    assert min(found, key=lambda each: each[0])[0] >= 4.5, min(found, key=lambda each: each[0])
    screenshot(page, f"train-table-{theme}-{width}", full_page=True)
    start.click()
    wait_state(page, "running")
    wait_state(page, "finished")
    page.click(f"{RUN} summary:has-text('settings')")
    expect(page.locator(RUN)).to_contain_text("table asked of lora_lens.duckdb where QuestionInput = 'x'")
    page.get_by_role("button", name="Choose…").click()

    page.fill("#ll-field-data", "md:shop?table=asked")
    expect(wrong).to_contain_text("MotherDuck needs a token: set MOTHERDUCK_TOKEN in the environment")
    page.fill("#ll-field-data", "duckdb:none.duckdb")
    expect(wrong).to_contain_text("There is no DuckDB file none.duckdb")
    page.fill("#ll-field-data", "duckdb:?table=asked&where=Id > ''")
    page.press("#ll-field-data", "Tab")
    expect(page.locator("#ll-field-where")).to_have_value("Id > ''")
    page.fill("#ll-field-data", "python_qa")
    expect(page.locator("#ll-field-where")).to_be_hidden()
    expect(start).to_be_enabled()


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 400), ("dark", 400)])
def test_roles_of_columns_are_corrected_in_the_preview(train, previews, page_model_path, tmp_path, theme, width):
    file = tmp_path / "mapped.csv"
    rows = "".join(f"{at},Frage Nummer {at} nach dem Inhalt?,Antwort {at},Text {at}\n" for at in range(40))
    file.write_text("Nr,Frage,Antwort,a column with a very long name that says what stands in it\n" + rows)
    page = train(theme=theme, width=width)
    preview_once(page, previews)
    fill(page, settings(page_model_path, "python_qa"))
    page.set_input_files(".ll-data input[type=file]", file)
    wrong = page.locator(".ll-data .ll-wrong")
    expect(wrong).to_contain_text("mapped.csv has no columns that are understood", timeout=60_000)
    assert str(tmp_path.parent) not in wrong.inner_text()
    assert "--" not in wrong.inner_text()
    page.fill("#ll-field-max_steps", "7")
    expect(page.locator(".ll-preview .ll-note").first).to_contain_text("The settings have changed since")
    expect(wrong).to_contain_text("mapped.csv has no columns that are understood")
    chosen = page.locator(".ll-data-columns select")
    expect(chosen).to_have_count(4)
    expect(page.locator(".ll-data-samples article")).to_have_count(0)
    expect(page.locator(".ll-preview .ll-marked")).to_be_hidden()
    page.get_by_label("Role of the column Frage").select_option("question")
    page.get_by_label("Role of the column Antwort").select_option("answer")
    screenshot(page, f"train-columns-guess-{theme}-{width}", full_page=True)
    page.get_by_role("button", name="Use these roles").click()
    expect(page.locator(".ll-data-samples article")).to_have_count(3, timeout=60_000)
    expect(page.locator(".ll-data .ll-wrong")).to_be_hidden()
    expect(page.locator("#ll-field-columns")).to_have_value("question=Frage,answer=Antwort")
    expect(page.locator(".ll-data-samples mark").first).to_have_text(re.compile("^Antwort"))
    expect(page.get_by_label("Role of the column Nr")).to_have_value("")
    expect(page.get_by_label("Role of the column Frage")).to_have_value("question")
    assert overflow(page) <= 0
    found = page.evaluate(CONTRAST.replace("#ll-results *", "#ll-train *"))
    assert min(found, key=lambda each: each[0])[0] >= 4.5, min(found, key=lambda each: each[0])
    screenshot(page, f"train-columns-{theme}-{width}", full_page=True)
