"""Which rows a run learns from and is measured on: chosen and written down when it starts, listed later with how often
each was met."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.data.batches import Encoded, encode_rows
from tuning.data.chat import PYTHON_FORMAT, PromptFormat
from tuning.data.cleaning import digest
from tuning.errors import UserError
from tuning.files import write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tuning.data.dataset import DataSet
    from tuning.presets import Config
    from tuning.runs.run import Run

ROWS_FILE = "rows.json"


@dataclass(frozen=True)
class UsedRow:
    """A row's id, its split, and how often training has met it; held-out rows are measured, never trained."""

    id: str
    split: str
    met: int


def training_rows(tokenizer: PreTrainedTokenizerBase, data: DataSet, config: Config) -> Encoded:
    """The encoded training rows. Raises UserError, saying where the rows are, if there are none."""
    if not data.train:
        rows = "its only row" if len(data) == 1 else f"all of its {len(data):,} rows"
        raise UserError(
            f"{data.source} has no training rows: {rows} fell into the "
            f"{' and '.join(name for name in ('validation', 'test') if data.split(name))} split, which a row's text "
            "decides (80% train, 10% validation, 10% test): add more rows."
        )
    return encode_rows(tokenizer, data.train, config.max_tokens, "training", data.format, data.encoded)


def held_out(
    tokenizer: PreTrainedTokenizerBase, data: DataSet, split: str, most: int, config: Config, before: Sequence[str] = ()
) -> Encoded:
    """Encoded rows of a held-out split: those of ``before`` where a run goes on, else at most ``most``, chosen by their
    ids, so that the order of the data does not matter; none if there are none."""
    rows = data.split(split)
    if before:
        known = set(before)
        chosen = [row for row in rows if row.id in known]
    else:
        numbers = sorted(range(len(rows)), key=lambda at: digest("held-out", rows[at].id))[:most]
        chosen = [rows[at] for at in sorted(numbers)]
    if not chosen:
        return Encoded([])
    return encode_rows(tokenizer, chosen, config.max_tokens, "held-out", data.format, data.encoded)


def held_out_words(data: DataSet, validation: Encoded, test: Encoded) -> str:
    """What is said of the held-out rows before training."""
    words = []
    for name, used in (("validation", validation), ("test", test)):
        count, whole = len(set(used.ids)), len(data.split(name))
        if not whole:
            words.append(f"the data has no {name} rows")
        elif not count:
            words.append(f"none of {whole:,} {name} rows is used")
        else:
            words.append(f"{count:,} of {whole:,} {name} rows" + (", chosen by their ids" if count < whole else ""))
    told = "Held out: " + "; ".join(words) + "."
    return told if validation.ids else f"{told} Without validation rows the newest adapter counts as the best."


def record(folder: Path, dataset: DataSet, used: Mapping[str, Sequence[str]], max_steps: int) -> None:
    """Write the ids of the rows in use, by split, beside config.json, and into it what they were read from, in which
    prompt format they are trained, and how many steps the run has."""
    write_json(folder / ROWS_FILE, {split: list(ids) for split, ids in used.items()})
    path = folder / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["config"]["max_steps"] = max_steps
    write_json(path, settings | {"data": origin(dataset, used), "prompt_format": dataset.format.to_dict()})


def prompt_format(folder: Path) -> PromptFormat | None:
    """The prompt format of a run that has begun; None for one that has not. Before it was written down, it was always
    the Python task's."""
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if "prompt_format" in settings:
        return PromptFormat.from_dict(settings["prompt_format"])
    return PYTHON_FORMAT if settings.get("data") else None


def before(folder: Path) -> dict[str, list[str]]:
    """The ids of the rows of a run that has begun, by split; empty for one that has not."""
    try:
        found = json.loads((folder / ROWS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def origin(dataset: DataSet, used: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What rows were read from: for a table its name, its snapshot and the condition; else the source's revision."""
    from tuning.data.place import is_place, parse

    facts: dict[str, Any] = {"source": dataset.source, "fingerprint": dataset.fingerprint, "rows": ROWS_FILE}
    facts |= {"counts": {split: len(ids) for split, ids in used.items()}}
    if not is_place(dataset.source):
        return facts | {"revision": dataset.revision}
    place = parse(dataset.source)
    return facts | {"table": place.name, "where": place.where, "snapshot": dataset.revision}


def listed(run: Run) -> Iterator[UsedRow]:
    """The rows of a run, training rows first. Raises UserError if they were not written down."""
    try:
        used = json.loads((run.path / ROWS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"Run {run.name} has no list of rows: it has not read its data yet, or is older.") from error
    config = run.config()
    times = times_met_in(run, len(used["train"]), run.state().step, config)
    for split, ids in used.items():
        for number, row_id in enumerate(ids):
            yield UsedRow(row_id, split, times[number] if split == "train" else 0)


def times_met_in(run: Run, rows: int, steps: int, config: Config) -> list[int]:
    """How often each of ``rows`` training examples was met in the first steps of a run, whose own answers that a round
    of ``verified`` trains beside them count for nothing."""
    if config.objective != "verified":
        return times_met(rows, steps * config.batch_size, config.seed)
    times = [0] * rows
    told = {event["step"]: event for event in run.history() if event["event"] == "round"}
    begun = sorted(told)
    if not begun:  # the first round is still being asked
        return times
    for first, following in zip(begun, [*begun[1:], steps], strict=True):
        event = told[first]
        examples = (min(following, steps) - first) * config.batch_size
        met = times_met(rows + event["trained"], max(0, examples), config.seed + event["number"] - 1)
        times = [one + more for one, more in zip(times, met, strict=False)]
    return times


def times_met(rows: int, examples: int, seed: int) -> list[int]:
    """How often each of ``rows`` training rows is among the first ``examples`` (see :func:`batches.step_rows`)."""
    from tuning.data.batches import epoch_order

    epochs, rest = divmod(examples, rows)
    times = [epochs] * rows
    for number in epoch_order(rows, seed, epochs)[:rest]:
        times[number] += 1
    return times
