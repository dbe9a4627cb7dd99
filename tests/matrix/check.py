"""One cell of the matrix: both sides' greedy tokens against transformers' ``generate`` and peft's merge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.matrix.families import Family
from tests.matrix.kinds import CannotMake, Kind, make

if TYPE_CHECKING:
    import torch

TOKENS = 12
TIE = 1e-4
QUESTION = "Reverse a string."


@dataclass(frozen=True)
class Cell:
    """How a combination came out: 'equal', 'tie', 'peft refuses', 'refused', or 'DIFFERS'."""

    family: str
    kind: str
    result: str
    detail: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it is a fault of ours."""
        return self.result in ("refused", "DIFFERS")


def check(family: Family, kind: Kind, base: Path, folder: Path) -> Cell:
    """Make an adapter in ``folder`` for the model in ``base``, ask both sides, and compare."""
    from eval_prompts.models.pair import load_pair
    from tuning.errors import UserError
    from tuning.models.device import pick_device
    from tuning.models.weights import resolve

    try:
        make(kind, family, base, folder)
        reference = reference_model(kind, base, folder)
    except CannotMake as error:
        return Cell(family.title, kind.name, "peft refuses", str(error))
    try:
        pair = load_pair(resolve(str(base)), pick_device("cpu"), str(folder))
    except UserError as error:
        return Cell(family.title, kind.name, "refused", str(error))
    if not pair.base_is_base:
        return Cell(family.title, kind.name, "DIFFERS", "the base changed")
    results = []
    for side, model in (("base", load(base)), ("tuned", reference)):
        results.append(compare(pair, side, model))
    if "DIFFERS" in results:
        return Cell(family.title, kind.name, "DIFFERS", f"base {results[0]}, tuned {results[1]}")
    return Cell(family.title, kind.name, "tie" if "tie" in results else "equal")


def load(base: Path) -> Any:
    """The base as transformers loads it."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


def reference_model(kind: Kind, base: Path, adapter: Path) -> Any:
    """What peft makes of the adapter, merged where that is the reference. Raises CannotMake where peft fails."""
    from peft import PeftModel

    from tests.matrix.kinds import ADDED_TOKENS

    model = load(base)
    try:
        if kind.grows:
            rows = model.get_input_embeddings().weight.shape[0]
            model.resize_token_embeddings(rows + ADDED_TOKENS, mean_resizing=False)
        tuned = PeftModel.from_pretrained(model, adapter)
        return (tuned.merge_and_unload(safe_merge=True) if kind.merges else tuned).eval()
    except Exception as error:
        raise CannotMake(str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def compare(pair: Any, side: str, reference: Any) -> str:
    """'equal', 'tie' or 'DIFFERS': a side's greedy tokens against the reference's own greedy search."""
    import torch

    ours = answer(pair, side)
    prompt = prompt_ids(pair)
    with torch.inference_mode():
        generated = reference.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=TOKENS,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
    while generated and generated[-1] == pair.tokenizer.eos_token_id:
        generated.pop()
    if ours == generated:
        return "equal"
    at = next(
        (i for i, (a, b) in enumerate(zip(ours, generated, strict=False)) if a != b), min(len(ours), len(generated))
    )
    with torch.inference_mode():
        logits = reference(input_ids=torch.tensor([prompt + generated[:at]])).logits[0, -1]
    return "tie" if gap(logits, ours, generated, at, pair.tokenizer.eos_token_id) < TIE else "DIFFERS"


def gap(logits: torch.Tensor, ours: list[int], theirs: list[int], at: int, end: int) -> float:
    """How far apart the reference holds the two tokens at which the answers part."""
    one, other = (ids[at] if at < len(ids) else end for ids in (ours, theirs))
    return abs(float(logits[one] - logits[other]))


def prompt_ids(pair: Any) -> list[int]:
    """The tokens of the question as the engine asks it."""
    from tuning.data.chat import encode_prompt

    return encode_prompt(pair.tokenizer, QUESTION)


def answer(pair: Any, side: str) -> list[int]:
    """One side's greedy tokens through the engine."""
    from eval_prompts.answers import Settings, Stream
    from eval_prompts.decoding.choice import make_backend
    from eval_prompts.decoding.engine import Engine

    engine = Engine(make_backend(pair, "fp32"), pair.tokenizers)
    try:
        stream = Stream([QUESTION], [side], Settings(max_new_tokens=TOKENS))
        engine.submit(stream)
        stream.result()
        return stream.rows[0].generated
    finally:
        engine.close()
