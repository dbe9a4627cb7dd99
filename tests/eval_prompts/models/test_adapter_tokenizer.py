"""An adapter's own tokenizer and template are used for its side, and another vocabulary is refused."""

from __future__ import annotations

import shutil
import threading

import pytest

from eval_prompts.answers import Settings
from eval_prompts.models.pair import with_adapter
from eval_prompts.stream import Stream
from tests.conftest import CHAT_TEMPLATE, build_tokenizer
from tuning.data.chat import encode_prompt
from tuning.errors import UserError

OWN_TEMPLATE = CHAT_TEMPLATE.replace("assistant\n", "helper\n").replace("'<|im_end|>'", "' :: ' + '<|im_end|>'")


@pytest.fixture
def adapter_copy(tmp_path, tiny_adapter_path):
    return shutil.copytree(tiny_adapter_path, tmp_path / "mine")


def test_without_a_tokenizer_of_its_own_both_sides_have_the_base_s(tiny_pair):
    assert tiny_pair.tokenizers["base"] is tiny_pair.tokenizers["tuned"] is tiny_pair.tokenizer


def test_a_copy_of_the_base_s_tokenizer_changes_nothing(adapter_copy, tiny_pair, tiny_weights, tiny_tokenizer):
    tiny_tokenizer.save_pretrained(adapter_copy)
    pair = with_adapter(tiny_pair, tiny_weights, str(adapter_copy))
    assert pair.tokenizers["tuned"] is pair.tokenizer
    assert not any("tokenizer" in note for note in pair.adapter.notes)


@pytest.mark.parametrize("whole", [True, False])
def test_its_template_is_used_for_its_side_alone(adapter_copy, tiny_pair, tiny_weights, engine_for, whole):
    if whole:
        own = build_tokenizer(pad_is_end=True)
        own.chat_template = OWN_TEMPLATE
        own.save_pretrained(adapter_copy)
    else:
        (adapter_copy / "chat_template.jinja").write_text(OWN_TEMPLATE)
    pair = with_adapter(tiny_pair, tiny_weights, str(adapter_copy))
    assert any("template of its own" in note for note in pair.adapter.notes)
    stream = Stream(["Reverse a string."], ("base", "tuned"), Settings(max_new_tokens=3))
    engine = engine_for(pair)
    engine.submit(stream)
    stream.result()
    base, tuned = stream.rows
    assert base.ids[: base.prompt_length] == encode_prompt(tiny_pair.tokenizer, "Reverse a string.")
    written = pair.tokenizer.decode(tuned.ids[: tuned.prompt_length])
    assert " ::" in written
    assert written.endswith("helper\n")


def test_what_waits_while_the_adapter_changes_is_laid_out_anew(
    adapter_copy, tiny_pair, tiny_weights, engine_for, monkeypatch
):
    from eval_prompts.decoding.choice import make_backend

    (adapter_copy / "chat_template.jinja").write_text(OWN_TEMPLATE)
    pair = with_adapter(tiny_pair, tiny_weights, str(adapter_copy))
    backend, changed = make_backend(tiny_pair, "fp32"), threading.Event()
    step = backend.advance

    def held(*arguments):
        assert changed.wait(60)
        return step(*arguments)

    monkeypatch.setattr(backend, "advance", held)
    engine = engine_for(tiny_pair, backend, max_rows=1)
    first = Stream(["One"], ("base",), Settings(max_new_tokens=2))
    waiting = Stream(["Two"], ("tuned",), Settings(max_new_tokens=3))
    engine.submit(first)
    engine.submit(waiting)
    engine.swap(make_backend(pair, "fp32"), pair.tokenizers)
    changed.set()
    waiting.result()
    row = waiting.rows[0]
    assert pair.tokenizer.decode(row.ids[: row.prompt_length]).endswith("helper\n")


def test_tokens_beyond_the_model_are_refused(adapter_copy, tiny_pair, tiny_weights):
    own = build_tokenizer(pad_is_end=True)
    own.add_tokens(["<one>", "<two>"])
    own.save_pretrained(adapter_copy)
    with pytest.raises(UserError, match="260 entries"):
        with_adapter(tiny_pair, tiny_weights, str(adapter_copy))


def test_another_vocabulary_is_refused(adapter_copy, tiny_pair, tiny_weights):
    import json

    build_tokenizer(pad_is_end=True).save_pretrained(adapter_copy)
    path = adapter_copy / "tokenizer.json"
    content = json.loads(path.read_text())
    tokens = list(content["model"]["vocab"])
    content["model"]["vocab"] = {token: number for number, token in enumerate(tokens[:4] + tokens[:3:-1])}
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="another vocabulary"):
        with_adapter(tiny_pair, tiny_weights, str(adapter_copy))
