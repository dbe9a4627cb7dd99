"""``python -m tests.matrix``: every family with every kind of adapter; the table is written into docs/models.md.

Plain LoRA is asked in every chat template, every other kind in one of them in turn, so that each family and each kind
meets them all.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from tests.matrix.check import Cell, check
from tests.matrix.families import FAMILIES, Family, write_model
from tests.matrix.kinds import KINDS, Kind
from tests.matrix.templates import TEMPLATES, Template

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- matrix -->", "<!-- end of the matrix -->"
MOST_NAMED = 6
MARKS = {"equal": "=", "tie": "=", "peft refuses": "–", "refused": "refused", "DIFFERS": "DIFFERS"}


def table(cells: Sequence[Cell]) -> str:
    """The cells as Markdown: a row for each kind of adapter, a column for each family would be too wide, so families
    that come out alike share a line."""
    lines = ["| adapter | equal | peft refuses | wrong |", "| --- | --- | --- | --- |"]
    for kind in dict.fromkeys(cell.kind for cell in cells):
        row = [cell for cell in cells if cell.kind == kind]
        equal = [cell for cell in row if MARKS[cell.result] == "="]
        none = [cell.family for cell in row if cell.result == "peft refuses"]
        wrong = [cell.family for cell in row if cell.wrong]
        ties = sum(cell.result == "tie" for cell in row)
        count = f"{len(equal)} of {len(row)}" + (f" ({ties} with a tie)" if ties else "")
        refusing = ", ".join(none) if len(none) <= MOST_NAMED else f"{len(none)} families"
        lines.append(f"| {kind} | {count} | {refusing or '–'} | {', '.join(wrong) or '–'} |")
    lines += ["", "| chat template | equal | peft refuses | wrong |", "| --- | --- | --- | --- |"]
    for template in dict.fromkeys(cell.template for cell in cells):
        row = [cell for cell in cells if cell.template == template]
        equal = sum(MARKS[cell.result] == "=" for cell in row)
        none = sum(cell.result == "peft refuses" for cell in row)
        wrong = [f"{cell.family} with {cell.kind}" for cell in row if cell.wrong]
        lines.append(f"| {template} | {equal} of {len(row)} | {none} | {', '.join(wrong) or '–'} |")
    families = list(dict.fromkeys(cell.family for cell in cells))
    return f"{len(families)} families: {'; '.join(families)}.\n\n" + "\n".join(lines)


def templates_of(family: int, kind: int) -> tuple[Template, ...]:
    """The templates in which a family and a kind, by number, are asked."""
    return TEMPLATES if kind == 0 else (TEMPLATES[(family + kind) % len(TEMPLATES)],)


def write_docs(text: str) -> None:
    """Put the table between its marks in docs/models.md."""
    page = DOCS.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCS.write_text(f"{before.rstrip()}\n\n{BEGIN}\n\n{text}\n\n{END}\n{after.lstrip()}", encoding="utf-8")


def main() -> int:
    """Run the matrix; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--families", help="only those whose name contains one of these, comma-separated")
    parser.add_argument("--kinds", help="only those whose name contains one of these, comma-separated")
    parser.add_argument("--write", action="store_true", help="write the table into docs/models.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    families = [(at, each) for at, each in enumerate(FAMILIES) if chosen(each.title, options.families)]
    kinds = [(at, each) for at, each in enumerate(KINDS) if chosen(each.name, options.kinds)]
    cells = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, family in families:
            base = write_model(family, Path(scratch) / f"base-{number}")
            for index, kind in kinds:
                folder = Path(scratch) / f"adapter-{number}-{index}"
                for cell in cells_of(family, kind, base, folder, templates_of(number, index)):
                    cells.append(cell)
                    words = f"{cell.family:20} {cell.kind:26} {cell.template:24} {cell.result:13}"
                    print(f"{words} {cell.detail[:200]}", flush=True)
    print(table(cells))
    if options.write:
        write_docs(table(cells))
    return int(any(cell.wrong for cell in cells))


def cells_of(family: Family, kind: Kind, base: Path, folder: Path, templates: Sequence[Template]) -> list[Cell]:
    """The cells of a family and a kind; an unforeseen error is a wrong cell, and the others go on."""
    try:
        return check(family, kind, base, folder, templates)
    except Exception as error:
        words = f"{type(error).__name__}: {error}".splitlines()[0]
        return [Cell(family.title, kind.name, each.name, "DIFFERS", words) for each in templates]


def chosen(name: str, wish: str | None) -> bool:
    """Whether a name is asked for."""
    return wish is None or any(part.strip().lower() in name.lower() for part in wish.split(","))


if __name__ == "__main__":
    sys.exit(main())
