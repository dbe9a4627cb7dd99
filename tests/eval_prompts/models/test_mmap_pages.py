"""Pages of weight files go back to the system, and nothing else does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from eval_prompts.models.mmap_pages import mapped_weight_files, release_pages


def file_pages_kb() -> int:
    """Resident memory of this process that a file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux can")
def test_a_mapped_weight_gives_its_memory_back_and_keeps_its_values(tmp_path):
    values = torch.arange(8 << 20, dtype=torch.float32)
    save_file({"weight": values}, tmp_path / "model.safetensors")
    weight = load_file(tmp_path / "model.safetensors")["weight"]
    assert torch.equal(weight, values)
    if not any(low <= weight.data_ptr() < high for low, high in mapped_weight_files()):
        pytest.skip("this safetensors copies")
    before = file_pages_kb()
    release_pages([weight])
    assert file_pages_kb() < before - 20_000
    assert torch.equal(weight, values)


def test_a_tensor_that_no_file_backs_stays_what_it_is():
    values = torch.arange(1 << 20, dtype=torch.float32)
    copy = values.clone()
    release_pages([copy])
    assert torch.equal(copy, values)
