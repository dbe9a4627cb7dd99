"""What the Compare tab shows, as plain data: the page's script draws it, the tests read it.

Nothing here knows gradio or HTML. Texts of visitors and models travel as strings and are only ever put on the
page as text.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from eval_prompts.answers import CONTEXT_FULL, ending_words
from eval_prompts.judging.extract import code
from eval_prompts.models.adapters import public_name
from eval_prompts.showing.code_diff import Line, diff_lines
from eval_prompts.votes.names import SHORT
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.answers import Answer, Settings
    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.models.pair import Side
    from eval_prompts.serving.status import Status
    from eval_prompts.showing.views import LinesView, LineView, SideView, StatusView, ThinkingView
    from eval_prompts.tasks.task import Task

code_once = lru_cache(maxsize=256)(code)  # an answer is complete long before the last one of its request is
BUSY_POLL_SECONDS, IDLE_POLL_SECONDS = 1.0, 8.0


def thinking(answer: Answer) -> ThinkingView | None:
    """The draft of a thinking model and whether it is over; None for answers without one."""
    thought = answer.thought
    return {"text": thought.thinking, "over": thought.over} if thought.thinking or not thought.over else None


def difference(left: SideView, right: SideView) -> tuple[bool, list[LinesView]]:
    """Whether two complete sides differ, and the diff of their code; of their texts where neither holds any."""
    what: Literal["code", "text"] = "code" if left["code"] or right["code"] else "text"
    return left["text"].strip() != right["text"].strip(), [
        {"kind": pair.kind, "left": line_view(pair.left), "right": line_view(pair.right)}
        for pair in diff_lines(left[what], right[what])
    ]


def line_view(line: Line | None) -> LineView | None:
    """One line of the diff, where that side has one."""
    return None if line is None else {"number": line.number, "pieces": list(line.pieces)}


def filled(task: Task, *given: float | None) -> tuple[Any, ...]:
    """Token cap, temperature, top-p and seed, each the task's own where a script gave none."""
    usual = (task.settings.max_new_tokens, task.settings.temperature, task.settings.top_p, task.settings.seed)
    return tuple(own if value is None else value for own, value in zip(usual, given, strict=True))


def settings_from(max_new_tokens: Any, temperature: Any, top_p: Any, seed: Any, confidence: Any = False) -> Settings:
    """Settings from what a form or a client sent; an empty seed is 0. Raises UserError for what is no number."""
    from eval_prompts.answers import Settings

    try:
        return Settings(
            int(max_new_tokens), float(temperature), float(top_p), int(seed or 0), confidence=bool(confidence)
        )
    except (TypeError, ValueError, OverflowError):
        raise UserError("Each of the settings is a number: check the token cap, temperature, top-p and seed.") from None


def facts(answer: Answer) -> list[str]:
    """An answer's measures in words: tokens and seconds, tokens per second, time to the first token; the times where
    they are known."""
    if answer.first_token_seconds is None:
        return pace(answer.tokens, 0.0) if answer.tokens else []
    return [*pace(answer.tokens, answer.seconds), f"first after {answer.first_token_seconds:.1f} s"]


def pace(tokens: int, seconds: float) -> list[str]:
    """'300 tokens in 9.7 s' and '31 tok/s'; the tokens alone where no time is known (0 seconds)."""
    count = f"{tokens:,} token{'s' if tokens != 1 else ''}"
    return [f"{count} in {seconds:.1f} s", f"{tokens / seconds:.0f} tok/s"] if seconds > 0 else [count]


def ending(answer: Answer, cap: int) -> str:
    """How an answer ended, in words; empty while it has not."""
    still = " while still thinking" if answer.done and answer.thinks_still else ""
    if answer.state == "failed":
        return f"failed: {answer.problem or 'ask again'}"
    if not answer.done:
        return ""
    words = ending_words(answer.state, CONTEXT_FULL if answer.full else f"the {cap:,}-token cap", "stopped by you")
    return words if answer.state == "cancelled" else words + still


def settings_words(settings: Settings) -> str:
    """The settings of one request in words: '300 tokens at most · greedy'."""
    words = [f"{settings.max_new_tokens:,} tokens at most"]
    if settings.temperature == 0:
        return " · ".join([*words, "greedy"])
    words.append(f"temperature {settings.temperature:g}")
    if settings.top_p < 1:
        words.append(f"top-p {settings.top_p:g}")
    return " · ".join([*words, f"seed {settings.seed}"])


def model_words(model: str) -> str:
    """A model's own name, without the folder or the owner that it comes from."""
    return PurePath(model).name


def adapter_words(status: Status) -> str:
    """The adapter in one line: 'python-qa · r16 · 60 steps · loss 0.52'; leaves out what it does not say."""
    if status.adapter is None:
        return "loading\u2026" if status.state == "loading" else "none"
    return card_words(status.adapter)


def base_words(status: Status) -> str:
    """Who answers on the side named base: the base model, or the adapter that stands in for it."""
    return card_words(status.against) if status.against else model_words(status.model)


def adapter_names(status: Status) -> dict[Side, str] | None:
    """What to call both sides where two adapters are compared, by side: their names, with the start of their
    fingerprints where these are the same. None where one side is the base model."""
    if status.adapter is None or status.against is None:
        return None
    cards: dict[Side, AdapterCard] = {"base": status.against, "tuned": status.adapter}
    if status.adapter.name != status.against.name:
        return {side: card.name for side, card in cards.items()}
    return {side: f"{card.name} ({card.fingerprint[:SHORT]})" for side, card in cards.items()}


def card_words(card: AdapterCard) -> str:
    """An adapter in one line, for :func:`adapter_words`."""
    words = [card.name, f"r{card.rank}"] if card.rank else [card.name]
    if card.steps is not None:
        words.append(f"{card.steps:,} steps")
    if card.loss_after is not None:
        words.append(f"loss {card.loss_after:.2f}")
    return " · ".join(words)


def status_view(status: Status) -> StatusView:
    """The page header's data: base, adapter, one line of state in words, details, and when to ask again."""
    state: str = status.state
    words = status.message
    if state == "loading" and status.progress is not None:
        words = f"{status.message} {status.progress:.0%}"
    elif state == "ready":
        state = words = "answering" if status.answering or status.queued else "ready"
        if status.queued:
            words += f" · {status.queued} waiting"
    elif state == "failed":
        words = "not loaded"
    return {
        "state": state,
        "words": words,
        "problem": status.message if state == "failed" else "",
        "progress": status.progress if state == "loading" else None,
        "model": base_words(status),
        "base": model_words(status.model),
        "models": "+".join((status.fingerprint, *(trained(card) for card in (status.adapter, status.against) if card))),
        "against": status.against is not None,
        "adapter": adapter_words(status) + noted_words(status),
        "tuned": "tuned model" if status.adapter and status.adapter.is_model else "adapter",
        "device": status.device,
        "details": status_details(status),
        "poll_seconds": IDLE_POLL_SECONDS if state == "ready" else BUSY_POLL_SECONDS,
    }


def trained(card: AdapterCard) -> str:
    """What tells an adapter from all others, at whatever strength it speaks."""
    return card.fingerprint.partition("@")[0]


def noted_words(status: Status) -> str:
    """A mark behind the adapter's name where there is something to know of it; the details say what."""
    count = sum(len(card.notes) for card in (status.adapter, status.against) if card)
    return f" · ⚠ {count} note{'s' if count > 1 else ''}" if count else ""


def status_details(status: Status) -> list[list[str]]:
    """What the header's details show, as pairs of a name and words."""
    pairs = [("Base model", model_words(status.model)), ("Weights from", status.origin)]
    pairs += [("Note", note) for note in status.notes]
    pairs += [(f"{side.capitalize()} side is asked", text) for side, text in status.prompts]
    names = adapter_names(status)
    if names and status.adapter and status.against:
        pairs += [*_card_details(status.against, names["base"]), *_card_details(status.adapter, names["tuned"])]
    else:
        pairs.append(("Base side", base_check(status)))
        pairs += _card_details(status.adapter, status.adapter.name) if status.adapter else []
    pairs.append(("Runs on", status.device))
    if status.memory_mb:
        pairs.append(("Weights in memory", f"{status.memory_mb:,.0f} MB, both sides together"))
    pairs.append(("LoRA Lens", f"version {status.version}"))
    return [[name, words] for name, words in pairs if words]


def base_check(status: Status) -> str:
    """Whether the base side is the base model itself, in words; '' while nothing can be said of it."""
    if status.base_is_base is None:
        return "" if status.state != "ready" else "served elsewhere, so it is not compared with weights here"
    return {
        True: "untouched: same logits as the model without an adapter",
        False: "NOT the base model: its logits differ from the model without an adapter",
    }[status.base_is_base]


def _card_details(card: AdapterCard, name: str) -> list[tuple[str, str]]:
    if card.is_model:
        pairs = [("Tuned model", name), ("Its weights from", card.origin)]
    else:
        pairs = [("Adapter", name), ("Trained on", public_name(card.base))]
    if card.rank:
        pairs.append(("LoRA", f"rank {card.rank}, alpha {card.alpha:g}, on {', '.join(card.target_modules)}"))
    if card.loss_before is not None and card.loss_after is not None:
        pairs.append(("Held-out loss", f"{card.loss_before:.2f} before, {card.loss_after:.2f} after"))
    pairs += [(f"Note on the {card.noun}", note) for note in card.notes]
    return pairs
