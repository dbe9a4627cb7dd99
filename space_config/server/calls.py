"""What a request's body asks for: which endpoint, with which files. Nothing here trusts a word of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tuning.data.reading.text_files import COMPRESSIONS, KINDS, kind_of

UPLOADED_SUFFIXES = frozenset({*KINDS, ".txt", ".md", ".yaml", ".yml", ".safetensors", ".zip"})
"""Beside these, text files of data may come compressed, each by itself (``rows.csv.gz``)."""
ZIPPED, GZIP = (".xlsx", ".zip"), ".gz"
"""Workbooks and adapters come as zips: whoever takes one looks into it before anything is unpacked."""
FILE_NAME = re.compile(rb"filename\*?=(?:\"((?:[^\"\\\r\n]|\\.)*)\"|([^;\r\n]*))", re.IGNORECASE)
BOUNDARY = re.compile(r"boundary=(?:\"([^\"]+)\"|([^;\s]+))", re.IGNORECASE)
DIRECT = "predict"
"""What gradio's page writes in place of a name where it calls a function by its number and past the queue."""
UNKNOWN = "(unknown)"
FAULT = "Something went wrong on the server, and its log says what."
DEEPEST = 32
"""Levels of a call's JSON. The page's own calls have six; gradio fails beyond a few hundred."""


class Refused(Exception):
    """A request that is not served: the HTTP status, one line that says why, and the seconds to wait, if any."""

    def __init__(self, status: int, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after


@dataclass(frozen=True)
class Names:
    """The names of the page's functions: by gradio's function number, and by (component number, function)."""

    functions: Mapping[int, str]
    components: Mapping[int, str]

    def of(self, path: str, in_path: str | None, sent: dict[str, Any]) -> set[str]:
        """All endpoints that gradio could take this call for; each of them has to be allowed.

        A number goes before a name in gradio. Raises Refused for a call that names nothing.
        """
        if path.endswith("/component_server"):
            component, function = sent.get("component_id"), sent.get("fn_name")
            if type(component) is not int or not isinstance(function, str):
                raise Refused(400, "The call names no function.")
            return {f"{self.components.get(component, UNKNOWN)}/{function}"}
        number = sent.get("fn_index")
        if number is not None and type(number) is not int:
            raise Refused(400, "The call's fn_index is not a number.")
        if number is None and in_path is None:
            raise Refused(400, "The call names no function.")
        if number is not None and in_path == DIRECT and DIRECT not in self.functions.values():
            in_path = None
        names = {in_path} if in_path is not None else set()
        return names if number is None else names | {self.functions.get(number, UNKNOWN)}


def parse(body: bytes) -> dict[str, Any]:
    """A body as a JSON object. Raises Refused for anything else, NaN and infinities included."""

    def no_number(word: str) -> float:
        raise ValueError(word)

    try:
        sent = json.loads(body or b"{}", parse_constant=no_number)
    except (ValueError, RecursionError):
        raise Refused(400, "The request is not valid JSON.") from None
    if not isinstance(sent, dict):
        raise Refused(400, "The request is not a JSON object.")
    if _depth(sent) > DEEPEST:
        raise Refused(400, f"The request is nested too deeply: at most {DEEPEST} levels are read.")
    return sent


def _depth(value: Any) -> int:
    """Levels of lists and objects inside one another."""
    level, depth = [value], 0
    while level:
        depth += 1
        level = [
            part
            for parts in level
            for part in (parts.values() if isinstance(parts, dict) else parts)
            if isinstance(part, dict | list)
        ]
    return depth


def dump(sent: dict[str, Any]) -> bytes:
    """The object as gradio gets it: what was checked, and not what another parser might have read from the bytes.

    Raises Refused for half characters (lone surrogates), which JSON can write and no text can hold.
    """
    try:
        return json.dumps(sent, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Refused(400, "The request holds a character that is no text: remove it.") from None


def check_files(sent: dict[str, Any], may_name: bool = True) -> None:
    """Raise Refused if a file that a call names is an address, which gradio would fetch, or leaves its folder; and if
    it names any where it may not: gradio tells where on this machine a file would be."""
    waiting: list[Any] = [sent.get("data"), sent]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if not may_name and "meta" in value and "path" in value:
                raise Refused(400, "Calls of visitors hold no files.")
            for key in ("path", "url"):
                named = value.get(key)
                if "meta" in value and isinstance(named, str) and (":" in named[:12] or ".." in named.split("/")):
                    raise Refused(400, "Files are uploaded: addresses of files elsewhere are not fetched.")
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def check_upload(body: bytes, content_type: str) -> None:
    """Raise Refused unless every file of a multipart body is text, a table, safetensors or a zip, by a plain name."""
    boundary = BOUNDARY.search(content_type)
    if boundary is None:
        raise Refused(400, "Files are uploaded as multipart/form-data.")
    for part in body.split(b"--" + (boundary[1] or boundary[2]).encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        names = [(quoted or plain).decode("utf-8", "replace").strip() for quoted, plain in FILE_NAME.findall(head)]
        if not names:
            raise Refused(400, "The file has no name: choose a file.")
        for name in names:
            if not name or "/" in name or "\\" in name or "%" in name or name.startswith("."):
                raise Refused(400, "The file's name is no plain name: rename it.")
            if PurePosixPath(name).suffix.lower() not in UPLOADED_SUFFIXES and kind_of(Path(name)) is None:
                kinds = ", ".join(sorted(UPLOADED_SUFFIXES))
                raise Refused(415, f"Only {kinds} can be uploaded, and text of data as {' or '.join(COMPRESSIONS)}.")
        packed = {b"PK\x03\x04": ZIPPED, b"\x1f\x8b": GZIP}
        for mark, ending in packed.items():
            if content.startswith(mark) and not all(name.lower().endswith(ending) for name in names):
                raise Refused(415, "Archives are not taken: upload the files themselves.")
