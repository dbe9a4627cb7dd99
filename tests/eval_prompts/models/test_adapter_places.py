"""Adapters by their names on the Hub, with revision and folder, and those that MLX wrote."""

from __future__ import annotations

import json
import shutil

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from eval_prompts.models.adapter_source import find
from eval_prompts.models.pair import with_adapter
from tests.eval_prompts.models.random_adapter import random_adapter
from tuning.errors import UserError


@pytest.fixture
def hub(tmp_path, tiny_adapter_path, monkeypatch):
    """A repository with an adapter at its top and one in a folder, in two revisions; tells what was asked for."""
    asked = []
    for revision in ("main", "v1"):
        top = shutil.copytree(tiny_adapter_path, tmp_path / "hub" / revision)
        shutil.copytree(tiny_adapter_path, top / "checkpoint-10")

    def snapshot_download(repo_id, revision=None, allow_patterns=None, **options):
        asked.append((repo_id, revision))
        return str(tmp_path / "hub" / (revision or "main"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub", asked


@pytest.mark.parametrize(
    ("name", "revision", "folder"),
    [
        ("owner/name", "main", ""),
        ("owner/name@v1", "v1", ""),
        ("owner/name/checkpoint-10", "main", "checkpoint-10"),
        ("owner/name@v1/checkpoint-10", "v1", "checkpoint-10"),
        ("owner/name/checkpoint-10@v1", "v1", "checkpoint-10"),
        ("https://huggingface.co/owner/name/tree/v1/checkpoint-10", "v1", "checkpoint-10"),
    ],
)
def test_revision_and_folder_on_the_hub(hub, name, revision, folder):
    root, asked = hub
    assert find(name) == root / revision / folder
    assert asked == [("owner/name", None if revision == "main" else revision)]


def test_a_pickle_on_the_hub_is_named_though_it_is_not_fetched(hub, monkeypatch):
    root, _ = hub
    (root / "main" / "adapter_model.safetensors").unlink()
    files = ["adapter_config.json", "adapter_model.bin", "checkpoint-10/adapter_config.json"]
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda self, repo, revision=None: files)
    with pytest.raises(UserError, match="owner/name is a pickle"):
        find("owner/name")


@pytest.mark.parametrize(
    "parameters", [{"rank": 4, "scale": 2.0, "dropout": 0.0}, {"rank": 4, "alpha": 8.0, "dropout": 0.0}]
)
def test_an_adapter_of_mlx_is_pefts_the_other_way_round(tmp_path, tiny_pair, tiny_weights, tiny_model_path, parameters):
    """mlx_lm stores [in, rank] and [rank, out], and multiplies with a scale of its own: here 8 / 4."""
    theirs = random_adapter(tiny_model_path, tmp_path / "peft", ("q_proj", "down_proj"))
    mlx = tmp_path / "mlx"
    mlx.mkdir()
    named = {}
    for name, factor in load_file(theirs / "adapter_model.safetensors").items():
        path, _, which = name.removeprefix("base_model.model.").rpartition(".lora_")
        named[f"{path}.lora_{which[0].lower()}"] = factor.T.contiguous()
    save_file(named, mlx / "adapters.safetensors")
    config = {"fine_tune_type": "lora", "model": "owner/tiny", "num_layers": 2, "lora_parameters": parameters}
    (mlx / "adapter_config.json").write_text(json.dumps(config))
    one, other = (with_adapter(tiny_pair, tiny_weights, str(folder)) for folder in (theirs, mlx))
    ids = torch.arange(4, 40)[None]
    with torch.inference_mode():
        torch.testing.assert_close(one.tuned(ids).logits, other.tuned(ids).logits)
    assert any("MLX" in note for note in other.adapter.notes)
