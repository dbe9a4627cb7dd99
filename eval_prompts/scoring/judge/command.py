"""``python -m eval_prompts judge``: what a judge model says of a scoring's answers, and how far it can be trusted."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.progress import Progress, told_loading
from eval_prompts.scoring.folder import Scoring, find
from eval_prompts.scoring.judge import pairs as judged
from eval_prompts.scoring.judge import replies
from eval_prompts.scoring.judge.pairs import JudgedPair, JudgeFigures
from eval_prompts.scoring.judge.replies import KEY_VARIABLE
from eval_prompts.serving.endpoint import Endpoint
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.votes.records import VotedPair


def add(commands: Any) -> None:
    """Add the command to the command line."""
    judge = commands.add_parser("judge", help="have a judge model compare the answers of a scoring, in both orders")
    judge.add_argument("scoring", metavar="NAME|FOLDER", help="a scoring of both sides")
    who = judge.add_mutually_exclusive_group(required=True)
    who.add_argument("--judge-url", help="an OpenAI-compatible endpoint, up to and including /v1")
    who.add_argument("--judge-local", metavar="MODEL", help="a model on this machine: preset, folder or Hub id")
    judge.add_argument("--judge-model", default="", help=f"the model's name there; its key stands in {KEY_VARIABLE}")
    judge.add_argument("--judge-seconds", type=float, default=60.0, help="the longest that one reply may take")
    judge.add_argument("--rubric", type=Path, metavar="FILE", help="what makes an answer the better one, as text")
    judge.add_argument("--limit", type=int, help="only the first questions")
    judge.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Have the answers judged, and print what the judge says beside what that is worth."""
    scoring = find(options.scoring)
    plan = scoring.plan()
    if set(plan["sides"]) != {"base", "tuned"}:
        raise UserError("A judge compares two answers: score both sides first.")
    if not 0 < options.judge_seconds <= 3600:
        raise UserError("--judge-seconds must be more than 0 and at most 3,600.")
    rubric = judged.RUBRIC
    if options.rubric is not None:
        try:
            rubric = options.rubric.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"The rubric {options.rubric} cannot be read: {error}.") from None
    pairs, notes = judged.pairs_of(scoring, votes_on(plan), options.limit)
    if not pairs:
        raise UserError(" ".join(["There are no answers of both sides to judge: score first.", *notes]))
    figures = ask(options, scoring, pairs, rubric, notes)
    for line in figures.lines:
        print(line)
    print(f"kept in {scoring.path / judged.FILE}, and shown on the card beside the checks")


def ask(
    options: argparse.Namespace, scoring: Scoring, pairs: list[JudgedPair], rubric: str, notes: list[str]
) -> JudgeFigures:
    """Ask the judge that the options name."""
    fingerprint = ""
    if options.judge_url:
        endpoint = Endpoint(options.judge_url.rstrip("/"), options.judge_model, os.environ.get(KEY_VARIABLE, ""))
        name, reply = (
            options.judge_model or options.judge_url,
            replies.endpoint_reply(endpoint, options.judge_seconds),
        )
        loaded: Any = nullcontext()
    else:
        from eval_prompts.serving.lens import Lens
        from eval_prompts.serving.local import LocalLoader

        loaded = Lens(LocalLoader(options.judge_local, None), on_progress=told_loading)
        loaded.start()
        loaded.wait_ready()
        name, reply = options.judge_local, replies.local_reply(loaded)
        fingerprint = loaded.status().fingerprint
    with loaded, Progress(len(pairs), "pairs") as progress:
        return judged.judge_pairs(
            scoring, pairs, name, reply, rubric, lambda done, _: progress.show(done),
            fingerprint=fingerprint, notes=notes,
        )  # fmt: skip


def people_of(plan: Mapping[str, Any]) -> str:
    """What people who voted on the models of a scoring prefer, in words; '' where nobody has voted."""
    from eval_prompts.votes.vote_statistics import by_kind
    from eval_prompts.votes.words import headline

    votes = votes_on(plan) if plan["adapter"] else []
    return headline(by_kind(votes)) if votes else ""


def votes_on(plan: Mapping[str, Any]) -> list[VotedPair]:
    """What people voted on the models of a scoring; none where no votes are kept, which is said."""
    from eval_prompts.votes.store import Ratings, default_url

    url = default_url()
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return []
    prints = plan["fingerprints"]
    base = f"{prints['model']}+{prints['against']}" if prints["against"] else prints["model"]
    try:
        ratings = Ratings(url)
        votes = ratings.votes(adapter=f"{prints['model']}+{prints['adapter']}", against=base)
        ratings.close()
    except UserError as error:
        print(f"{error} It goes without votes.", file=sys.stderr)
        return []
    return votes
