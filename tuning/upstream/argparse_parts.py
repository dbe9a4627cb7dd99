"""What argparse knows of a parser and has no public call for."""

from __future__ import annotations

import argparse

Subcommands = argparse._SubParsersAction
"""The type of ``add_subparsers()``'s result, which argparse gives no other name."""


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The arguments of a parser in order. Why: argparse tells them as text alone, in its help."""
    return list(parser._actions)
