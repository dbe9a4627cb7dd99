"""Which models to open, as the owner names them."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import PurePath
from typing import Any, Literal

from eval_prompts.models.adapters import public_name
from eval_prompts.serving.local import LocalLoader, Precision
from tuning.errors import UserError
from tuning.models.weights import Choices

Kind = Literal["adapter", "model", "none"]
Thinking = Literal["", "on", "off"]
Hold = Literal["", "4bit", "8bit"]
LONGEST = 1000


@dataclass(frozen=True)
class Wish:
    """A base, named as ``--model`` is, and what to compare it with: an adapter on it, another whole model, or nothing.

    ``chat_template`` and ``thinking`` are as on the command line, '' for what the model says; ``hold`` is '' for
    weights that are not quantised.
    """

    base: str
    kind: Kind = "none"
    tuned: str = ""
    chat_template: str = ""
    thinking: Thinking = ""
    precision: Precision = "auto"
    hold: Hold = ""

    @classmethod
    def of(cls, sent: Mapping[str, Any], now: Wish | None = None) -> Wish:
        """A wish from outside. What it leaves out is as it is ``now``; of another base the chat template and thinking
        are the model's own. Raises UserError for what is no wish."""
        start = now or cls("")
        base = text_of(sent.get("base"), "base model") or start.base
        if not base:
            raise UserError("Name the base model: a preset, a Hub id, a folder or a GGUF file.")
        if base != start.base:
            start = replace(start, chat_template="", thinking="")

        def given(name: str, choices: Any, what: str) -> Any:
            value = sent.get(name)
            return getattr(start, name) if value is None else chosen(choices, value, what)

        template = sent.get("chat_template")
        tuned = text_of(sent.get("tuned"), "tuned side")
        kind = chosen(Kind, sent.get("kind") or ("adapter" if tuned else "none"), "What is compared")
        if kind != "none" and not tuned:
            what = "an adapter: a folder, a zip, a run or a Hub id" if kind == "adapter" else "the tuned model"
            raise UserError(f"Name {what}; or choose to compare with nothing.")
        return cls(
            base,
            kind,
            "" if kind == "none" else tuned,
            start.chat_template if template is None else text_of(template, "chat template"),
            given("thinking", Thinking, "Thinking"),
            given("precision", Precision, "The precision"),
            given("hold", Hold, "How weights are held, where not as they are,"),
        )

    @classmethod
    def of_loader(cls, loader: LocalLoader) -> Wish:
        """What an app was started with."""
        choices = loader.choices or Choices()
        kind: Kind = "model" if loader.tuned_model else "adapter" if loader.adapter else "none"
        thinking: Thinking = "" if choices.thinking is None else "on" if choices.thinking else "off"
        tuned = loader.tuned_model or loader.adapter or ""
        template = choices.chat_template or ""
        return cls(loader.model, kind, tuned, template, thinking, loader.precision, loader.quantize or "")

    def loader(self, started: LocalLoader) -> LocalLoader:
        """What loads it, with what an app was ``started`` with in all that a wish does not say. Code of its own is run
        for the model that the app was started with alone, since that one's author was trusted."""
        own = started.choices or Choices()
        trusted = own.trust_remote_code and self.base == started.model
        thinking = None if not self.thinking else self.thinking == "on"
        return replace(
            started,
            model=self.base,
            adapter=self.tuned if self.kind == "adapter" else None,
            tuned_model=self.tuned if self.kind == "model" else None,
            quantize=self.hold or None,
            precision=self.precision,
            choices=Choices(self.chat_template or None, thinking, trusted, own.generation_defaults),
        )

    @property
    def words(self) -> str:
        """In one line, without folders: 'qwen3-0.6b with adapter mine'."""
        beside = {"adapter": " with adapter ", "model": " against ", "none": " alone"}[self.kind]
        further = [self.hold, self.precision if self.precision != "auto" else "", self.chat_template]
        further.append(f"thinking {self.thinking}" if self.thinking else "")
        more = ", ".join(shown(part) for part in further if part)
        return shown(self.base) + beside + shown(self.tuned) + (f" ({more})" if more else "")

    def same_base(self, other: Wish) -> bool:
        """Whether both are of one base, held and asked alike."""
        return replace(self, kind="none", tuned="") == replace(other, kind="none", tuned="")

    def to_dict(self) -> dict[str, str]:
        """For JSON, as :meth:`of` takes it."""
        return asdict(self)


def shown(name: str) -> str:
    """A name without the folders of this machine; of a run's adapter the run's."""
    place = PurePath(name)
    return public_name(str(place.parent) if place.name == "adapter" and place.parent.name else name)


def text_of(value: Any, name: str) -> str:
    """A text from outside without the spaces around it; '' for none. Raises UserError for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > LONGEST or "\0" in value:
        raise UserError(f"The {name} is named by a text of at most {LONGEST:,} characters.")
    return value.strip()


def chosen(choices: Any, value: Any, what: str) -> Any:
    """One of the values of a Literal. Raises UserError, naming them, for any other."""
    known = typing.get_args(choices)
    if value not in known:
        raise UserError(f"{what} is one of {', '.join(filter(None, known))}.")
    return value
