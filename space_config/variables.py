"""The variables that have no option, and those of the environment that nothing reads."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

VARIABLES = {
    "ADMIN_PASSWORD": "the owner's password, where `--auth` is not given",
    "DATABASE_URL": "where votes are kept, where `--ratings` is not given",
    "LORA_LENS_CACHE": "the folder of the converted model; without it the user's cache folder",
    "LORA_LENS_DATA": "the folder of runs, votes and uploads; without it the user's data folder",
    "LORA_LENS_JUDGE_KEY": "the key of the endpoint at which a judge model is asked",
    "HF_TOKEN": "the Hub's token: for gated models, pushing adapters, the votes' mirror and deploying",
    "MOTHERDUCK_TOKEN": "MotherDuck's token, for tables in its databases",
    "LORA_LENS_INGEST_SOURCE": "the Dagster job's data source",
    "LORA_LENS_INGEST_TARGET": "the Dagster job's database",
    "LORA_LENS_INGEST_TABLE": "the Dagster job's table",
}
PREFIX = "LORA_LENS_"


def unread(given: Iterable[str], settings: Iterable[str]) -> list[str]:
    """A sentence for each of the ``given`` variables that is named as the app's own and read by nothing, such as a
    misspelt one; ``settings`` are the options' names."""
    known = [*(name.upper() for name in settings), *(name.removeprefix(PREFIX) for name in VARIABLES)]
    told = []
    for name in sorted(name for name in given if name.upper().startswith(PREFIX)):
        own = name.upper().removeprefix(PREFIX)
        if own in known:
            continue
        close = difflib.get_close_matches(own, known, n=1, cutoff=0.7)
        hint = f"did you mean {PREFIX}{close[0]}?" if close else "docs/settings.md has all."
        told.append(f"Nothing reads the variable {name}: {hint}")
    return told
