"""Votes as preference pairs (``prompt``, ``chosen``, ``rejected``), the layout that preference trainers read.

Ties and "both are bad" prefer nothing, so they are not among the rows. All texts are as they were; in a CSV a cell that
a spreadsheet would take for a formula is defused with a leading apostrophe.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.ratings import VotedPair

COLUMNS = (
    "prompt", "chosen", "rejected", "chosen_side", "chosen_model", "rejected_model", "probe", "blind", "streaming",
    "left", "reasons", "comment", "voted_at", "session", "pair",
)  # fmt: skip
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
TYPES = {"csv": "text/csv", "jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}


def preference_rows(votes: Iterable[VotedPair]) -> list[dict[str, Any]]:
    """One row for each vote that prefers a side; ``voted_at`` in Unix seconds."""
    rows = []
    for pair, vote in ((voted.pair, voted.vote) for voted in votes):
        if vote.outcome not in ("base", "tuned"):
            continue
        chosen = pair.base if vote.outcome == "base" else pair.tuned
        rejected = pair.tuned if vote.outcome == "base" else pair.base
        values = (
            pair.question, chosen.text, rejected.text, vote.outcome, chosen.label, rejected.label, pair.probe or "",
            vote.blind, vote.streaming, pair.left, list(vote.reasons), vote.comment, vote.changed, vote.session,
            pair.id,
        )  # fmt: skip
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def export(votes: Iterable[VotedPair], form: str) -> tuple[bytes, int]:
    """A file's content in 'csv', 'jsonl' or 'parquet', and its number of rows. Raises UserError for another form."""
    if form not in WRITERS:
        raise UserError(f"Votes are exported as {', '.join(WRITERS)}: choose one of them.")
    rows = preference_rows(votes)
    return WRITERS[form](rows), len(rows)


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_defused(" ".join(cell) if isinstance(cell, list) else str(cell)) for cell in row.values()])
    return out.getvalue().encode("utf-8", "replace")


def _defused(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell


def _jsonl(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace")


def _parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    special = {"blind": pyarrow.bool_(), "streaming": pyarrow.bool_(), "voted_at": pyarrow.float64()}
    special["reasons"] = pyarrow.list_(pyarrow.string())
    schema = pyarrow.schema([(name, special.get(name, pyarrow.string())) for name in COLUMNS])
    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows), schema), out)
    return out.getvalue()


WRITERS: dict[str, Callable[[Sequence[dict[str, Any]]], bytes]] = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
