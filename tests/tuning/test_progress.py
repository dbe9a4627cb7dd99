"""Progress that nobody asked for: a line in a log now and then."""

from __future__ import annotations

from tuning import progress


def test_a_log_gets_a_line_every_few_seconds_and_none_of_what_is_soon_over(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.reporting(None) as report:
        for second, words in ((1, "one"), (5, "two"), (6, "three"), (11, "four")):
            now[0] = 100.0 + second
            report(words, None)
    assert capsys.readouterr().err.splitlines() == ["two", "four"]


def test_who_asks_for_it_is_told_everything(capsys):
    heard = []
    with progress.reporting(lambda words, part: heard.append((words, part))) as report:
        report("reading", 0.5)
    assert heard == [("reading", 0.5)]
    assert capsys.readouterr().err == ""
