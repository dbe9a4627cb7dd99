"""What every command line has in common: a mistake is one line that says what was meant, and the version."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tuning import __version__
from tuning.errors import UserError
from tuning.upstream.argparse_parts import Subcommands, actions

CHOICES = re.compile(r"argument (?P<name>[\w-]+): invalid choice: '(?P<given>.*?)' \(choose from (?P<choices>.*)\)")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are UserErrors: one line with the nearest name, in place of the whole usage."""

    def error(self, message: str) -> typing.NoReturn:
        """Raises UserError."""
        raise UserError(f"{self.in_words(message)} (see {self.prog} --help)")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse, but what is not known is looked up among the options of the command that was given."""
        options, rest = self.parse_known_args(args, namespace)
        if not rest:
            return options
        parser = next((part for part in reversed(list(self.chosen(options))) if part is not self), self)
        unknown = rest[0].partition("=")[0]
        close = difflib.get_close_matches(unknown, [name for part in (parser, self) for name in part.option_names()], 1)
        kind = "option" if unknown.startswith("-") else "argument"
        hint = f": did you mean {close[0]}?" if close else "."
        raise UserError(f"There is no {kind} {unknown}{hint} (see {parser.prog} --help)")

    def option_names(self) -> list[str]:
        """The options of this command, such as '--model'."""
        return [name for action in actions(self) for name in action.option_strings if name.startswith("--")]

    def chosen(self, options: Any) -> Iterator[Parser]:
        """This parser and those of the commands that were given, outermost first."""
        yield self
        for action in actions(self):
            if isinstance(action, Subcommands):
                inner = (action.choices or {}).get(getattr(options, action.dest, None) or "")
                if isinstance(inner, Parser):
                    yield from inner.chosen(options)

    def in_words(self, message: str) -> str:
        """Argparse's complaint as a sentence."""
        match = CHOICES.fullmatch(message)
        if match:
            known = [choice.strip("' ") for choice in match["choices"].split(",")]
            close = difflib.get_close_matches(match["given"], known, 1)
            hint = f"did you mean {close[0]}?" if close else f"choose among {', '.join(known)}."
            name = match["name"].replace("_", " ")
            wrong = (
                f"{name} is {match['given']!r}" if name.startswith("-") else f"There is no {name} {match['given']!r}"
            )
            return f"{wrong}: {hint}"
        return message[0].upper() + message[1:].replace("_command", " command") + "."


def program(otherwise: str) -> str:
    """What a command line is called: its installed script's name, or ``otherwise``."""
    name = Path(sys.argv[0]).name
    return name if name.startswith("lora-lens") else otherwise


def add_version(parser: argparse.ArgumentParser) -> None:
    """Give a parser ``--version``, which prints the version and ends with 0."""
    parser.add_argument("--version", action="version", version=f"LoRA Lens {__version__}")
