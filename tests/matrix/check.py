"""One cell of the matrix: both sides' prompts and greedy tokens against transformers' ``generate`` and peft's merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.matrix.families import Family
from tests.matrix.kinds import CannotMake, Kind, make
from tests.matrix.templates import Template

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
    template: str
    result: str
    detail: str = ""

    @property
    def wrong(self) -> bool:
        """Whether it is a fault of ours."""
        return self.result in ("refused", "DIFFERS")


def check(family: Family, kind: Kind, base: Path, folder: Path, templates: Sequence[Template]) -> list[Cell]:
    """Make an adapter in ``folder`` for the model in ``base``, ask both sides in each template, and compare."""
    from eval_prompts.models.pair import load_pair
    from tuning.errors import UserError
    from tuning.models.device import pick_device
    from tuning.models.weights import resolve

    try:
        make(kind, family, base, folder)
        reference = reference_model(kind, base, folder)
    except CannotMake as error:
        return [Cell(family.title, kind.name, each.name, "peft refuses", str(error)) for each in templates]
    try:
        pair = load_pair(resolve(str(base)), pick_device("cpu"), str(folder))
    except UserError as error:
        return [Cell(family.title, kind.name, each.name, "refused", str(error)) for each in templates]
    if not pair.base_is_base:
        return [Cell(family.title, kind.name, each.name, "DIFFERS", "the base changed") for each in templates]
    models = {"base": load(base), "tuned": reference}
    cells = []
    for template in templates:
        pair.tokenizer.chat_template = template.jinja
        try:
            results = {side: compare(pair, side, model, template) for side, model in models.items()}
        except UserError as error:
            cells.append(Cell(family.title, kind.name, template.name, "refused", str(error)))
            continue
        words = set(results.values())
        result = next((word for word in ("DIFFERS", "tie") if word in words), "equal")
        detail = f"base {results['base']}, tuned {results['tuned']}" if result == "DIFFERS" else ""
        cells.append(Cell(family.title, kind.name, template.name, result, detail))
    return cells


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
        extend_kinds(tuned.get_base_model(), tuned.peft_config["default"])
        return (tuned.merge_and_unload(safe_merge=True) if kind.merges else tuned).eval()
    except Exception as error:
        raise CannotMake(str(error).splitlines()[0] if str(error) else type(error).__name__) from error


def extend_kinds(model: Any, config: Any) -> None:
    """Where peft has repeated layers, tell the model of what kind the new ones are: it fails without."""
    layers, kinds = getattr(config, "layer_replication", None), getattr(model.config, "layer_types", None)
    if layers and kinds and len(kinds) < model.config.num_hidden_layers:
        model.config.layer_types = [kinds[at] for begin, end in layers for at in range(begin, end)]


def compare(pair: Any, side: str, reference: Any, template: Template) -> str:
    """'equal', 'tie' or 'DIFFERS': a side's greedy tokens against the reference's own greedy search.

    The reference is asked in the template's text, written by hand, and ends at its closing token too.
    """
    import torch

    asked, ours = answer(pair, side)
    prompt = prompt_ids(pair, template)
    if asked != prompt:
        return "DIFFERS"
    ends = {pair.tokenizer.eos_token_id, pair.tokenizer.convert_tokens_to_ids(template.closing)}
    with torch.inference_mode():
        generated = reference.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=TOKENS,
            pad_token_id=0,
            eos_token_id=sorted(ends),
        )[0, len(prompt) :].tolist()
    while generated and generated[-1] in ends:
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


def prompt_ids(pair: Any, template: Template) -> list[int]:
    """The tokens of the question as the template must put it."""
    from tuning.data.chat import prompt_messages

    system, user = (message["content"] for message in prompt_messages(QUESTION))
    return list(pair.tokenizer.encode(template.prompt(system, user), add_special_tokens=False))


def answer(pair: Any, side: str) -> tuple[list[int], list[int]]:
    """The tokens of one side's prompt, and its greedy answer's, through the engine."""
    from eval_prompts.answers import Settings
    from eval_prompts.decoding.choice import make_backend
    from eval_prompts.decoding.engine import Engine
    from eval_prompts.stream import Stream

    engine = Engine(make_backend(pair, "fp32"), pair.tokenizers)
    try:
        stream = Stream([QUESTION], [side], Settings(max_new_tokens=TOKENS))
        engine.submit(stream)
        stream.result()
        row = stream.rows[0]
        return row.ids[: row.prompt_length], row.generated
    finally:
        engine.close()
