"""What the figures of an artefact amount to: green, yellow or red, with one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tuning.data.template import chat_template
from tuning.errors import UserError
from tuning.exports.certify.engine import Engine
from tuning.exports.certify.faults import (
    FAINT,
    WORST,
    Colour,
    early_faults,
    end_faults,
    number_faults,
    prompt_faults,
    text_faults,
    vocabulary_faults,
    weight_faults,
)
from tuning.exports.certify.measure import Read, Scorer, compare, tokens_by_number
from tuning.exports.certify.reference import Reference
from tuning.exports.questions import Asked
from tuning.file_names import CERTIFICATE_FILE
from tuning.files import write_json
from tuning.progress import Progress


@dataclass(frozen=True)
class Certificate:
    """The outcome. ``colour`` decides whether an artefact is offered; ``sentence`` says why, ``reasons`` all of it."""

    colour: Colour
    sentence: str
    reasons: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    questions: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Certificate:
        """What :meth:`to_dict` gave. Raises UserError for anything else."""
        if content.get("colour") not in WORST or not isinstance(content.get("sentence"), str):
            raise UserError("This is no certificate of an export: export again.")
        reasons, questions, notes = (tuple(content.get(name) or ()) for name in ("reasons", "questions", "notes"))
        figures, about = (dict(content.get(name) or {}) for name in ("figures", "about"))
        return cls(content["colour"], content["sentence"], reasons, figures, questions, notes, about)

    def write(self, folder: Path) -> Path:
        """Write certificate.json to a folder. Raises OSError."""
        write_json(folder / CERTIFICATE_FILE, self.to_dict(), indent=2)
        return folder / CERTIFICATE_FILE

    def lines(self) -> list[str]:
        """For a terminal: the colour with its sentence, the figures, what else is to be said."""
        told = [f"{self.colour}: {self.sentence}", *self.reasons[1:]]
        if self.figures:
            told.append(figures_line(self.figures))
        return [*told, *self.notes]

    def markdown(self) -> str:
        """For a card."""
        rows = "".join(f"| {name.replace('_', ' ')} | {rounded(value)} |\n" for name, value in self.figures.items())
        notes = "".join(f"- {note}\n" for note in (*self.reasons[1:], *self.notes))
        return f"## Certificate: {self.colour}\n\n{self.sentence}\n\n{notes}\n| | |\n| --- | --- |\n{rows}"


def refused(sentence: str, about: dict[str, Any]) -> Certificate:
    """The certificate of an artefact that its engine cannot use at all."""
    return Certificate("red", sentence, (sentence,), about=about)


def unchecked(sentence: str, about: dict[str, Any]) -> Certificate:
    """The certificate of an artefact that could not be checked here."""
    return Certificate("yellow", sentence, (sentence,), about=about)


def certify(
    engine: Engine,
    reference: Reference,
    questions: Sequence[Asked],
    report: Progress,
    *,
    precision: str,
    about: dict[str, Any],
    notes: Sequence[str] = (),
    settings: Sequence[str] = (),
    scorer: Scorer | None = None,
    most: int | None = None,
) -> Certificate:
    """Put the questions to an artefact, compare it with the reference, and judge.

    ``settings`` are what is wrong with how the artefact is asked by itself: the certificate is no better than yellow.
    Raises UserError if there are no questions. An engine that gives up in the middle makes the certificate red.
    """
    if not questions:
        raise UserError("There is no question to compare the export on: name a task with some.")
    about = {"engine": engine.name, "precision": precision, **about}
    try:
        lost = lost_ends(engine, reference)
        odd = vocabulary_faults(engine.vocabulary(), tokens_by_number(reference.tokenizer))
        reads = compare(engine, reference, questions, report, scorer, most)
    except UserError as error:
        return refused(str(error), about)
    figures = summary(reads)
    found = [*prompt_faults(reads), *end_faults(lost), *early_faults(reads), *text_faults(reads)]
    found += odd
    found += number_faults(reads) or weight_faults(figures, precision)
    found += [("yellow", words) for words in settings]
    found.sort(key=lambda fault: -WORST.index(fault[0]))
    if not found:
        found = [("green", good_words(figures))]
    sentences = tuple(sentence for _, sentence in found)
    kept = tuple(numbers(asdict(read) | {"kl": None, "kl_base": None, "same_top": None}) for read in reads)
    return Certificate(found[0][0], sentences[0], sentences, figures, kept, tuple(notes), about)


def lost_ends(engine: Engine, reference: Reference) -> list[str]:
    """The tokens that end an answer of the tuned side and not one of the artefact."""
    tokenizer = reference.tokenizer
    made = chat_template(tokenizer)
    tokens = {made.traits.closing_token, tokenizer.eos_token_id} - {None}
    lost = [token for token in sorted(int(token) for token in tokens if token is not None) if not engine.ends_at(token)]
    return [str(tokenizer.convert_ids_to_tokens(token)) for token in lost]


def summary(reads: Sequence[Read]) -> dict[str, Any]:
    """The figures of all questions together."""
    known = [pair for read in reads for pair in zip(read.kl, read.kl_base, strict=True) if not math.isnan(pair[0])]
    kl = sorted(value for value, _ in known)
    kl_base = [value for _, value in known]
    same = [value for read in reads for value in read.same_top]
    places = max(1, len(kl))
    whole = len(known) == len(same)
    change = sum(kl_base) / places
    weight = sum(read.weight for read in reads)
    figures: dict[str, Any] = {
        "questions": len(reads),
        "places": len(same),
        "prompts_equal": sum(read.prompt_parted_at is None for read in reads),
        "answers_equal": sum(read.parted_at is None for read in reads),
        "same_top": sum(same) / max(1, len(same)),
        "mean_kl": sum(kl) / places,
        "p99_kl": kl[min(len(kl) - 1, int(0.99 * len(kl)))] if kl else 0.0,
        "kl_tuned_base": change,
        "kept": 1 - sum(kl) / sum(kl_base) if whole and change >= FAINT else None,
        "strength": sum(read.shift for read in reads) / weight if whole and change >= FAINT and weight > 0 else None,
    }
    gold = [read for read in reads if read.gold_nats]
    if gold:
        tokens = sum(read.gold_tokens for read in gold)
        nats = {side: sum(read.gold_nats[side] for read in gold) / tokens for side in ("base", "tuned", "artefact")}
        figures |= {f"nats_{side}": value for side, value in nats.items()}
        gain = nats["base"] - nats["tuned"]
        figures["gain_kept"] = (nats["base"] - nats["artefact"]) / gain if gain > FAINT else None
    scored = [read.scores for read in reads if read.scores]
    if scored:
        figures["scored"] = len(scored)
        for side in ("base", "tuned", "artefact"):
            figures[f"score_{side}"] = sum(scores[side] for scores in scored) / len(scored)
    return numbers(figures)


def numbers(content: dict[str, Any]) -> dict[str, Any]:
    """The same with None for whatever is no number, which JSON does not have."""

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: known(part) for name, part in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {name: known(value) for name, value in content.items()}


def good_words(figures: dict[str, Any]) -> str:
    """What is said of an artefact without faults."""
    kept = f"keeps {figures['kept']:.0%} of the adapter's change, and " if figures["kept"] is not None else ""
    return f"The file {kept}its first choice is the tuned side's at {figures['same_top']:.1%} of the places."


def figures_line(figures: dict[str, Any]) -> str:
    """The figures in one line for people."""
    parts = [
        f"prompts equal {figures['prompts_equal']} of {figures['questions']}",
        f"answers equal {figures['answers_equal']} of {figures['questions']}",
        f"same first choice {figures['same_top']:.1%} of {figures['places']:,} places",
        f"KL mean {figures['mean_kl']:.4f}, 99th percentile {figures['p99_kl']:.4f} nats",
    ]
    if figures.get("nats_artefact") is not None:
        parts.append(
            "nats a token on the data's answers: "
            + ", ".join(f"{side} {figures[f'nats_{side}']:.3f}" for side in ("base", "tuned", "artefact"))
        )
        if figures["gain_kept"] is not None:
            parts.append(f"keeps {figures['gain_kept']:.0%} of the gain")
    if "scored" in figures:
        sides = ", ".join(f"{side} {figures[f'score_{side}']:.1%}" for side in ("base", "tuned", "artefact"))
        parts.append(f"score on {figures['scored']} questions: {sides}")
    return "; ".join(parts) + "."


def rounded(value: Any) -> str:
    """A figure for a table."""
    if value is None:
        return "cannot be told"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
