"""The record that lies with an adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tuning.file_names import RECORD_FILE


def record_of(adapter: Path) -> dict[str, Any]:
    """The record that lies with an adapter: ``steps`` it was trained for, ``loss_after`` (its validation loss) and
    more. Empty if there is none."""
    try:
        found = json.loads((adapter / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
