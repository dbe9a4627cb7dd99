"""What changed from one message of a stream to the next, in the edits that gradio's clients apply.

Gradio streams JSON as edits: ``[action, path, value]`` with ``replace``, ``append`` (to a string), ``add`` and
``delete``. Its own edits are wrong where a list within a list gets shorter (6.31 lowers the places of such deletions
once more for every list around them), which breaks a client or leaves it with another object. Here a list that gets
shorter is sent whole.
"""

from __future__ import annotations

from typing import Any

Edit = list[Any]


def diff(old: Any, new: Any, path: tuple[str | int, ...] = ()) -> list[Edit]:
    """The edits that make the JSON value ``new`` out of ``old``, which lies at ``path``."""
    if old is new:
        return []
    shorter = isinstance(old, list) and isinstance(new, list) and len(new) < len(old)
    if type(old) is not type(new) or shorter:
        return [["replace", list(path), new]]
    if isinstance(new, list):
        changes = [edit for place, value in enumerate(old) for edit in diff(value, new[place], (*path, place))]
        return changes + [["add", [*path, place], new[place]] for place in range(len(old), len(new))]
    if isinstance(new, dict):
        gone = [["delete", [*path, key], None] for key in old if key not in new]
        changes = [edit for key in new if key in old for edit in diff(old[key], new[key], (*path, key))]
        return gone + changes + [["add", [*path, key], new[key]] for key in new if key not in old]
    if old == new:
        return []
    if isinstance(new, str) and new.startswith(old):
        return [["append", list(path), new[len(old) :]]]
    return [["replace", list(path), new]]
