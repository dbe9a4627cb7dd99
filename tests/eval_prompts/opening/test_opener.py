"""Other models for an app that runs: what is wished and needed, the opening, what stays where it fails, and memory."""

from __future__ import annotations

import json
import shutil
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.answers import Settings
from eval_prompts.models.adapter_source import STARTERS, find, name_of
from eval_prompts.opening import opener as opening
from eval_prompts.opening.opener import Needs, Opener
from eval_prompts.opening.recent import MOST, adapters_here, recent, recent_file, remember
from eval_prompts.opening.wish import Wish
from eval_prompts.serving.lens import OTHERS_OPENED, Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.serving.readings import Readings
from tests.eval_prompts.models.random_adapter import random_adapter
from tuning.errors import UserError
from tuning.models import causal, device
from tuning.models.needs import NO_ROOM, Need
from tuning.models.weights import Choices

FEW = Settings(max_new_tokens=8)


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """A data folder of its own."""
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture(scope="module")
def other_path(tiny_model_path, tmp_path_factory):
    """Another model: one of the tiny one's weights is not the same. Read only."""
    from transformers import AutoModelForCausalLM

    folder = shutil.copytree(tiny_model_path, tmp_path_factory.mktemp("others") / "other-model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.model.norm.weight.data *= -1
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def lens(tiny_model_path, tiny_adapter_path):
    loader = LocalLoader(str(tiny_model_path), str(tiny_adapter_path), device="cpu", precision="fp32")
    with Lens(loader) as lens:
        lens.start()
        lens.wait_ready(60)
        yield lens


def texts(lens):
    return [answer.text for answer in lens.ask(["Same?"], FEW).result()]


def finished(opener):
    """What came of the opening that is under way."""
    for thread in threading.enumerate():
        if thread.name == "open":
            thread.join(60)
    return opener.progress()


def test_pairs_are_opened_in_turn_and_what_fails_changes_nothing(lens, other_path, tiny_model_path, tmp_path):
    opener = Opener(lens)
    before, first = texts(lens), opener.now
    assert first.base == str(tiny_model_path)
    assert Wish.of_loader(lens.loader).kind == "adapter"
    second = random_adapter(other_path, tmp_path / "second", ("q_proj",))

    def look(**wish):
        return opener.look(wish)

    told = look(kind="adapter", tuned=str(second))
    assert told["fits"]
    assert "loaded already" in told["words"][0]
    assert "trained on other-model" in " ".join(told["words"])
    weights = sum(path.stat().st_size for path in other_path.glob("*.safetensors"))
    assert look(base=str(other_path))["needed_bytes"] == pytest.approx(weights, rel=0.2)
    assert look(base=str(other_path), precision="bf16")["needed_bytes"] == pytest.approx(weights / 2, rel=0.2)
    both = look(base=str(other_path), kind="model", tuned=str(tiny_model_path))
    assert both["needed_bytes"] == pytest.approx(2 * weights, rel=0.2)

    readings = Readings(lens)
    report = readings.report()
    status = opener.open({"base": str(other_path), "kind": "adapter", "tuned": str(second)})
    assert (status["model"], status["adapter"]["name"], status["state"]) == ("other-model", "second", "ready")
    assert texts(lens) != before
    opened = texts(lens)
    assert opener.now == replace(first, base=str(other_path), tuned=str(second))
    assert readings.report()["modules"] != report["modules"]

    for wrong, words in (
        ({"base": str(tmp_path / "none")}, "no model"),
        ({"base": str(tmp_path)}, "no config.json"),
        ({"kind": "adapter", "tuned": str(tmp_path / "none")}, "no adapter folder"),
        ({"kind": "model", "tuned": ""}, "Name the tuned model"),
        ({"base": str(other_path), "precision": "int8", "kind": "none"}, "int8"),
        ({"base": str(other_path), "chat_template": "no-such-template"}, "no-such-template"),
        ({"base": str(other_path), "hold": "2bit"}, "4bit, 8bit"),
        ({"kind": "everything"}, "adapter, model, none"),
        ({"base": ["a"]}, "text"),
        ({"base": "a\0b"}, "text"),
        ({"base": "x" * 1001}, "1,000"),
    ):
        with pytest.raises(UserError, match=words) as raised:
            opener.open(wrong)
        assert "\n" not in str(raised.value)
        assert texts(lens) == opened, wrong
        assert lens.status().message == "ready"
    assert "template" in opener.progress()["error"]  # of the last that began

    running = lens.ask(["Long"], Settings(max_new_tokens=400))
    opener.begin({"base": str(tiny_model_path), "kind": "adapter", "tuned": first.tuned})
    with pytest.raises(UserError, match=OTHERS_OPENED):
        running.result()
    told = finished(opener)
    assert (told["opening"], told["error"]) == (False, "")
    assert "with adapter" in told["opened"]
    assert texts(lens) == before
    opener.open({"precision": "fp32"})  # the same base, and no adapter on it
    assert lens.status().adapter is None
    opener.open({"kind": "adapter", "tuned": first.tuned})
    assert texts(lens) == before
    assert [wish.kind for wish in recent()] == ["adapter", "none", "adapter"]
    assert recent()[2].base == str(other_path)


def test_a_base_that_stays_is_not_loaded_again_unless_its_files_have_changed(lens, other_path, tmp_path, monkeypatch):
    opener, opened = Opener(lens), []
    copy = shutil.copytree(other_path, tmp_path / "mine")
    opener.open({"base": str(copy)})
    monkeypatch.setattr(lens, "open", lambda loader, report: opened.append(loader.model))
    opener.open({"base": str(copy)})
    assert opened == []
    weights = next(copy.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    opener.open({"base": str(copy)})
    assert opened == [str(copy)]


def test_what_stands_against_opening_is_said(lens, other_path, monkeypatch):
    wish = {"base": str(other_path)}
    with pytest.raises(UserError, match="on ZeroGPU"):
        Opener(lens, closed="Not on ZeroGPU.").begin(wish)
    with pytest.raises(UserError, match="scoring"):
        Opener(lens, lambda: "The scoring x is at work.").open(wish)
    opener = Opener(lens)
    held, let_go = threading.Event(), threading.Event()

    def slowly(*_):
        held.set()
        assert let_go.wait(60)

    monkeypatch.setattr(lens, "open", slowly)
    opener.begin(wish)
    assert held.wait(60)
    assert (opener.progress()["opening"], opener.progress()["number"]) == (True, 0)
    assert opener.progress()["started"] not in ("", Opener(lens).progress()["started"])
    with pytest.raises(UserError, match="already"):
        opener.begin(wish)
    let_go.set()
    told = finished(opener)
    assert (told["opened"], told["opening"], told["number"]) == ("other-model alone (fp32)", False, 1)
    monkeypatch.setattr(lens, "open", lambda *_: 1 / 0)
    opener.begin(wish)
    assert "log says why" in finished(opener)["error"]
    monkeypatch.setattr(opening, "free_bytes", lambda device: 1000)
    with pytest.raises(UserError, match=r"other-model needs .* but 0.0 MB are free .*--model"):
        opener.open(wish)
    assert opener.look(wish)["fits"] is False


def test_what_will_be_held_in_bf16_is_counted_so(lens, other_path, tiny_model_path, tmp_path, monkeypatch):
    import torch
    from transformers import AutoModelForCausalLM

    bf16 = shutil.copytree(other_path, tmp_path / "bf16")
    AutoModelForCausalLM.from_pretrained(other_path, dtype=torch.bfloat16).save_pretrained(bf16)
    monkeypatch.setattr(device, "has_bf16", lambda name: True)
    opener, size = Opener(lens), causal.needed_bytes(bf16, 4)
    monkeypatch.setattr(opening, "free_bytes", lambda name: size)
    monkeypatch.setattr(causal, "free_bytes", lambda name: size)

    def look(**wish):
        return opener.look({"base": str(bf16), "precision": "auto"} | wish)

    told = look()
    assert (told["needed_bytes"], told["fits"], NO_ROOM in told["words"]) == (size, True, False)
    both = look(kind="model", tuned=str(bf16))
    assert (both["needed_bytes"], both["fits"], NO_ROOM in both["words"]) == (size, True, True)
    finer = look(kind="model", tuned=str(other_path))
    assert (finer["needed_bytes"], finer["fits"], NO_ROOM in finer["words"]) == (2 * size, False, False)
    size -= 1
    told = look()
    assert (told["needed_bytes"], told["fits"], NO_ROOM in told["words"]) == ((size + 1) // 2, True, True)
    assert look(precision="fp32")["needed_bytes"] == size + 1
    opener.open({"base": str(bf16), "precision": "auto"})  # as it was told
    assert lens.status().device == "CPU bf16"
    assert NO_ROOM in lens.status().notes
    assert look()["needed_bytes"] == 0
    tuned = random_adapter(other_path, tmp_path / "tuned", ("q_proj",))
    assert look(kind="adapter", tuned=str(tuned))["needed_bytes"] == (size + 1) // 2  # merged into copies, at most


@pytest.mark.parametrize("name", STARTERS)
def test_every_adapter_that_is_offered_can_be_looked_at_and_is_known_again(lens, name, monkeypatch):
    told = Opener(lens).look({"kind": "adapter", "tuned": name})
    assert told["needed_bytes"]
    assert find(name_of(STARTERS[name])) == STARTERS[name]
    assert name_of(STARTERS[name]) == name


def test_words_of_memory():
    part = Need("a", 10**9)
    assert "too little" in Needs(part, Need("b", 10**9), 15 * 10**8).words[0]
    assert Needs(part, Need("b", None, "fetched from the Hub first"), 2 * 10**9).fits is None
    assert Needs(part, None, 2 * 10**9).words == ["Memory: a 1.0 GB; 2.0 GB are free beside what is loaded now."]


def test_code_of_its_own_is_trusted_in_the_model_of_the_start_alone():
    started = LocalLoader("mine", None, choices=Choices("plain", True, True, True))
    again = Wish.of_loader(started)
    assert again.loader(started) == started
    others = Wish("theirs").loader(started)
    assert others.choices == Choices(None, None, False, True)


def test_zips_folders_and_runs_are_found(lens, tiny_adapter_path, data, tmp_path):
    runs = data / "runs"
    shutil.copytree(tiny_adapter_path, runs / "bare")
    shutil.copytree(tiny_adapter_path, runs / "around" / "inner")
    (runs / "nothing").mkdir()
    assert {"bare", "around", *STARTERS} == {each["name"] for each in adapters_here()}
    received = tmp_path / "received"
    received.mkdir()

    def sent(name, *files):
        with zipfile.ZipFile(received / name, "w") as archive:
            for file in files:
                archive.write(file, f"mine/{file.name}")
        return received / name

    opener = Opener(lens)
    folder = opener.received(sent("mine.zip", *tiny_adapter_path.iterdir()), received)
    assert folder.startswith(str(data))
    started = lens.status().adapter
    opener.open({"kind": "adapter", "tuned": folder})
    opened = lens.status().adapter
    assert (opened.path, opened.fingerprint) == (Path(folder), started.fingerprint)
    for name, words in (("empty.zip", "not an adapter"), ("mine.tar", "no zip")):
        with pytest.raises(UserError, match=words):
            opener.received(sent(name), received)
    with pytest.raises(UserError, match="not uploaded"):
        opener.received(tmp_path / "elsewhere.zip", received)
    assert list(received.iterdir()) == []


def test_a_damaged_memory_of_what_was_opened_is_no_reason_to_fail(data, caplog):
    assert recent() == []
    for number in range(MOST + 3):
        remember(Wish(f"model-{number}"))
    remember(Wish("model-5"))
    assert [wish.base for wish in recent()][:2] == ["model-5", "model-12"]
    assert len(recent()) == MOST
    for content in ("{", "[1]", '{"a": 1}', json.dumps([{"base": 3}]), "null"):
        recent_file().write_text(content)
        assert recent() == []
    assert "cannot be read" in caplog.text


KEYS = st.sampled_from(["base", "kind", "tuned", "precision", "hold", "thinking", "chat_template"])
VALUES = st.one_of(st.none(), st.text(max_size=5), st.integers(), st.lists(st.text(max_size=2)), st.just("adapter"))


@given(st.dictionaries(KEYS, VALUES))
def test_a_wish_is_one_or_refused(sent):
    try:
        wish = Wish.of(sent, Wish("base"))
    except UserError:
        return
    assert Wish.of(wish.to_dict()) == wish
