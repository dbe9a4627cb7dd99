"""Votes as preference pairs (``prompt``, ``chosen``, ``rejected``), the layout that preference trainers read.

In JSON lines and Parquet the three are lists of chat messages, as TRL's preference trainers read them: the prompt is
the very conversation that the models were given, system prompt included, and each answer is one message of the
assistant. A CSV, for spreadsheets, holds the bare question and the bare answers; there a cell that would be taken for
a formula is defused with a leading apostrophe. Ties and "both are bad" prefer nothing, so they are not among the rows.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from eval_prompts.votes.records import storable
from tuning.data.chat import prompt_messages
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.votes.store import VotedPair

COLUMNS = (
    "prompt", "chosen", "rejected", "chosen_side", "chosen_model", "rejected_model", "probe", "blind", "streaming",
    "left", "reasons", "comment", "voted_at", "session", "pair",
)  # fmt: skip
MESSAGES = ("prompt", "chosen", "rejected")
FORMULA_STARTS = "=+-@\N{MINUS SIGN}"
UNSEEN = ("C", "Z")
"""Unicode categories that a spreadsheet may skip before a formula: control and format characters, and separators."""
TYPES = {"csv": "text/csv", "jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}


def preference_rows(votes: Iterable[VotedPair]) -> list[dict[str, Any]]:
    """One row for each vote that prefers a side, with the bare texts; ``voted_at`` in Unix seconds."""
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
        rows.append(storable(dict(zip(COLUMNS, values, strict=True))))
    return rows


def as_messages(row: dict[str, Any]) -> dict[str, Any]:
    """A row with prompt, chosen and rejected as lists of messages, each with ``role`` and ``content``."""
    answers = {key: [{"role": "assistant", "content": row[key]}] for key in ("chosen", "rejected")}
    return row | {"prompt": prompt_messages(row["prompt"])} | answers


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
    return out.getvalue().encode("utf-8")


def _defused(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula, be its sign full-width or behind what is not seen."""
    if cell[:1] in ("\t", "\r", "\n"):
        return f"'{cell}"
    first = next((one for one in cell if unicodedata.category(one)[0] not in UNSEEN), "")
    return f"'{cell}" if first and unicodedata.normalize("NFKC", first)[0] in FORMULA_STARTS else cell


def _jsonl(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(as_messages(row), ensure_ascii=False) + "\n" for row in rows).encode("utf-8")


def _parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    text = pyarrow.string()
    messages = pyarrow.list_(pyarrow.struct([("role", text), ("content", text)]))
    special = {"blind": pyarrow.bool_(), "streaming": pyarrow.bool_(), "voted_at": pyarrow.float64()}
    special |= {"reasons": pyarrow.list_(text), **dict.fromkeys(MESSAGES, messages)}
    schema = pyarrow.schema([(name, special.get(name, text)) for name in COLUMNS])
    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist([as_messages(row) for row in rows], schema), out)
    return out.getvalue()


WRITERS: dict[str, Callable[[Sequence[dict[str, Any]]], bytes]] = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}
