"""No command is silent while it works: a line every few seconds, and a bar on a terminal."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

from eval_prompts import progress
from eval_prompts.progress import Progress, told_loading


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_where_nobody_sees_a_bar_a_line_comes_every_few_seconds(monkeypatch, capsys):
    clock = iter([0.0, 1.0, 6.0, 7.0, 12.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with Progress(9, "texts") as shown:
        for done in range(1, 5):
            shown.show(done, "40 tokens" if done > 2 else "")
    assert capsys.readouterr().err.splitlines() == ["2 of 9 texts, 6 s", "4 of 9 texts, 12 s, 40 tokens"]


def test_a_terminal_has_a_bar_and_the_share_of_what_is_loaded(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(0) as shown:
        shown.of(3, 8, "40 tokens")
        shown._bar.refresh()
        assert "3/8" in sys.stderr.getvalue()
        assert "40 tokens" in sys.stderr.getvalue()
    told_loading("loading the base")
    told_loading("loading the base", 0.5)
    assert "loading the base\n\rloading the base 50%" in sys.stderr.getvalue()
