"""One line for each event, as text or as JSON, with the id of the request that it belongs to."""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
from contextvars import ContextVar
from typing import Literal

OURS = ("app", "eval_prompts", "space_config", "tuning")

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request that this task serves; threads started for it inherit the value."""


def new_request_id() -> str:
    """An id for one request, given here and never taken from a client. Becomes the current one."""
    request_id.set(secrets.token_hex(6))
    return request_id.get()


class _Stamp(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request = request_id.get()
        return True


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, request, message, and the ``fields`` of ``extra=``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end; line breaks in messages are escaped, so that nobody can forge a line."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "request": getattr(record, "request", ""),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """The same for people: ``12:30:05 warning 3f2a… message field=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; control characters of messages are escaped, those of a traceback are kept."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        words = [clock, record.levelname.lower(), getattr(record, "request", ""), record.getMessage()]
        words += [f"{name}={value}" for name, value in getattr(record, "fields", {}).items()]
        line = " ".join(word for word in words if word)
        line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def tell(text: str, *, failed: bool = False) -> None:
    """A line for whoever started the app: as it is, or as one of JSON where the log is that. Failures go to stderr."""
    forms = [handler.formatter for handler in logging.getLogger().handlers]
    if any(isinstance(form, JsonLines) for form in forms):
        level = logging.ERROR if failed else logging.INFO
        text = JsonLines().format(logging.LogRecord("app", level, "", 0, text, None, None))
    elif failed:
        text = f"error: {text}"
    print(text, file=sys.stderr if failed else sys.stdout, flush=True)


def set_up(form: Literal["text", "json"], level: str) -> None:
    """Send this process's log to stderr in one form. ``level`` is for our own loggers; libraries tell warnings only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(_Stamp())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(level.upper())
