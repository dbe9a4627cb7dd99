"""A path through the matrix with every family and every kind of adapter on it (the whole: ``tests.matrix``)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.matrix.check import check
from tests.matrix.families import FAMILIES, write_model
from tests.matrix.kinds import KINDS
from tests.matrix.templates import TEMPLATES

CELLS = [
    (FAMILIES[number % len(FAMILIES)], kind, TEMPLATES[number % len(TEMPLATES)]) for number, kind in enumerate(KINDS)
]
MIXTURE = next(family for family in FAMILIES if family.model_type == "mixtral")
CELLS += [(MIXTURE, kind, TEMPLATES[1]) for kind in KINDS if "experts" in kind.name]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("family", "kind", "template"),
    CELLS,
    ids=[f"{family.title}: {kind.name}, {each.name}" for family, kind, each in CELLS],
)
def test_both_sides_write_what_transformers_and_peft_write(tmp_path, family, kind, template):
    [cell] = check(family, kind, write_model(family, tmp_path / "base"), tmp_path / "adapter", [template])
    if cell.result == "peft refuses":
        pytest.skip(cell.detail)
    assert not cell.wrong, cell.detail


def test_the_path_meets_all_families_and_kinds():
    assert {family.title for family, _, _ in CELLS} == {family.title for family in FAMILIES}
    assert {kind.name for _, kind, _ in CELLS} == {kind.name for kind in KINDS}
    assert {template.name for _, _, template in CELLS} == {template.name for template in TEMPLATES}
    assert len(FAMILIES) >= 25


@pytest.mark.filterwarnings("ignore")
def test_the_check_can_fail(tmp_path, monkeypatch):
    """With a merge that leaves the adapter out, the cell is wrong."""
    from eval_prompts.models import pair as pair_module

    monkeypatch.setattr(pair_module, "merge", lambda base, files, name: (pair_module.shared_copy(base), []))
    base = write_model(FAMILIES[0], tmp_path / "base")
    cells = check(FAMILIES[0], KINDS[0], base, tmp_path / "adapter", TEMPLATES[:2])
    assert [cell.result for cell in cells] == ["DIFFERS", "DIFFERS"]
    wrong = replace(TEMPLATES[0], prompt=lambda system, user: TEMPLATES[0].prompt("", user))
    monkeypatch.undo()
    [cell] = check(FAMILIES[0], KINDS[0], base, tmp_path / "other", [wrong])
    assert cell.result == "DIFFERS"
