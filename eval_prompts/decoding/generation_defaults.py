"""A model's own generation settings (generation_config.json): shown always, followed where the user says so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.models.weights import generation_config

if TYPE_CHECKING:
    import torch

    from eval_prompts.models.pair import Side
    from eval_prompts.rows import Row

FOLLOWED = ("repetition_penalty", "no_repeat_ngram_size", "top_k")
SHOWN = (
    *FOLLOWED,
    *("temperature", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h", "min_new_tokens"),
    *("suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "sequence_bias", "forced_bos_token_id"),
    *("forced_eos_token_id", "exponential_decay_length_penalty", "guidance_scale", "num_beams", "penalty_alpha"),
)
LONG_LIST = 4
NEUTRAL = {
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "top_k": 0,
    "temperature": 1.0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "min_new_tokens": 0,
    "guidance_scale": 1.0,
    "num_beams": 1,
    "penalty_alpha": 0.0,
}


@dataclass(frozen=True)
class GenerationDefaults:
    """What a model's folder says beside its end tokens, each only where it changes something."""

    values: dict[str, Any]

    @classmethod
    def of(cls, folder: Path) -> GenerationDefaults:
        """Read ``generation_config.json``; nothing where there is none. Raises UserError for a damaged one."""
        settings = generation_config(folder) or {}
        named = {name: settings[name] for name in SHOWN if settings.get(name) not in (None, [], NEUTRAL.get(name))}
        return cls(named)

    @property
    def usable(self) -> dict[str, int | float]:
        """Those that are followed, but for values that transformers' processors do not take."""
        numbers = {name: self.values[name] for name in FOLLOWED if type(self.values.get(name)) in (int, float)}
        return {
            name: value
            for name, value in numbers.items()
            if 0 < value < math.inf and (name == "repetition_penalty" or value == int(value))
        }

    def note(self, followed: bool) -> str | None:
        """One sentence for the user; None if the model sets nothing of the kind."""
        if not self.values:
            return None
        words = ", ".join(f"{name.replace('_', ' ')} {in_short(value)}" for name, value in self.values.items())
        if not followed:
            return f"The model's own generation settings are not followed ({words}): --generation-defaults does."
        usable = self.usable
        left = [name.replace("_", " ") for name in self.values if name not in FOLLOWED]
        rest = f" Not followed: {', '.join(left)}, for which the page's settings hold." if left else ""
        wrong = [name for name in FOLLOWED if name in self.values and name not in usable]
        rest += "".join(f" Left out: its {name.replace('_', ' ')} makes no sense." for name in wrong)
        used = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in usable.items())
        return f"The model's own generation settings are followed ({used or 'none of those it has'}).{rest}"

    def applied(self, rows: Sequence[Row], logits: torch.Tensor) -> torch.Tensor:
        """``logits``, [rows, vocabulary], after transformers' own processors, which see prompt and answer so far."""
        import torch
        from transformers import NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor, TopKLogitsWarper

        penalty, size, top = (self.usable.get(name) for name in FOLLOWED)
        always: list[Any] = [RepetitionPenaltyLogitsProcessor(float(penalty))] if penalty else []
        always += [NoRepeatNGramLogitsProcessor(int(size))] if size else []
        sampled = [TopKLogitsWarper(int(top))] if top else []
        changed = []
        for row, scores in zip(rows, logits.split(1), strict=True):
            ids = torch.tensor([row.ids], device=logits.device)
            for process in (*always, *(sampled if row.generator is not None else [])):
                scores = process(ids, scores)
            changed.append(scores)
        return torch.cat(changed)


def in_short(value: object) -> str:
    """A setting's value; of a long list only how long it is."""
    long = isinstance(value, list | dict) and len(value) > LONG_LIST
    return f"({len(value)} entries)" if long and isinstance(value, list | dict) else str(value)


@dataclass(frozen=True)
class SideDefaults:
    """The generation settings of each side's model: the base's for both, unless the tuned one is a whole model."""

    by_side: Mapping[Side, GenerationDefaults]

    @classmethod
    def of(cls, base: Path, tuned: Path | None = None) -> SideDefaults:
        """Read those of the base model's folder, and of the tuned model's where that is another model."""
        ours = GenerationDefaults.of(base)
        return cls({"base": ours, "tuned": ours if tuned is None else GenerationDefaults.of(tuned)})

    def notes(self, followed: bool) -> list[str]:
        """What the user is told of them; where the sides differ, of each by its name."""
        notes = {side: defaults.note(followed) for side, defaults in self.by_side.items()}
        if notes["base"] == notes["tuned"]:
            return [notes["base"]] if notes["base"] else []
        return [f"{side} side: {note}" for side, note in notes.items() if note]

    def applied(self, rows: Sequence[Row], logits: torch.Tensor) -> torch.Tensor:
        """``logits``, [rows, vocabulary], after the processors of each row's own side."""
        import torch

        parts = logits.split(1)
        return torch.cat([self.by_side[row.side].applied([row], part) for row, part in zip(rows, parts, strict=True)])
