"""``python -m eval_prompts votes``: what people voted, in words, and the votes as a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.votes.formats import FORMATS
from tuning.errors import UserError
from tuning.files import write_whole

if TYPE_CHECKING:
    from eval_prompts.votes.store import Ratings
    from tuning.command_line import Parser


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """The command and its options."""
    votes = commands.add_parser("votes", help="say what people voted, or write the votes to a file")
    votes.add_argument("--ratings", help="SQLite file or database URL; default: DATABASE_URL, then the data folder")
    votes.add_argument("--adapter", help="only the votes on this one, by its title, name or fingerprint")
    votes.add_argument("--export", type=Path, help="write all votes whole to this file; votes import takes it back")
    votes.add_argument("--export-pairs", type=Path, help="write the votes that prefer a side, as preference pairs")
    votes.add_argument("--format", choices=FORMATS, help="default: the ending of the file's name")
    votes.set_defaults(run=run)
    further = votes.add_subparsers(metavar="import")
    taken = further.add_parser("import", help="put votes back from a file or from a mirror on the Hub")
    taken.add_argument("source", metavar="FILE|REPO", help="what --export wrote, or the data set of --mirror-votes")
    taken.add_argument("--ratings", default=argparse.SUPPRESS, help="as above; the database is made if need be")
    taken.set_defaults(run=run_import)


def ratings_url(named: str | None, make: bool = False) -> str:
    """The database's URL, from a file's name or a URL. Raises UserError for a SQLite file that is not there, unless
    it is to be made."""
    from eval_prompts.votes.store import default_url

    url = named or default_url()
    if "://" not in url:
        url = f"sqlite:///{Path(url).expanduser().absolute()}"
    file = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not url.startswith("sqlite:///file:") and not file.exists() and not make:
        raise UserError(f"There is no ratings database {file.name}: vote first, or choose one with --ratings.")
    return url


def run(options: argparse.Namespace) -> None:
    """Print a summary by adapter, or write the file. Raises UserError for what the user can mend."""
    from eval_prompts.votes.store import Ratings

    wanted = [(file, whole) for file, whole in ((options.export, True), (options.export_pairs, False)) if file]
    forms = [options.format or file.suffix[1:].lower() for file, _ in wanted]
    for (file, _), form in zip(wanted, forms, strict=True):
        if form not in FORMATS:
            raise UserError(f"The name {file.name} does not say the format: add --format csv, jsonl or parquet.")
    ratings = Ratings(ratings_url(options.ratings))
    try:
        for (file, whole), form in zip(wanted, forms, strict=True):
            _export(ratings, options.adapter, file, form, whole)
        if not wanted:
            print("\n".join(_summary(ratings, options.adapter)))
    finally:
        ratings.close()


def run_import(options: argparse.Namespace) -> None:
    """Put votes back, and say how many. Raises UserError for what the user can mend."""
    from eval_prompts.votes.restore import restore
    from eval_prompts.votes.store import Ratings

    ratings = Ratings(ratings_url(options.ratings, make=True))
    try:
        print(f"{restore(ratings, options.source).words}.")
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
    from eval_prompts.votes.results import results, results_view
    from eval_prompts.votes.words import EMPTY, headline, notes

    lines = []
    for title in _titles(ratings, adapter):
        found = results(ratings, title)
        every, sides = found["statistics"]["all"], found["sides"]
        lines.append(f"{title}: {headline(found['statistics'], sides)}")
        lines += [f"  {name}" for name in _counts(found)]
        lines += [f"  {note}" for note in notes(every, sides)]
    strengths = results_view(ratings)["strengths"] if adapter is None else []
    return [*lines, *(f"{each['name']}: {each['words']}" for each in strengths)] or [EMPTY]


def _counts(found: dict[str, Any]) -> list[str]:
    """The counts of a contest's blind and open votes, and their intervals, in lines."""
    from eval_prompts.votes.words import chance, of_whom

    sides = found["sides"] | {"tie": "tie", "both_bad": "both bad"}
    lines = []
    for name, counts in found["votes"].items():
        told = ", ".join(f"{words} {counts[outcome]}" for outcome, words in sides.items())
        lines += [f"{name} votes {counts['total']}: {told}"] if counts["total"] else []
        statistics = found["statistics"][name]
        if statistics["tuned_wins"]["of"]:
            lines[-1] += f"; {of_whom(statistics)}; {chance(statistics['evidence'])}"
    return lines


def _export(ratings: Ratings, adapter: str | None, file: Path, form: str, whole: bool) -> None:
    from eval_prompts.votes.export import export, left_out
    from eval_prompts.votes.names import find_contest
    from eval_prompts.votes.whole import export_whole

    tuned = base = None
    if adapter is not None:
        (title,) = _titles(ratings, adapter)
        contest = find_contest(ratings.contests(), title)
        if contest is not None:
            tuned, base = contest.tuned, contest.base
    votes = ratings.votes(adapter=tuned, against=base, whole=None)
    content, rows = (export_whole if whole else export)(votes, form)
    try:
        write_whole(file, content)
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror or error}.") from error
    missing = "" if whole else left_out(votes)
    print(f"{rows} rows in {file}" + (f"; {missing}" if missing else ""))
