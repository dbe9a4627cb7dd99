"""``python -m eval_prompts votes``: what people voted, in words, and the votes as a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError
from tuning.files import write_whole

if TYPE_CHECKING:
    from eval_prompts.votes.store import Ratings

FORMATS = ("csv", "jsonl", "parquet")


def add(commands: argparse._SubParsersAction) -> None:
    """The command and its options."""
    votes = commands.add_parser("votes", help="say what people voted, or write the votes to a file")
    votes.add_argument("--ratings", help="SQLite file or database URL; default: DATABASE_URL, then the data folder")
    votes.add_argument("--adapter", help="only the votes on this one, by its title, name or fingerprint")
    votes.add_argument("--export", type=Path, help="write votes that prefer a side to this file, as preference pairs")
    votes.add_argument("--format", choices=FORMATS, help="default: the ending of the file's name")
    votes.set_defaults(run=run)


def ratings_url(named: str | None) -> str:
    """The database's URL, from a file's name or a URL. Raises UserError for a SQLite file that is not there."""
    from eval_prompts.votes.store import default_url

    url = named or default_url()
    if "://" not in url:
        url = f"sqlite:///{Path(url).expanduser().absolute()}"
    file = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not url.startswith("sqlite:///file:") and not file.exists():
        raise UserError(f"There is no ratings database {file.name}: vote first, or choose one with --ratings.")
    return url


def run(options: argparse.Namespace) -> None:
    """Print a summary by adapter, or write the file. Raises UserError for what the user can mend."""
    from eval_prompts.votes.store import Ratings

    form = options.format or (options.export.suffix[1:].lower() if options.export else "")
    if options.export and form not in FORMATS:
        raise UserError(f"The name {options.export.name} does not say the format: add --format csv, jsonl or parquet.")
    ratings = Ratings(ratings_url(options.ratings))
    try:
        if options.export:
            _export(ratings, options.adapter, options.export, form)
        else:
            print("\n".join(_summary(ratings, options.adapter)))
    finally:
        ratings.close()


def _titles(ratings: Ratings, adapter: str | None) -> list[str]:
    """The titles of the contests that are asked for, all without ``adapter``."""
    from eval_prompts.votes.names import contest_titles, find_contest

    contests = ratings.contests()
    titles = contest_titles(contests)
    if adapter is None:
        return titles
    found = find_contest(contests, adapter)
    if found is None:
        known = ", ".join(titles) or "none yet"
        raise UserError(f"There are no votes on {adapter}: there are {known}.")
    return [titles[contests.index(found)]]


def _summary(ratings: Ratings, adapter: str | None) -> list[str]:
    from eval_prompts.votes.results import EMPTY, headline, notes, results, results_view

    lines = []
    for title in _titles(ratings, adapter):
        found = results(ratings, title)
        every, sides = found["statistics"]["all"], found["sides"]
        lines.append(f"{title}: {headline(every, sides)}")
        lines += [f"  {name}" for name in _counts(found)]
        lines += [f"  {note}" for note in notes(every, sides)]
    strengths = results_view(ratings)["strengths"] if adapter is None else []
    return [*lines, *(f"{each['name']}: {each['words']}" for each in strengths)] or [EMPTY]


def _counts(found: dict[str, Any]) -> list[str]:
    """The counts of a contest's blind and open votes, and its interval, in lines."""
    from eval_prompts.votes.results import chance

    sides = found["sides"] | {"tie": "tie", "both_bad": "both bad"}
    lines = []
    for name, counts in found["votes"].items():
        told = ", ".join(f"{words} {counts[outcome]}" for outcome, words in sides.items())
        lines += [f"{name} votes {counts['total']}: {told}"] if counts["total"] else []
    wins = found["statistics"]["all"]["tuned_wins"]
    return [*lines, chance(wins)] if wins["of"] else lines


def _export(ratings: Ratings, adapter: str | None, file: Path, form: str) -> None:
    from eval_prompts.votes.export import export
    from eval_prompts.votes.names import find_contest

    which = {}
    if adapter is not None:
        (title,) = _titles(ratings, adapter)
        contest = find_contest(ratings.contests(), title)
        which = {"adapter": contest.tuned, "against": contest.base}
    content, rows = export(ratings.votes(**which), form)
    try:
        write_whole(file, content)
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror or error}.") from error
    print(f"{rows} rows in {file}")
