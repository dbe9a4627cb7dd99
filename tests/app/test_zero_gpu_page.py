"""The app where ZeroGPU lends its GPU: nothing can be started there, and what was trained elsewhere can be used."""

from __future__ import annotations

import json
import os
import shutil
import time

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import expect

from space_config.space.hardware import NO_TRAINING
from tests.app.running import App
from tests.app.training import RUN, open_train, preview_once
from tests.app.visiting import overflow, screenshot
from tuning import presets

PLATFORM = """
def GPU(duration):
    def decorate(function):
        def borrowed(*arguments):
            raise RuntimeError("no GPU was available")
            yield
        return borrowed
    return decorate
"""
"""A stand-in for the package ``spaces`` that never has a GPU to lend."""
BROUGHT = "brought-here"


@pytest.fixture(scope="module")
def home(tmp_path_factory, page_adapter_path):
    """A data folder into whose runs one was copied that had been stopped on another machine."""
    home = tmp_path_factory.mktemp("zero-gpu")
    run = home / "runs" / BROUGHT
    shutil.copytree(page_adapter_path, run / "adapter")
    (run / "adapter" / "run_record.json").write_text(json.dumps({"name": BROUGHT, "loss_after": 1.0}))
    content = {"preset": "smoke", "created": time.time(), "config": presets.to_dict(presets.preset("smoke"))}
    (run / "config.json").write_text(json.dumps(content))
    told = [{"event": "step", "time": 1.0, "step": 1, "loss": 2.0}, {"event": "stopped", "time": 2.0, "step": 1}]
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in told))
    return home


@pytest.fixture(scope="module")
def zero_gpu_app(home, page_model_path, page_adapter_path, tmp_path_factory):
    package = tmp_path_factory.mktemp("platform") / "spaces"
    package.mkdir()
    (package / "__init__.py").write_text(PLATFORM)
    (package / "zero.py").write_text("def startup():\n    pass\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SPACES_ZERO_GPU", "true")
        environment.setenv("PYTHONPATH", str(package.parent), prepend=os.pathsep)
        running = App(home, "--model", str(page_model_path), "--adapter", str(page_adapter_path))
    running.wait_for_line("is ready on")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def previews():
    """What the server has told of data, for :func:`preview_once`."""
    return {}


@pytest.fixture
def client(zero_gpu_app):
    client = Client(zero_gpu_app.url, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def test_the_endpoint_refuses_with_what_to_do_instead(client, home):
    with pytest.raises(AppError) as refused:
        client.predict("smoke", {"max_steps": 1}, api_name="/start_training")
    assert str(refused.value) == NO_TRAINING
    assert [path.name for path in (home / "runs").iterdir()] == [BROUGHT]


@pytest.mark.parametrize("name", ["start", "calibrate", "resume"])
def test_what_the_page_calls_to_start_a_worker_refuses_too(name, zero_gpu_app, home):
    with httpx.Client(base_url=zero_gpu_app.url, timeout=30) as page:
        parts = page.get("/config").json()["components"]
        train = next(part["id"] for part in parts if part["props"].get("elem_id") == "ll-train")
        sent = {"preset": "smoke", "values": {}, "run": BROUGHT}
        body = {"data": sent, "component_id": train, "fn_name": name, "session_hash": "someone"}
        answer = page.post("/gradio_api/component_server", json=body)
    assert answer.json() == {"error": NO_TRAINING}
    assert not list(home.glob("**/worker.json"))


def test_a_run_that_was_brought_is_listed_and_its_adapter_answers(client):
    assert [row["run"] for row in client.predict(api_name="/runs")] == [BROUGHT]
    assert client.predict(BROUGHT, api_name="/use_adapter")["name"] == BROUGHT
    assert all(client.predict("What is new?", max_new_tokens=4, api_name="/ask"))


@pytest.mark.browser
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_the_tab_says_why_and_gives_the_command_and_the_rest_works(visit, previews, zero_gpu_app, width, height):
    page = visit(zero_gpu_app.url, width=width, height=height)
    preview_once(page, previews)
    open_train(page)
    form = page.locator(".ll-form")
    expect(form.get_by_text(NO_TRAINING)).to_be_visible()
    expect(form.get_by_text("python -m tuning train --preset quick")).to_be_visible()
    expect(page.get_by_role("button", name="Start training")).to_be_hidden()
    expect(page.get_by_role("button", name="Measure this machine")).to_be_hidden()
    expect(page.locator(f"{RUN} h2")).to_have_text(BROUGHT)
    expect(page.locator(RUN).get_by_role("button", name="Compare now")).to_be_visible()
    expect(page.locator(RUN).get_by_role("button", name="Resume")).to_be_hidden()
    assert overflow(page) == 0
    screenshot(page, f"train-zero-gpu-{width}", full_page=True)
    form.get_by_role("button", name="Preview").click()
    expect(page.locator(".ll-preview")).to_be_visible(timeout=60_000)
