"""What the app tells whoever started it, in both forms of its log."""

from __future__ import annotations

import json
import logging

import pytest

from space_config.server import logs


@pytest.fixture(autouse=True)
def loggers_as_they_were():
    """What a set-up changes, put back after the test."""
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, logs.OURS)]
    handlers, levels = root.handlers[:], [logger.level for logger in loggers]
    yield
    root.handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def test_people_read_the_lines_as_they_are(capsys):
    logs.set_up("text", "warning")
    logs.tell("LoRA Lens is at http://127.0.0.1:7860/")
    logs.tell("Port 7860 is not free.", failed=True)
    printed = capsys.readouterr()
    assert printed.out == "LoRA Lens is at http://127.0.0.1:7860/\n"
    assert printed.err == "error: Port 7860 is not free.\n"


def test_machines_read_json_only_also_at_the_quietest_level(capsys):
    logs.set_up("json", "error")
    logs.tell("one\ntwo")
    logs.tell("Port 7860 is not free.", failed=True)
    logging.getLogger("eval_prompts").error("an answer")
    printed = capsys.readouterr()
    (told,) = map(json.loads, printed.out.splitlines())
    failed, logged = map(json.loads, printed.err.splitlines())
    assert (told["level"], told["message"]) == ("info", "one\ntwo")
    assert (failed["level"], failed["message"]) == ("error", "Port 7860 is not free.")
    assert set(told) == set(logged)
