"""Answers on a terminal, written while they grow."""

from __future__ import annotations

from types import SimpleNamespace

from eval_prompts.answers import Answer, Settings
from eval_prompts.asking import print_streaming


def test_answers_are_printed_as_they_are_written(capsys):
    """What the terminal shows is looked at between two looks at the stream."""
    texts, shown = (["", "He", "Hello th", "Hello there"], ["", "", "Yo", "Yo!"]), []

    def snapshots():
        for at in range(4):
            states = ("streaming" if at < 2 else "ended", "streaming" if at < 3 else "ended")
            told = (text[at] if state == "streaming" else text[-1] for text, state in zip(texts, states, strict=True))
            yield [
                Answer(side, 0, "Hi", text, state=state)
                for side, text, state in zip(("base", "tuned"), told, states, strict=True)
            ]
            shown.append(capsys.readouterr().out)

    lens = SimpleNamespace(ask=lambda *_: SimpleNamespace(snapshots=snapshots))
    print_streaming(lens, [None], Settings(), ("base", "tuned"))
    assert shown[:2] == ["", "── base ──\nHe"]
    assert shown[2].startswith("llo there\n(")
    assert shown[2].endswith("── tuned ──\nYo")
    assert shown[3].startswith("!\n(")
