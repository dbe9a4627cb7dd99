"""Running apps with the tiny model, and a browser to visit them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.app.running import PASSWORD, App
from tests.app.training import open_train, write_rows
from tests.app.visiting import ASK_ALL
from tests.tiny_llama import save_llama

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


PATIENCE_MS = 30_000
"""How long a test waits for what is to be seen: a busy machine takes its time."""


@pytest.fixture(scope="session")
def page_model_path(tiny_tokenizer, tmp_path_factory) -> Path:
    """A small random Llama for the page: slow enough to be seen writing, and it never ends an answer greedily.

    The row of the end token in the tied head is zero, so its logit is 0 and some other token's is higher. Read only.
    """

    def never_ending(model: LlamaForCausalLM) -> None:
        model.model.embed_tokens.weight[tiny_tokenizer.eos_token_id] = 0

    path = tmp_path_factory.mktemp("page") / "page-model"
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 16, "max_position_embeddings": 8192}
    return save_llama(path, tiny_tokenizer, 5, never_ending, **sizes)


@pytest.fixture(scope="session")
def page_adapter_path(page_model_path, tmp_path_factory) -> Path:
    """A random LoRA adapter for the page's model. Read only."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(6)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(page_model_path), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    path = tmp_path_factory.mktemp("page") / "page-adapter"
    model.save_pretrained(path)
    return path


@pytest.fixture
def start_app(tmp_path_factory):
    """Starts apps with options of their own, each with a fresh data folder unless one is given; whatever still runs
    after the test is stopped."""
    started: list[App] = []

    def start(*options: str, data: Path | None = None) -> App:
        started.append(App(data or tmp_path_factory.mktemp("data"), *options))
        return started[-1]

    yield start
    for app in started:
        if app.process.poll() is None:
            app.stop()


@pytest.fixture(scope="session")
def training_home(tmp_path_factory) -> Path:
    """The data folder of ``training_app``."""
    return tmp_path_factory.mktemp("training")


def until_stopped(running: App) -> Iterator[App]:
    """An app once it is ready, which is stopped at the end unless a test has done so."""
    try:
        running.wait_for_line("is ready on")
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


@pytest.fixture(scope="session")
def training_app(page_model_path, page_adapter_path, training_home):
    """One app for all tests that train; each leaves no run working. It takes uploads of 1 MB."""
    model = ("--model", str(page_model_path), "--adapter", str(page_adapter_path))
    running = App(training_home, *model, "--upload-mb", "1")
    yield from until_stopped(running)


@pytest.fixture(scope="session")
def app(page_model_path, page_adapter_path, tmp_path_factory):
    """One app for all tests that only ask and vote; it is ready to answer, in fp32 so that texts depend on no batch."""
    options = ("--model", str(page_model_path), "--adapter", str(page_adapter_path), "--precision", "fp32")
    running = App(tmp_path_factory.mktemp("data"), *options)
    yield from until_stopped(running)


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH: install Debian's package chromium")
    sync_api.expect.set_options(timeout=PATIENCE_MS)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def complaints():
    """What the browser complained of during a test; afterwards there must be nothing."""
    heard: list[str] = []
    yield heard
    assert heard == []


@pytest.fixture
def visit(request, browser, start_app, complaints):
    """Opens the page as a new visitor, of ``app`` where no other is named."""
    contexts, documents, cut_off, ended = [], [], [], []

    def complain(text, page):
        # A reload, or an app that goes away, ends the streams of gradio's client, which says so as errors of its own,
        # perhaps before the browser does.
        if "Connection errored out" in text:
            ended.append((page, text))
        elif "AbortError" not in text:
            complaints.append(text)
            if "net::ERR_" in text:
                cut_off.append(page)

    def open_page(url=None, width=1280, height=900, theme="light", stored=None):
        url = url or request.getfixturevalue("app").url
        context = browser.new_context(viewport={"width": width, "height": height}, permissions=["clipboard-read"])
        contexts.append(context)
        if stored:
            script = "([key, value]) => localStorage.setItem(key, value)"
            context.add_init_script(f"({script})({json.dumps(['lora-lens.comparisons.2', json.dumps(stored)])})")
        page = context.new_page()
        page.on("request", lambda request: request.is_navigation_request() and documents.append(page))
        page.on("console", lambda message: message.type == "error" and complain(message.text, page))
        page.on("pageerror", lambda error: complain(str(error), page))
        page.on(
            "request",
            lambda request: request.url.startswith((url, "data:", "blob:")) or complaints.append(request.url),
        )
        page.goto(f"{url}?__theme={theme}", wait_until="domcontentloaded")
        page.wait_for_selector(".ll-state")
        page.wait_for_selector(ASK_ALL)
        return page

    yield open_page
    complaints += [text for page, text in ended if documents.count(page) < 2 and page not in cut_off]
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def guarded_app(page_model_path, page_adapter_path, tmp_path_factory):
    """An app with an owner who shows one task of 120 questions and keeps another; a run and a database lie in its data
    folder. Nothing limits how often tests may call it."""
    data = tmp_path_factory.mktemp("data")
    (data / "tasks").mkdir()
    questions = "\n".join(f"- {{question: 'Q{n}?', answer: A{n}}}" for n in range(120))
    (data / "tasks" / "shown.yaml").write_text(
        f"name: shown\nscore: [contains]\nsettings: {{max_new_tokens: 2}}\nquestions:\n{questions}\n"
    )
    (data / "tasks" / "secret.yaml").write_text("name: secret\nshow: false\nquestions: ['Q?']\n")
    run = data / "runs" / "first"
    run.mkdir(parents=True)
    (run / "config.json").write_text("the run's config")
    (data / "ratings.sqlite").write_bytes(b"")
    model = ("--model", str(page_model_path), "--adapter", str(page_adapter_path))
    free = ("--asks-per-minute", "0", "--writes-per-minute", "0", "--requests-per-minute", "0")
    running = App(data, *model, "--auth", PASSWORD, *free)
    running.data = data
    yield from until_stopped(running)


@pytest.fixture(scope="session")
def fresh(page_model_path, page_adapter_path, tmp_path_factory):
    """An app of which one test counts all votes; others leave tasks of their own there, and no vote."""
    running = App(tmp_path_factory.mktemp("data"), "--model", str(page_model_path), "--adapter", str(page_adapter_path))
    try:
        running.wait_for_line("is ready on")
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def real_app(tmp_path_factory):
    """An app with the real 135M model and the adapter that comes with it."""
    running = App(tmp_path_factory.mktemp("data"))
    try:
        running.wait_for_line("is ready on")
        yield running
    finally:
        code = running.stop()
    assert code == 0


@pytest.fixture
def train(visit, training_app):
    """Opens the Train tab as a new visitor."""

    def open_page(**options):
        page = visit(training_app.url, **options)
        open_train(page)
        return page

    return open_page


@pytest.fixture(scope="session")
def data_file(tmp_path_factory):
    """A CSV file of small questions to train on."""
    return write_rows(tmp_path_factory.mktemp("rows"))
