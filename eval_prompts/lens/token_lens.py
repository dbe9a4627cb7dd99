"""The token lens: one text behind one question, as both models of a pair see every token of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eval_prompts.lens.aligned import aligned_scores, stretches
from eval_prompts.lens.token_scores import SideScore, TokenScore, entries_of, room, score, score_alone
from eval_prompts.models.pair import SIDES
from tuning.data import pieces
from tuning.data.chat import PYTHON_FORMAT, Message, PromptFormat, check_question, check_whole
from tuning.data.template import chat_template
from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from eval_prompts.models.pair import Pair, Side

PERCENTILES = (50, 90, 95, 99)
CUT = "The text has {tokens:,} tokens; the first {free:,}, which fit into the context, are scored."
IN_FP32 = "Scored in fp32, whatever precision answers are computed in."
ALIGNED = (
    "The two sides cut this text into different tokens, so it is aligned by characters: each entry is the shortest "
    "stretch that both cut alike, its choices are those at its beginning, and there is no KL."
)
OTHER_PROMPT = "The two sides also write the prompt differently."
OTHER_SIZES = (
    "The vocabularies have {base:,} and {tuned:,} tokens: probabilities are those among the tokens that both have."
)
FROM_TEXT = "Read from its text: where its author chose other tokens for the same characters, they are not these."


@dataclass(frozen=True)
class Figures:
    """What all tokens of a text add up to. ``kl`` is KL(base || tuned) in nats a token, None between two tokenizers;
    ``same_top`` the share of places at which both models' first choice is the same; perplexity is exp of the mean
    negative log-probability."""

    tokens: int
    logprob_base: float
    logprob_tuned: float
    perplexity_base: float
    perplexity_tuned: float
    mean_kl: float | None
    kl_percentiles: dict[str, float]
    same_top: float

    @property
    def change_per_token(self) -> float:
        """Mean of log p(tuned) - log p(base)."""
        return (self.logprob_tuned - self.logprob_base) / self.tokens


@dataclass(frozen=True)
class Reading:
    """A text as both models see it. ``pieces`` are the characters of its tokens: joined they are the text, and its
    ending where that is scored, which is the last token where ``closed``. ``choices`` are what tokens are, by side.
    ``notes`` say what was cut or approximated.
    """

    scores: list[TokenScore]
    pieces: list[str]
    choices: Mapping[Side, Mapping[int, str]]
    prompt_tokens: int
    notes: list[str] = field(default_factory=list)
    aligned: bool = False
    closed: bool = False

    @property
    def length(self) -> str:
        """How long the text is, in words: an answer's row counts the token that closes it no more than they do."""
        count = len(self.scores) - self.closed
        unit = "stretch" if self.aligned else "token"
        plural = "" if count == 1 else "es" if self.aligned else "s"
        return f"{count:,} {unit}{plural}" + (" and the one that closes the answer" if self.closed else "")

    @property
    def figures(self) -> Figures:
        """The text's figures."""
        return figures(self.scores)

    @property
    def parts_at(self) -> int | None:
        """The first place at which the two models' first choices differ, None if there is none."""
        return next((place for place, entry in enumerate(self.scores) if not entry.same_top), None)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: figures, notes, and every token with its characters and what each model thought of it."""
        totals = self.figures
        return {
            "prompt_tokens": self.prompt_tokens,
            "aligned": self.aligned,
            "parts_at": self.parts_at,
            "figures": finite(totals.__dict__ | {"change_per_token": totals.change_per_token}),
            "notes": self.notes,
            "tokens": [
                {
                    "text": piece,
                    "id": entry.token,
                    "change": entry.change,
                    "same_top": entry.same_top,
                    "kl_base_tuned": entry.kl_base_tuned,
                    "kl_tuned_base": entry.kl_tuned_base,
                    "base": self._side("base", entry.base),
                    "tuned": self._side("tuned", entry.tuned),
                }
                for piece, entry in zip(self.pieces, self.scores, strict=True)
            ],
        }

    def _side(self, side: Side, score: SideScore) -> dict[str, Any]:
        top = [[self.choices[side][token], odds] for token, odds in score.top]
        return {"logprob": score.logprob, "rank": score.rank, "entropy": score.entropy, "top": top, "end": score.end}


def read(
    pair: Pair,
    question: str | Sequence[Message],
    text: str,
    *,
    ended: bool = False,
    prompt_format: PromptFormat = PYTHON_FORMAT,
    written: Sequence[int] = (),
) -> Reading:
    """Score ``text`` as the answer to a question (put into ``prompt_format``), or to a conversation.

    With ``ended`` the token that closes an answer is scored, too. ``written`` are the tokens that a model wrote the
    text in, with the closing one, where they are known: they are scored as they are, if both sides read such tokens.
    Control tokens that stand in the text stay text. A text longer than the context is cut, and the reading says so.
    Sides that cut the text into different tokens are aligned by characters. Raises UserError for a text without a
    character or with half of one, a prompt that fills the context, or a pair without a tuned side.
    """
    if not text and not written:
        raise UserError("There is no text to score: give one.")
    if isinstance(question, str):
        messages: Sequence[Message] = prompt_format.messages({"question": check_question(question), "input": ""})
    else:
        messages = question
    check_texts(messages, text)
    pair.model("tuned")
    texts = {side: encoded(pair, side, messages, text, ended) for side in SIDES}
    if texts["base"] != texts["tuned"]:
        return read_aligned(pair, texts, ended)
    prompt_ids, text_ids = texts["base"]
    whole = list(written) or text_ids
    base, tuned = pair.model("base"), pair.model("tuned")
    notes: list[str] = []
    text_ids = fitting(whole, min(room(model, len(prompt_ids)) for model in (base, tuned)), len(prompt_ids), notes)
    sizes = entries_of(base), entries_of(tuned)
    if sizes[0] != sizes[1]:
        notes.append(OTHER_SIZES.format(base=sizes[0], tuned=sizes[1]))
    notes += precision_notes(pair)
    tokenizer = pair.tokenizers["base"]
    scores = score(base, tuned, prompt_ids, text_ids, chat_template(tokenizer).end_ids())
    words = words_of(tokenizer, [*(entry.base for entry in scores), *(entry.tuned for entry in scores)])
    return Reading(
        scores,
        pieces_of(tokenizer, text_ids),
        {"base": words, "tuned": words},
        len(prompt_ids),
        notes,
        closed=ended and len(text_ids) == len(whole),
    )


def check_texts(messages: Sequence[Message], text: str) -> None:
    """Raise UserError if a conversation or the text behind it holds half a character."""
    check_whole(text, "text")
    for message in messages:
        check_whole(message["content"], "conversation")


def read_aligned(pair: Pair, texts: Mapping[Side, tuple[list[int], list[int]]], ended: bool) -> Reading:
    """Score a text that the two sides cut differently, each in its own tokens after its own prompt."""
    notes: list[str] = [ALIGNED]
    scores: dict[Side, list[SideScore]] = {}
    parts: dict[Side, list[str]] = {}
    words: dict[Side, dict[int, str]] = {}
    ids: dict[Side, list[int]] = {}
    for side in SIDES:
        prompt_ids, text_ids = texts[side]
        free = room(pair.model(side), len(prompt_ids))
        if len(text_ids) > free:
            raise UserError(
                f"The text has {len(text_ids):,} tokens on the {side} side, and the context has room for {free:,}: "
                "shorten it."
            )
        tokenizer = pair.tokenizers[side]
        scores[side] = score_alone(pair.model(side), prompt_ids, text_ids, chat_template(tokenizer).end_ids())
        parts[side], words[side], ids[side] = (
            pieces_of(tokenizer, text_ids),
            words_of(tokenizer, scores[side]),
            text_ids,
        )
    if decoded(pair, texts, "base") != decoded(pair, texts, "tuned"):
        notes.append(OTHER_PROMPT)
    closing = slice(None, -1 if ended else None)
    pairs = stretches(parts["base"][closing], parts["tuned"][closing])
    if ended:
        pairs.append((slice(len(ids["base"]) - 1, None), slice(len(ids["tuned"]) - 1, None)))
    entries = aligned_scores(pairs, scores["base"], scores["tuned"], ids["base"], (words["base"], words["tuned"]))
    shown = ["".join(parts["base"][ours]) for ours, _ in pairs]
    notes += precision_notes(pair)
    return Reading(entries, shown, words, len(texts["base"][0]), notes, aligned=True, closed=ended)


def decoded(pair: Pair, texts: Mapping[Side, tuple[list[int], list[int]]], side: Side) -> str:
    """The prompt of one side, in characters."""
    return str(pair.tokenizers[side].decode(texts[side][0]))


def fitting(text_ids: list[int], free: int, prompt_tokens: int, notes: list[str]) -> list[int]:
    """As many tokens as fit; what is cut is noted. Raises UserError where none does."""
    if free < 1:
        raise UserError(f"The prompt of {prompt_tokens:,} tokens fills the context: shorten the question.")
    if len(text_ids) > free:
        notes.append(CUT.format(tokens=len(text_ids), free=free))
    return text_ids[:free]


def precision_notes(pair: Pair) -> list[str]:
    """What is to be said of the precision of a reading."""
    return [IN_FP32] if pair.device.name == "cpu" else []


def words_of(tokenizer: PreTrainedTokenizerBase, scores: Collection[SideScore]) -> dict[int, str]:
    """What the first choices are, in characters."""
    return {token: str(tokenizer.decode([token])) for score in scores for token, _ in score.top}


def encoded(pair: Pair, side: Side, messages: Sequence[Message], text: str, ended: bool) -> tuple[list[int], list[int]]:
    """The tokens of prompt and text as one side reads them."""
    template = chat_template(pair.tokenizers[side])
    text_ids = template.encode_answer(text) if text else []
    if ended:
        text_ids = [*text_ids, *template.closing_ids[:1]]
    return template.encode(messages), text_ids


def pieces_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The characters that each token adds; a character made of several tokens stands with the last of them."""
    return pieces.pieces_of(ids, lambda some: str(tokenizer.decode(some)))


def finite(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures for JSON, which has no infinity: null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }


def wanted_words(reading: Reading, place: int) -> str:
    """What both models wanted most at one place: "base wanted 'return' 61%, tuned 'def' 74%"."""
    entry = reading.scores[place]
    (ours, our_odds), (theirs, their_odds) = entry.base.top[0], entry.tuned.top[0]
    left, right = reading.choices["base"][ours], reading.choices["tuned"][theirs]
    return f"base wanted {left!r} {our_odds:.0%}, tuned {right!r} {their_odds:.0%}"


def figures(scores: Sequence[TokenScore]) -> Figures:
    """What all these tokens add up to; there must be at least one."""
    count = len(scores)
    base = math.fsum(entry.base.logprob for entry in scores)
    tuned = math.fsum(entry.tuned.logprob for entry in scores)
    divergences = sorted(entry.kl_base_tuned for entry in scores if entry.kl_base_tuned is not None)
    return Figures(
        tokens=count,
        logprob_base=base,
        logprob_tuned=tuned,
        perplexity_base=perplexity(base, count),
        perplexity_tuned=perplexity(tuned, count),
        mean_kl=math.fsum(divergences) / count if divergences else None,
        kl_percentiles={str(share): percentile(divergences, share) for share in PERCENTILES if divergences},
        same_top=sum(entry.same_top for entry in scores) / count,
    )


def perplexity(logprob: float, tokens: int) -> float:
    """exp of the mean negative log-probability; infinite where it overflows."""
    try:
        return math.exp(-logprob / tokens)
    except OverflowError:
        return math.inf


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` percent of sorted ``values`` lie, between neighbours by straight lines."""
    place = share / 100 * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (place - low)
