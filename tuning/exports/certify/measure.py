"""An artefact and its reference on the same questions: tokens, answers, distributions.

The artefact writes its greedy answer, and the reference reads it in one pass: the two answers are equal as long as the
reference's first choice is the token that was written. Divergences are in nats. Where an engine tells the likeliest
tokens alone, the others count as one, which makes the divergence a little smaller than it is, never larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tuning.data.chat import encode_messages
from tuning.data.template import chat_template
from tuning.exports.certify.engine import Answer, Engine, Place
from tuning.exports.certify.reference import Reference, Side
from tuning.exports.questions import Asked
from tuning.progress import Progress

if TYPE_CHECKING:
    import torch

ANSWER_TOKENS = 48
GOLD_TOKENS = 32
TINY = 1e-12
BROKEN = "\ufffd"
"""What stands for bytes that are no character."""
Scorer = Callable[[Asked, str], float | None]
"""A question and an answer's text → its score from 0 to 1, None where there is none."""


@dataclass(frozen=True)
class Read:
    """Figures of one question. ``parted_at`` is the first token of the answer that the reference would not have
    written, and ``parted_margin`` by how much it is likelier to the reference than its own first choice (below 0)."""

    question: str
    prompt_tokens: int
    prompt_parted_at: int | None
    prompt_words: str
    answer: str
    answer_tokens: int
    parted_at: int | None
    parted_margin: float
    ended: bool
    kl: list[float]
    kl_base: list[float]
    same_top: list[bool]
    weight: float
    shift: float
    """Sums over places and tokens of (p of the reference) times the change from base to tuned squared, and times that
    change and the one from base to artefact: their quotient is the strength."""
    gold_nats: dict[str, float] = field(default_factory=dict)
    gold_tokens: int = 0
    end_words: str = ""
    """The token at which the artefact ends its answer, and the tuned side would not; '' where there is none."""
    text_words: str = ""
    """What the artefact writes for the tokens of an answer and what the tuned side does, where these differ."""
    scores: dict[str, float] = field(default_factory=dict)
    """The task's score of the answers of artefact, tuned side and base, where all three have one."""


def compare(
    engine: Engine,
    reference: Reference,
    questions: Sequence[Asked],
    report: Progress,
    scorer: Scorer | None = None,
    most: int | None = None,
) -> list[Read]:
    """Put every question to the artefact and have the reference read the answers of at most ``most`` tokens."""
    found = []
    prompts = [encode_messages(reference.tokenizer, asked.messages) for asked in questions]
    for number, (asked, prompt) in enumerate(zip(questions, prompts, strict=True)):
        report(f"checking question {number + 1} of {len(questions)}", number / len(questions))
        found.append(compare_one(engine, reference, asked, prompt, most or ANSWER_TOKENS))
    return scored(found, reference, questions, prompts, scorer, most or ANSWER_TOKENS, report) if scorer else found


def compare_one(engine: Engine, reference: Reference, asked: Asked, prompt: list[int], most: int) -> Read:
    """Figures of one question."""
    tokenizer = reference.tokenizer
    theirs = engine.prompt_ids(asked.messages)
    parted = first_difference(prompt, theirs)
    answer = engine.answer(prompt, most)
    figures = Figures()
    tuned, base = reference.both(prompt, answer.tokens)
    figures.add(answer.places, tuned, base)
    at = next((place for place, (row, token) in enumerate(zip(tuned, answer.tokens, strict=True))
               if int(row.argmax()) != token), None)  # fmt: skip
    margin = 0.0 if at is None else float(tuned[at, answer.tokens[at]] - tuned[at].max())
    nats: dict[str, float] = {}
    gold: list[int] = []
    if asked.gold:
        template = chat_template(tokenizer)
        gold = [*template.encode_answer(asked.gold), *template.closing_ids][:GOLD_TOKENS]
        places = engine.read(prompt, gold)
        tuned, base = reference.both(prompt, gold)
        figures.add(places, tuned, base)
        nats = {
            "artefact": -sum(place.of(token) or 0.0 for place, token in zip(places, gold, strict=True)),
            "tuned": -sum(float(row[token]) for row, token in zip(tuned, gold, strict=True)),
            "base": -sum(float(row[token]) for row, token in zip(base, gold, strict=True)),
        }
    text = str(tokenizer.decode(list(answer.tokens), skip_special_tokens=True))
    return Read(
        asked.name,
        len(prompt),
        parted,
        "" if parted is None else difference_words(tokenizer, prompt, theirs, parted),
        text,
        len(answer.tokens),
        at,
        margin,
        answer.ended,
        figures.kl,
        figures.kl_base,
        figures.same_top,
        figures.weight,
        figures.shift,
        nats,
        len(gold),
        early_end(tokenizer, answer),
        other_text(engine, tokenizer, answer.tokens) or other_text(engine, tokenizer, gold),
    )


def early_end(tokenizer: Any, answer: Answer) -> str:
    """The token with which an answer ended and which ends none of the tuned side's; '' for none, and for control
    tokens, of which a program may take more for an end than the model's own settings do."""
    if not answer.ended or not answer.tokens:
        return ""
    last = answer.tokens[-1]
    if last in chat_template(tokenizer).end_ids() or last in controls(tokenizer):
        return ""
    return repr(str(tokenizer.decode([last])))


def other_text(engine: Engine, tokenizer: Any, tokens: Sequence[int]) -> str:
    """In words, how an engine's text of some tokens differs from the tuned side's, spaces aside; '' where it does not.

    Control tokens are left out, and so are those that are a part of a character alone.
    """
    marks, whole = controls(tokenizer), []
    for token in tokens:
        if token < len(tokenizer) and token not in marks and BROKEN not in str(tokenizer.decode([token])):
            whole.append(token)
    if not whole:
        return ""
    ours = str(tokenizer.decode(whole, clean_up_tokenization_spaces=False))
    theirs = engine.text_of(whole)
    if letters_of(ours) == letters_of(theirs):
        return ""
    return f"{theirs[:40]!r} in place of {ours[:40]!r}"


def tokens_by_number(tokenizer: Any) -> list[str]:
    """The tokens of a tokenizer by their numbers."""
    return [str(token) for token in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))]


def letters_of(text: str) -> str:
    """A text without spaces, in whichever way a vocabulary writes those."""
    return "".join(text.replace("\u2581", " ").split())


def controls(tokenizer: Any) -> set[int]:
    """The control tokens of a tokenizer."""
    return {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}


def scored(
    reads: Sequence[Read],
    reference: Reference,
    questions: Sequence[Asked],
    prompts: Sequence[list[int]],
    scorer: Scorer,
    most: int,
    report: Progress,
) -> list[Read]:
    """The same with the scores of the answers of artefact, tuned side and base; none where one of them has none.

    The tuned side's answer is written only where it is another than the artefact's.
    """
    parted = [at for at, read in enumerate(reads) if read.parted_at is not None]
    others = written("tuned", parted, reference, prompts, most, report)
    base = written("base", range(len(reads)), reference, prompts, most, report)
    found = []
    for at, (read, asked) in enumerate(zip(reads, questions, strict=True)):
        texts = {"artefact": read.answer, "tuned": others.get(at, read.answer), "base": base[at]}
        scores = {side: score for side, text in texts.items() if (score := scorer(asked, text)) is not None}
        found.append(replace(read, scores=scores if len(scores) == len(texts) else {}))
    return found


def written(
    side: Side, places: Sequence[int], reference: Reference, prompts: Sequence[list[int]], most: int, report: Progress
) -> dict[int, str]:
    """A side's own answers to the prompts at some places."""
    words = {"tuned": "the tuned model", "base": "the base"}[side]

    def told(done: int) -> None:
        report(f"{words} answers for the score, {done} of {len(places)} questions done", done / len(places))

    answers = reference.answers(side, [prompts[at] for at in places], most, told)
    decode = reference.tokenizer.decode
    return {at: str(decode(tokens, skip_special_tokens=True)) for at, tokens in zip(places, answers, strict=True)}


@dataclass
class Figures:
    """Figures of places, gathered."""

    kl: list[float] = field(default_factory=list)
    kl_base: list[float] = field(default_factory=list)
    same_top: list[bool] = field(default_factory=list)
    weight: float = 0.0
    shift: float = 0.0

    def add(self, places: Sequence[Place], tuned: torch.Tensor, base: torch.Tensor) -> None:
        """Take in places with the reference's log-probabilities [places, vocabulary]."""
        width = min(tuned.shape[1], base.shape[1])
        for place, ours, untuned in zip(places, tuned, base, strict=True):
            self.same_top.append(int(ours.argmax()) == place.first)
            self.kl.append(divergence(ours, place))
            part = ours[:width]
            self.kl_base.append(max(0.0, float((part.exp() * (part - untuned[:width])).nan_to_num().sum())))
            kept = (place.tokens < width).nonzero()[:128, 0]
            tokens, theirs = place.tokens[kept], place.logprobs[kept]
            change = ours[tokens] - untuned[tokens]
            weight = ours[tokens].exp()
            self.weight += float((weight * change * change).sum())
            self.shift += float((weight * change * (theirs - untuned[tokens])).sum())


def divergence(ours: torch.Tensor, place: Place) -> float:
    """KL(reference || artefact) in nats at one place, from the reference's log-probabilities [vocabulary]; the tokens
    that the artefact tells nothing of count as one."""
    told = place.tokens < ours.shape[0]
    theirs = place.logprobs[told]
    mine = ours[place.tokens[told]].double()
    total = float((mine.exp() * (mine - theirs)).sum())
    rest, their_rest = 1 - float(mine.exp().sum()), 1 - float(theirs.exp().sum())
    if len(place.tokens) < ours.shape[0] and rest > TINY:
        total += rest * math.log(rest / max(their_rest, TINY))
    return total if math.isnan(total) else max(0.0, total)


def first_difference(ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    """The place of the first token that differs; None if all are equal."""
    for place, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other:
            return place
    return None if len(ours) == len(theirs) else min(len(ours), len(theirs))


def difference_words(tokenizer: Any, ours: Sequence[int], theirs: Sequence[int], at: int) -> str:
    """Two prompts around the first token that differs, in words."""
    pieces = [str(tokenizer.decode(ids[at : at + 4])) if at < len(ids) else "" for ids in (ours, theirs)]
    return f"at token {at + 1} trained on {pieces[0]!r} ({len(ours)} tokens), read {pieces[1]!r} ({len(theirs)} tokens)"
