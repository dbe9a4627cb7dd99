"""What preference training measures against: log p of both answers of every pair under the model as the run begins.

Computed once, before the first step, and kept beside the run: a resumed run has the same numbers, and no second model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from tuning.data.chat import Pair, Unit
from tuning.files import write_json
from tuning.kernels.memory import is_out_of_memory
from tuning.training.objectives import PairLosses, only_pairs
from tuning.training.step import Session, in_passes

REFERENCE_FILE = "reference.json"
TOLD_SECONDS = 15.0


def with_references(
    session: Session, folder: Path, units: dict[str, Unit], identity: Mapping[str, str]
) -> dict[str, Unit]:
    """The pairs of a run by id, each with its reference; ``session`` holds the model as the run begins.

    Those that ``folder`` knows of the same base and data (``identity``) are read, the rest computed, each process its
    share, and written by the first. Raises UserError if one pair does not fit into memory.
    """
    known = kept(folder, identity)
    missing = {name: unit for name, unit in units.items() if name not in known}
    if missing:
        session.say(f"Reference: log p of both answers of {len(missing):,} pairs under the model as it begins.")
        known |= dict(zip(missing, log_probs(session, only_pairs(list(missing.values()))), strict=True))
        if session.ranks.first:
            write_json(folder / REFERENCE_FILE, {"of": dict(identity), "log_probs": known})
    pairs = only_pairs([*units.values()])
    return {name: replace(pair, reference=known[name]) for name, pair in zip(units, pairs, strict=True)}


def kept(folder: Path, identity: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """What a run that has begun knows of that base and data; empty for one that has not, and where they have changed
    since, as they may before the first checkpoint, or a file of an earlier version does not say."""
    try:
        found = json.loads((folder / REFERENCE_FILE).read_text(encoding="utf-8"))
        if "of" not in found or found["of"] != dict(identity):
            return {}
        return {name: (float(chosen), float(rejected)) for name, (chosen, rejected) in found["log_probs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


@torch.no_grad()
def log_probs(session: Session, pairs: Sequence[Pair]) -> list[tuple[float, float]]:
    """Summed log p of both answers of every pair, in nats, without dropout, each process taking its share."""
    session.model.eval()
    ranks = session.ranks
    found = torch.zeros(len(pairs), 2, device=session.forward.head.device)
    places = {id(pair): at for at, pair in enumerate(pairs)}
    share = pairs[ranks.rank :: ranks.count]
    told, done = time.monotonic(), 0

    def run(rows: list[Unit]) -> bool:
        nonlocal told, done
        mine = only_pairs(rows)
        try:
            losses = PairLosses.of(session.forward, mine, range(len(mine)), 0)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        found[[places[id(pair)] for pair in mine]] = -torch.stack([losses.chosen, losses.rejected], dim=1)
        done += len(mine)
        if time.monotonic() - told >= TOLD_SECONDS:
            told = time.monotonic()
            session.say(f"Reference: {done:,} of {len(share):,} pairs.")
        return True

    in_passes(session, share, run)
    ranks.add([found])
    return [(chosen, rejected) for chosen, rejected in found.tolist()]
