"""The Train tab in Chromium: start, watch, reload, stop, resume, finish, compare, and what a bad day does to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import uuid
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.app.training import LONG, RUN, begin, fill, open_train, settings, steps_drawn, wait_for, wait_state
from tests.app.visiting import CONTRAST, ask, overflow, screenshot, wait_until_done
from tuning import presets
from tuning.runs import queue, scores

pytestmark = pytest.mark.browser


def made(home, adapter):
    """The name of a finished run, the newest one, made without training."""
    name = f"made-{uuid.uuid4().hex[:6]}"
    run = home / "runs" / name
    shutil.copytree(adapter, run / "adapter")
    (run / "adapter" / "run_record.json").write_text(json.dumps({"name": name, "loss_after": 1.0}))
    content = {"preset": "smoke", "created": time.time(), "config": presets.to_dict(presets.preset("smoke"))}
    told = [{"event": "step", "time": 1.0, "step": step, "loss": 2 / step} for step in range(1, 9)]
    told.append({"event": "validation", "time": 1.0, "step": 8, "validation_loss": 1.0})
    answer = {"question": "How?", "answer": "```python\na = 1\nb = 2\n```", "tokens": 9, "ended": True}
    told += [{"event": "sample", "time": 1.0, "step": step} | answer for step in (0, 8)]
    told.append({"event": "finished", "time": 1.0, "step": 8, "message": "done"})
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in told))
    (run / "config.json").write_text(json.dumps(content))
    return name


@pytest.fixture
def two_runs(training_app, training_home, page_adapter_path):
    """The names of two finished runs, made without training."""
    return [made(training_home, page_adapter_path) for _ in range(2)]


def end(page):
    """Ends the run on show, if it runs."""
    stop = page.locator(RUN).get_by_role("button", name="Stop")
    if stop.is_visible():
        stop.click()
    wait_state(page, "stopped")


def remove_while_written(folder):
    """Removes a folder into which a worker writes, so that it may not be empty at the first try."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


def worker(home, run):
    return json.loads((home / "runs" / run / "worker.json").read_text())["pid"]


def test_before_the_first_run_the_tab_says_what_to_do(visit):
    page = visit()
    open_train(page)
    expect(page.locator("#ll-train .ll-empty")).to_contain_text("No run yet")
    expect(page.locator(".ll-does")).to_contain_text("80 steps of 16 examples, 1,280 in all, from python_qa")
    expect(page.get_by_role("button", name="Measure this machine")).to_be_visible()
    screenshot(page, "train-before", full_page=True)


def test_a_run_from_start_to_comparison(train, page_model_path, data_file):
    page = train()
    fill(page, settings(page_model_path, data_file, max_steps=0))
    expect(page.locator(".ll-field:has(#ll-field-max_steps) .ll-wrong")).to_have_text("must be 1 or more")
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()
    run = begin(page, settings(page_model_path, data_file, max_steps=LONG, validate_every=50, sample_every=20))
    expect(page.locator(f"{RUN} h2").first).to_be_in_viewport()  # what was begun stands where one looks

    wait_for(lambda: steps_drawn(page) > 0)
    at = steps_drawn(page)
    wait_for(lambda: steps_drawn(page) > at)
    expect(page.locator(".ll-figures").first).to_contain_text("tok/s")
    expect(page.locator(".ll-steps").first).to_contain_text("left")
    screenshot(page, "train-middle", full_page=True)

    at = steps_drawn(page)
    page.reload(wait_until="domcontentloaded")
    open_train(page)
    wait_state(page, "running")
    expect(page.locator(f"{RUN} h2").first).to_have_text(run)
    wait_for(lambda: steps_drawn(page) > at)
    wait_for(
        lambda: page.locator(f"{RUN} .ll-log [data-kind=start]").count() or "earlier lines" in page.inner_text(RUN)
    )
    screenshot(page, "train-reloaded", full_page=True)
    other = train()
    wait_for(lambda: steps_drawn(other) > at)
    expect(other.locator(f"{RUN} h2").first).to_have_text(run)
    fill(other, settings(page_model_path, data_file))
    other.get_by_role("button", name="Start training").click()
    expect(other.locator(".ll-form > .ll-notice")).to_contain_text(f"Run {run} is training on this machine")
    expect(other.locator(".ll-form > .ll-notice")).to_be_in_viewport()
    expect(other.locator(".ll-settings-list")).to_contain_text(f"Steps{LONG}")

    end(page)
    expect(page.locator(f"{RUN} .ll-notice")).to_contain_text("saved after step")
    wait_state(other, "stopped")
    stopped_at = steps_drawn(page)
    page.locator(RUN).get_by_role("button", name="Resume").click()
    wait_state(page, "running")
    wait_for(lambda: steps_drawn(page) > stopped_at)
    end(page)


def test_a_run_that_finishes_is_compared_at_once(train, page_model_path, data_file):
    page = train()
    run = begin(page, settings(page_model_path, data_file))
    wait_state(page, "finished")
    wait_for(lambda: steps_drawn(page) == 6)
    slider = page.locator(".ll-slider input")
    expect(page.locator(".ll-slider output").first).to_have_text("step 6")
    slider.press("Home")
    expect(page.locator(".ll-slider output").first).to_have_text("step 0")
    expect(page.locator(".ll-pairing header b")).to_have_text(["Before training"] * 2)
    slider.press("End")
    expect(page.locator(".ll-pairing header b")).to_have_text(["Before training", "After step 6"])
    screenshot(page, "train-done", full_page=True)

    page.locator(RUN).get_by_role("button", name="Compare now").click()
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    page.wait_for_selector(f".ll-pair >> text={run}")
    ask(page, "What is new?")
    wait_until_done(page, answers=2)
    expect(page.locator("[data-side=tuned] .ll-who").first).to_contain_text(run)


def test_runs_are_laid_over_each_other_and_two_adapters_compared(train, two_runs):
    page = train()
    history = page.locator(".ll-run-history")
    for run in two_runs:
        history.get_by_label(f"Lay the losses of {run} over the others").check()
    expect(history.locator(".ll-chart polyline")).to_have_count(4)
    screenshot(page, "train-history", full_page=True)
    history.locator("select").first.select_option(two_runs[0])
    history.locator("select").last.select_option(two_runs[1])
    history.get_by_role("button", name="Compare these two").click()
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    page.wait_for_selector(f".ll-chip[data-side=base] >> text={two_runs[1]}")
    page.wait_for_selector(f".ll-chip[data-side=tuned] >> text={two_runs[0]}")
    ask(page, "Which is it?")
    wait_until_done(page, answers=2)
    expect(page.locator(".ll-badge")).to_have_text([two_runs[1], two_runs[0]])
    expect(page.locator("#ll-header")).to_contain_text("on page-model")  # the base of both
    open_train(page)
    run = page.inner_text(f"{RUN} h2")
    page.locator(RUN).get_by_role("button", name="Compare now").click()
    notice = page.locator("#ll-board .ll-notice[role=status]")
    expect(notice).to_have_text(f"{run} answers from now on. Earlier comparisons are in the list below.")
    expect(page.locator(".ll-row")).to_have_count(0)
    expect(page.locator(".ll-history summary")).to_contain_text("Your comparisons")


def test_a_note_is_kept_with_the_run_it_was_begun_for(train, two_runs, training_home, page_adapter_path):
    page = train()
    name, notes = page.locator(f"{RUN} h2").first, page.get_by_label("Your notes on this run")
    expect(name).to_have_text(two_runs[1])
    notes.focus()
    page.keyboard.type("half of it")
    following = made(training_home, page_adapter_path)
    expect(name).to_have_text(following)  # as when the queue begins another one
    expect(notes).to_have_value("half of it")
    expect(page.locator(RUN)).to_contain_text(f"What you write here is kept with {two_runs[1]}.")
    page.keyboard.type(", and all")
    page.keyboard.press("Tab")
    expect(notes).to_have_value("")
    expect(page.locator(".ll-run-history tr", has_text=two_runs[1])).to_contain_text("half of it, and all")
    page.click(f".ll-run-history >> text={two_runs[1]}")
    expect(notes).to_have_value("half of it, and all")
    page.set_viewport_size({"width": 390, "height": 844})
    table, cell = (page.locator(f".ll-run-history {part}").first for part in (".ll-scroll", "td.ll-differs"))
    right = [each.evaluate("each => each.getBoundingClientRect().right") for each in (cell, table)]
    assert right[0] <= right[1]  # on a phone what tells two runs apart is in sight


def test_what_the_queue_could_not_start_and_what_runs_scored_is_in_sight(train, two_runs, training_home):
    for run, share in zip(two_runs, (0.5, 0.25), strict=True):
        kept = scores.TaskScore(0, "mbpp", "MBPP", share, 0.1, 0.9, 40)
        scores.keep(training_home / "runs" / run, [kept])
    (training_home / queue.FILE).write_text(json.dumps(queue.Queue(problems=["mine: its data is gone."]).to_dict()))
    page = train(width=390)
    told = page.locator(".ll-queue .ll-notice")
    expect(told).to_contain_text("Not started: mine: its data is gone.")
    told.get_by_role("button", name="Dismiss").click()
    expect(told).to_be_hidden()
    assert queue.Queue(**json.loads((training_home / queue.FILE).read_text())).problems == []
    history = page.locator(".ll-run-history")
    expect(history.locator("tr", has_text=two_runs[0]).locator("td", has_text="50.0%")).to_have_text("50.0%MBPP")
    expect(history.locator("> .ll-hint")).to_have_text("best: by the score on MBPP of 2 runs.")
    rank = page.locator("#ll-field-rank")
    expect(rank).to_have_accessible_description("LoRA rank")


def test_an_adapter_is_downloaded(train, two_runs):
    page = train()
    page.click(".ll-take summary")
    with page.expect_download() as waiting:
        page.click("text=Download the adapter (zip)")
    assert waiting.value.suggested_filename.endswith(".zip")
    assert waiting.value.path().stat().st_size > 1000
    expect(page.get_by_role("button", name="Push to the Hub")).to_be_disabled()
    expect(page.locator(".ll-take").first).to_contain_text("HF_TOKEN")


def test_an_export_shows_its_certificate_and_a_red_one_is_not_offered(train, two_runs, training_home, page_model_path):
    run = two_runs[-1]
    written = training_home / "runs" / run / "config.json"
    content = json.loads(written.read_text())
    written.write_text(json.dumps(content | {"config": content["config"] | {"model": str(page_model_path)}}))
    red = training_home / "exports" / f"{run}-gguf-Q4_0"
    red.mkdir(parents=True)
    sentence = "The file keeps 3% of the adapter's change: it is nearer to the base than to the tuned side."
    (red / "certificate.json").write_text(json.dumps({"colour": "red", "sentence": sentence}))
    page = train()
    page.locator(".ll-run-history").get_by_role("button", name=run).first.click()
    page.click(".ll-take summary")
    exports = page.get_by_label("Exports of this run")
    expect(exports).to_contain_text(f"red {run}-gguf-Q4_0: {sentence}")
    page.get_by_label("What to export").select_option("merged")
    page.get_by_label("Precision of the export").select_option("bf16")
    page.get_by_role("button", name="Export and check").click()
    expect(page.get_by_role("button", name="Stop the export")).to_be_visible()
    expect(exports.locator("li")).to_have_count(2, timeout=120_000)
    expect(exports).to_contain_text(f"{run}-merged-bf16: ")
    offered = page.get_by_label("What to push").locator("option").all_text_contents()
    assert "the adapter" in offered
    assert red.name not in offered
    screenshot(page, "train-exports", full_page=True)


def test_a_run_is_deleted_only_when_one_is_sure(train, two_runs, training_home):
    home = training_home
    page = train()
    run = two_runs[0]
    page.click(f".ll-run-history >> text={run}")
    expect(page.locator(f"{RUN} h2")).to_have_text(run)
    page.click("text=Delete…")
    page.click("text=Keep it")
    assert (home / "runs" / run).exists()
    page.click("text=Delete…")
    page.click("text=Delete it")
    expect(page.locator(f".ll-run-history >> text={run}")).to_have_count(0)
    assert not (home / "runs" / run).exists()


def test_a_run_outlives_the_app_is_killed_resumed_and_loses_its_folder(
    train, visit, start_app, page_model_path, page_adapter_path, data_file, training_home
):
    page = train()
    run = begin(page, settings(page_model_path, data_file, max_steps=LONG))
    wait_for(lambda: steps_drawn(page) > 0)
    model = ("--model", str(page_model_path), "--adapter", str(page_adapter_path))
    later = visit(start_app(*model, data=training_home).url)
    open_train(later)
    wait_state(later, "running")
    expect(later.locator(f"{RUN} h2").first).to_have_text(run)
    wait_for(lambda: steps_drawn(later) > 0)

    os.kill(worker(training_home, run), signal.SIGKILL)
    for watching in (page, later):
        wait_state(watching, "failed")
    expect(page.locator(f"{RUN} .ll-notice")).to_contain_text("it was killed, most likely because")
    expect(later.locator(f"{RUN} .ll-notice")).to_contain_text("it was killed")
    expect(page.locator(".ll-last").first).to_contain_text("step")
    screenshot(page, "train-killed", full_page=True)

    page.locator(RUN).get_by_role("button", name="Resume").click()
    wait_state(page, "running")
    wait_for(lambda: page.locator(".ll-log [data-kind=resumed]").count())
    pid = worker(training_home, run)
    remove_while_written(training_home / "runs" / run)
    expect(page.locator(".ll-live > .ll-notice")).to_contain_text(f"There is no run '{run}' any more")
    expect(page.locator(f".ll-run-history >> text={run}")).to_have_count(0)
    wait_for(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 400), ("dark", 400)])
def test_the_tab_fits_every_window_and_every_word_stands_out(train, two_runs, theme, width):
    page = train(theme=theme, width=width)
    page.click(f".ll-run-history >> text={two_runs[0]}")
    page.wait_for_selector(f"{RUN} .ll-chart svg")
    expect(page.locator(".ll-pairing code")).to_have_text(["a = 1\nb = 2"] * 2, use_inner_text=True)
    assert overflow(page) <= 0
    screenshot(page, f"train-{theme}-{width}", full_page=True)
    found = page.evaluate(CONTRAST.replace("#ll-results *", "#ll-train *"))
    assert min(found, key=lambda each: each[0])[0] >= 4.5, min(found, key=lambda each: each[0])
