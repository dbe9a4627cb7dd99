"""A path through the matrix with every family and every kind of adapter on it (the whole: ``tests.matrix``)."""

from __future__ import annotations

import pytest

from tests.matrix.check import check
from tests.matrix.families import FAMILIES, write_model
from tests.matrix.kinds import KINDS

CELLS = [(FAMILIES[number % len(FAMILIES)], kind) for number, kind in enumerate(KINDS)]
MIXTURE = next(family for family in FAMILIES if family.model_type == "mixtral")
CELLS += [(MIXTURE, kind) for kind in KINDS if "experts" in kind.name]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("family", "kind"), CELLS, ids=[f"{family.title}: {kind.name}" for family, kind in CELLS])
def test_both_sides_write_what_transformers_and_peft_write(tmp_path, family, kind):
    cell = check(family, kind, write_model(family, tmp_path / "base"), tmp_path / "adapter")
    if cell.result == "peft refuses":
        pytest.skip(cell.detail)
    assert not cell.wrong, cell.detail


def test_the_path_meets_all_families_and_kinds():
    assert {family.title for family, _ in CELLS} == {family.title for family in FAMILIES}
    assert {kind.name for _, kind in CELLS} == {kind.name for kind in KINDS}
    assert len(FAMILIES) >= 25


@pytest.mark.filterwarnings("ignore")
def test_the_check_can_fail(tmp_path, monkeypatch):
    """With a merge that leaves the adapter out, the cell is wrong."""
    from eval_prompts.models import pair as pair_module

    monkeypatch.setattr(pair_module, "merge", lambda base, files, name: (pair_module.shared_copy(base), []))
    cell = check(FAMILIES[0], KINDS[0], write_model(FAMILIES[0], tmp_path / "base"), tmp_path / "adapter")
    assert cell.result == "DIFFERS"
