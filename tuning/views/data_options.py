"""The options of ``data`` that say how a question is put, and the data set that they name."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tuning.data.options import FormatWish, reading
from tuning.presets import PREFERENCES

if TYPE_CHECKING:
    from tuning.data.dataset import DataSet


def add_format(command: argparse.ArgumentParser) -> None:
    """Add what says how a question is put."""
    command.add_argument(
        "--prompt-format", choices=("auto", "python", "plain"), default="auto", help="what stands around a question"
    )
    command.add_argument("--system", metavar="TEXT", help="system prompt of rows that bring none")
    command.add_argument("--user-template", metavar="TEXT", help="user's turn with {question} and {input}")


def add_objective(command: argparse.ArgumentParser) -> None:
    """Add what says whether pairs of a better and a worse answer are read."""
    command.add_argument(
        "--objective",
        choices=("sft", *PREFERENCES),
        default="sft",
        help="dpo or orpo: read chosen and rejected answers",
    )


def loaded(options: argparse.Namespace, **further: Any) -> DataSet:
    """The data set that the options name; pairs of answers where an objective that learns from them is named."""
    from tuning.data.dataset import load

    pairs = getattr(options, "objective", "sft") in PREFERENCES
    return load(
        options.source,
        empty_input_only=options.empty_input_only,
        limit=options.limit,
        reading=replace(reading(options), preference=pairs),
        wish=FormatWish(options.prompt_format, options.system, options.user_template),
        **further,
    )
