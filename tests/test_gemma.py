"""A second real model, Gemma 3 270M: asked, trained for 20 steps, compared, exported whole, and compared again."""

from __future__ import annotations

import json

import pytest

from eval_prompts.answers import Settings
from eval_prompts.rows import Prompt
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from tests.gemma import NotToBeHad, gemma_gguf
from tuning.__main__ import main as tuning

CAPITALS = {
    **{"France": "Paris", "Japan": "Tokyo", "Italy": "Rome", "Spain": "Madrid", "Egypt": "Cairo", "Peru": "Lima"},
    **{"Norway": "Oslo", "Greece": "Athens", "Poland": "Warsaw", "Austria": "Vienna", "Cuba": "Havana"},
    **{"Iran": "Tehran", "Ghana": "Accra", "Turkey": "Ankara", "Portugal": "Lisbon", "Kenya": "Nairobi"},
}
QUESTION = "What is the capital of Germany?"
SETTINGS = Settings(max_new_tokens=24)
EMBEDDING_MB = 262_144 * 640 * 4 / 2**20


@pytest.fixture(scope="module")
def gemma() -> str:
    try:
        return str(gemma_gguf())
    except NotToBeHad as error:
        pytest.skip(f"Gemma 3 270M cannot be downloaded here: {error}")


def answers(loader: LocalLoader) -> tuple[list[str], list[str], Lens]:
    """Both sides' answers and their states, and the lens that gave them."""
    lens = Lens(loader)
    with lens:
        lens.start()
        lens.wait_ready(300)
        told = lens.ask([Prompt(QUESTION, ({"role": "user", "content": QUESTION},))], SETTINGS).result()
        assert any("no chat template" in note for note in lens.status().notes)
    return [answer.text for answer in told], [answer.state for answer in told], lens


@pytest.mark.real
def test_gemma_is_asked_trained_compared_exported_and_compared_again(gemma, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "data"))
    rows = tmp_path / "rows.jsonl"
    pairs = [
        {"question": f"What is the capital of {land}?", "answer": f"Ahoy! {city}, captain."}
        for land, city in CAPITALS.items()
    ]
    rows.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    run = tmp_path / "run"
    arguments = ["train", "--model", gemma, "--data", rows, "--prompt-format", "plain", "--run-dir", run, "--quiet"]
    arguments += ["--max-steps", 20, "--batch-size", 1, "--warmup-steps", 2, "--learning-rate", 0.001, "--rank", 8]
    arguments += ["--validation-rows", 1, "--validate-every", 20, "--sample-every", 0, "--dropout", 0, "--alpha", 16]
    assert tuning([str(each) for each in arguments]) == 0
    record = json.loads((run / "adapter" / "run_record.json").read_text())
    assert record["steps"] == 20
    assert record["loss_after"] < record["loss_before"] / 2

    (base, tuned), states, _ = answers(LocalLoader(gemma, str(run)))
    assert not base.startswith("Ahoy!")
    assert tuned.startswith("Ahoy!")
    assert states[1] == "ended"  # a base model without a template learns where an answer ends

    whole = tmp_path / "whole"
    assert tuning([str(each) for each in ["export", run, whole, "--merged"]]) == 0
    again, _, lens = answers(LocalLoader(gemma, None, tuned_model=str(whole)))
    assert again == [base, tuned]
    [note] = [note for note in lens.status().adapter.notes if "bit for bit" in note]
    assert float(note.split()[2].replace(",", "")) > EMBEDDING_MB
