"""The card beside an adapter tells of the data that it was trained on, and of nobody's folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuning.training.adapter.lora import model_card

RECORD = Path(__file__).parents[3] / "stored" / "stopped_run" / "adapter" / "run_record.json"


@pytest.fixture
def record():
    return json.loads(RECORD.read_text())


def tags_of(card):
    return next(line for line in card.splitlines() if line.startswith("tags:"))


def test_own_data_is_told_by_name_and_number_and_not_as_python_questions(record):
    own = record | {"data": "/home/ann/secret/pirates.jsonl", "train_rows": 1234}
    own["config"] |= {"data": own["data"], "from_adapter": "/home/ann/secret/first"}
    own["config"] |= {"chat_template": "/home/ann/secret/own.jinja", "score_on": "/home/ann/t.yaml"}
    own["prompt_format"] = {"system": "Talk like a pirate.", "user": None}
    card = model_card("a/base", own)
    assert "trained with LoRA Lens on pirates.jsonl: 1,234 training rows." in card
    assert tags_of(card) == "tags: [lora, lora-lens]"
    assert 'System prompt: "Talk like a pirate."' in card
    assert "Python" not in card.split("## Every setting")[0]
    assert "/home/ann" not in card


def test_the_embedded_set_is_named_as_what_it_is(record):
    card = model_card("a/base", record | {"data": "python_qa"})
    assert "python" in tags_of(card)
    assert "(python_qa)" in card
