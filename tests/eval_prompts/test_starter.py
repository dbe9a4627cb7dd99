"""The committed starter adapter on the real model: it fits, it changes something, and its answers end."""

from __future__ import annotations

import json

import pytest

from eval_prompts.answers import Settings
from eval_prompts.models.adapter_source import STARTER
from eval_prompts.models.adapters import read_card
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.tasks.probes import PROBES
from tuning.data.place import EMBEDDED
from tuning.file_names import RECORD_FILE, WEIGHTS_FILE


@pytest.fixture(scope="module")
def answers():
    with Lens(LocalLoader(device="cpu")) as lens:
        stream = lens.ask([probe.question for probe in PROBES], Settings())
        lens.start()
        return stream.result()


def test_its_record_holds_recipe_data_and_losses():
    record = json.loads((STARTER / RECORD_FILE).read_text())
    assert record["data"] == EMBEDDED
    assert record["test_loss_after"] <= 0.75 * record["test_loss_before"]
    assert {"config", "data_fingerprint", "base_fingerprint", "versions"} <= set(record)
    card = read_card("starter")
    assert card.rank == record["config"]["rank"]
    assert card.loss_after < card.loss_before


def test_it_is_small_enough_to_be_committed():
    assert (STARTER / WEIGHTS_FILE).stat().st_size < 10_000_000


@pytest.mark.real
def test_every_tuned_probe_answer_ends_by_itself(answers):
    tuned = [answer for answer in answers if answer.side == "tuned"]
    assert [answer.state for answer in tuned] == ["ended"] * 5
    assert all("```python" in answer.text for answer in tuned)


@pytest.mark.real
def test_the_two_sides_answer_differently(answers):
    base, tuned = ([a.text for a in answers if a.side == side] for side in ("base", "tuned"))
    assert all(one != other for one, other in zip(base, tuned, strict=True))
    assert sum(map(len, tuned)) < sum(map(len, base))
