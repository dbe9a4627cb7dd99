"""Opening other models in Chromium: what is offered and needed, progress, what fails, zips, and visitors."""

from __future__ import annotations

import shutil
import zipfile

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import expect

from tests.app.visiting import ask, overflow, screenshot, wait_until_done

pytestmark = pytest.mark.browser

PANEL = "#ll-open"

STARTED_AGAIN = """() => {
    const { asked } = LoraLens;
    const idle = { opening: false, number: 0, words: "", progress: null, error: "", opened: "" };
    let begun = false;
    LoraLens.asked = async (call, sent) => {
        if (!begun && "kind" in sent && document.querySelector(".ll-open-go").disabled) {
            begun = true;
            return { ...idle, started: "one", opening: true };
        }
        const got = await asked(call, sent);
        if (begun && "opening" in got) return { ...idle, started: "another" };
        if (!begun || !("presets" in got)) return got;
        LoraLens.asked = asked;
        return { ...got, presets: [...got.presets, { name: "of-the-new-one", words: "" }] };
    };
}"""
"""What the first look at an opening finds is an app that was started meanwhile, and offers something else."""


@pytest.fixture
def opened(start_app, browser, tiny_model_path, tiny_adapter_path, tmp_path):
    """An app that answers with the tiny pair, a bare folder of peft's among its runs, and a page on it."""
    data = tmp_path / "data"
    shutil.copytree(tiny_adapter_path, data / "runs" / "bare-folder")
    app = start_app("--model", str(tiny_model_path), "--adapter", str(tiny_adapter_path), data=data)
    app.wait_for_line("is ready on")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(app.url, wait_until="domcontentloaded")
    yield app, page
    page.close()


def fill(page, base, kind, tuned=""):
    page.fill("#ll-open-base", str(base))
    page.check(f"{PANEL} input[value={kind}]")
    if tuned:
        page.fill("#ll-open-tuned", str(tuned))


def test_the_owner_opens_models_and_adapters_without_a_restart(
    opened, page_model_path, page_adapter_path, tiny_model_path, tmp_path
):
    app, page = opened
    ask(page, "Why?", tokens=16)
    wait_until_done(page, answers=2)
    page.click(".ll-adapter-button")
    page.wait_for_selector(".ll-heat tbody tr")
    assert page.locator(".ll-heat tbody tr").count() == 2
    page.click(f"{PANEL} summary >> nth=0")
    page.wait_for_selector(f"{PANEL} .ll-open-need p >> text=loaded already")
    assert page.input_value("#ll-open-base") == str(tiny_model_path)
    assert "bare-folder" in page.locator("#ll-open-tuned-names option").evaluate_all("all => all.map((e) => e.value)")

    fill(page, page_model_path, "adapter", page_adapter_path)
    page.wait_for_selector(f"{PANEL} .ll-open-need p >> text=page-model")
    screenshot(page, "open-before")
    page.click(f"{PANEL} .ll-open-go")
    page.wait_for_selector(f"{PANEL} [role=status] >> text=Open: page-model with adapter page-adapter")
    page.wait_for_selector("#ll-header [data-side=base] >> text=page-model")
    ask(page, "And now?", tokens=16)
    wait_until_done(page, answers=2)
    page.click(".ll-adapter-button")
    page.wait_for_selector(".ll-heat tbody tr >> nth=15")  # of this model's sixteen layers
    page.keyboard.press("Escape")

    page.evaluate(STARTED_AGAIN)
    fill(page, "wanted", "model", "also-wanted")
    page.click(f"{PANEL} .ll-open-go")
    page.wait_for_selector(f"{PANEL} .ll-notice >> text=not opened: press Open once more")
    assert page.is_enabled(f"{PANEL} .ll-open-go")
    assert page.locator("#ll-open-bases option[value=of-the-new-one]").count() == 1
    assert [page.input_value(f"#ll-open-{side}") for side in ("base", "tuned")] == ["wanted", "also-wanted"]

    fill(page, tmp_path / "nothing-here", "none")
    page.wait_for_selector(f"{PANEL} .ll-open-need[data-fits=error] >> text=There is no model")
    page.click(f"{PANEL} .ll-open-go")
    page.wait_for_selector(f"{PANEL} .ll-notice >> text=What was loaded before still answers")
    screenshot(page, "open-refused")
    ask(page, "Still there?", tokens=16)
    wait_until_done(page, answers=2)

    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as archive:
        for file in page_adapter_path.iterdir():
            archive.write(file, file.name)
    fill(page, page_model_path, "adapter")
    page.set_input_files(f"{PANEL} input[type=file]", tmp_path / "zipped.zip")
    page.wait_for_function("document.getElementById('ll-open-tuned').value.endsWith('zipped')")
    page.click(f"{PANEL} .ll-open-go")
    page.wait_for_selector(f"{PANEL} [role=status] >> text=with adapter zipped")

    client = Client(app.url, verbose=False, download_files=False)
    assert client.predict("", "", "", look=True, api_name="/open")["needed_bytes"] == 0
    assert client.predict("", "", str(tiny_model_path), api_name="/open")["adapter"]["kind"] == "model"
    page.wait_for_selector("#ll-header [data-side=tuned] >> text=tuned model")
    with pytest.raises(AppError, match="no model"):
        client.predict("no-such-model", api_name="/open")
    client.close()

    page.reload(wait_until="domcontentloaded")
    page.set_viewport_size({"width": 390, "height": 844})
    page.click(f"{PANEL} summary >> nth=0")
    page.wait_for_function("document.querySelectorAll('#ll-open select')[0].options.length >= 4")
    page.select_option(f"{PANEL} select >> nth=0", "1")
    assert page.input_value("#ll-open-tuned").endswith("zipped")
    assert overflow(page) == 0
    screenshot(page, "open-phone", full_page=True)


def test_visitors_neither_see_nor_open_anything(guarded_app, browser, page_model_path):
    page = browser.new_page()
    page.goto(guarded_app.url, wait_until="domcontentloaded")
    page.wait_for_selector("#ll-header [data-side=base] >> text=page-model")
    expect(page.locator(f"{PANEL} summary").first).to_be_hidden()
    assert page.locator(PANEL).evaluate("block => block.getBoundingClientRect().height") == 0
    page.close()
    client = Client(guarded_app.url, verbose=False, download_files=False)
    with pytest.raises(httpx.HTTPStatusError, match="403"):
        client.predict(str(page_model_path), api_name="/open")
    client.close()
