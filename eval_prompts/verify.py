"""``python -m eval_prompts verify``: does this file hold my fine-tune? What others exported gets our certificate."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eval_prompts.tasks.catalogue import find_task
from tuning.errors import UserError
from tuning.exports.kinds import QUESTIONS
from tuning.files import write_json

if TYPE_CHECKING:
    from eval_prompts.tasks.task import Task
    from tuning.command_line import Parser
    from tuning.exports.certify.certificate import Certificate
    from tuning.exports.certify.engine import Engine
    from tuning.exports.certify.measure import Scorer
    from tuning.exports.questions import Asked

RED = 3
"""The exit code of a red certificate."""


def add_verify_command(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to a command line."""
    verify = commands.add_parser("verify", help="whether a GGUF or a merged model holds base and adapter")
    verify.add_argument("artefact", type=Path, help="a GGUF file, a folder with one, or a merged model's folder")
    verify.add_argument("--model", default="smollm2-135m", help="the base: a preset, a local folder or a Hub id")
    verify.add_argument("--adapter", default="starter", help="the adapter: a folder, a Hub id, or 'starter'")
    verify.add_argument("--base-gguf", type=Path, metavar="FILE", help="the base that a LoRA-GGUF goes with")
    verify.add_argument("--task", help="a task's questions, with its scores; else held-out rows of the adapter's data")
    verify.add_argument("--questions", type=int, default=QUESTIONS, metavar="N", help=f"how many ({QUESTIONS})")
    verify.add_argument("--json", type=Path, metavar="FILE", help="write the certificate to this file as well")
    verify.set_defaults(run=run_verify)


def run_verify(options: argparse.Namespace) -> int:
    """Print the certificate; the exit code. Raises UserError if something cannot be read at all."""
    if options.questions < 1:
        raise UserError("--questions is at least 1.")
    proof = verify(options.artefact, options.model, options.adapter, options.task, options.questions, options.base_gguf)
    for line in proof.lines():
        print(line)
    for question in proof.questions:
        if question["prompt_words"]:
            print(f"prompt of {question['question']!r}: {question['prompt_words']}")
    if options.json is not None:
        try:
            write_json(options.json, proof.to_dict(), indent=2)
        except OSError as error:
            raise UserError(f"{options.json} cannot be written ({error.strerror}): choose another place.") from error
    return RED if proof.colour == "red" else 0


def verify(
    artefact: Path, model: str, adapter: str, task: str | None, most: int, base: Path | None = None
) -> Certificate:
    """The certificate of an artefact against base and adapter. Raises UserError if one of the three cannot be read."""
    from eval_prompts.models.pair import load_pair
    from tuning.exports.certify.certificate import certify, refused
    from tuning.exports.certify.reference import TwoModels
    from tuning.exports.certify.transformers_engine import odd_settings
    from tuning.models.device import pick_device
    from tuning.models.weights import resolve
    from tuning.progress import reporting

    kind, place = kind_of(artefact)
    with reporting(None) as report:
        weights = resolve(model, on_progress=report)
        pair = load_pair(weights, pick_device("cpu"), adapter)
        assert pair.adapter is not None
        about = {"artefact": artefact.name, "base": weights.origin, "adapter": pair.adapter.name}
        questions, where, scorer, tokens = asked(task, pair.adapter.path, model, most)
        try:
            engine, precision = opened(kind, place, base)
        except UserError as error:
            return refused(str(error), about)
        try:
            reference = TwoModels(pair.model("tuned"), pair.base, pair.tokenizers["tuned"])
            notes = [f"Compared on {where}.", *pair.adapter.notes]
            return certify(
                engine,
                reference,
                questions,
                report,
                precision=precision,
                about=about,
                notes=notes,
                settings=odd_settings(place, weights.path) if kind == "merged" else [],
                scorer=scorer,
                most=tokens,
            )
        finally:
            engine.close()


def kind_of(artefact: Path) -> tuple[str, Path]:
    """'gguf', 'lora-gguf' or 'merged', and the file or folder. Raises UserError for anything else."""
    from tuning.models import gguf

    if artefact.is_dir() and not (artefact / "config.json").is_file():
        found = gguf.find(artefact)
        if found is None:
            raise UserError(f"{artefact.name} holds neither a GGUF nor a model in transformers' layout: name another.")
        artefact = found
    if artefact.is_dir():
        return "merged", artefact
    if not artefact.is_file():
        raise UserError(f"There is no file or folder {artefact}: check the path.")
    with artefact.open("rb") as file:
        if file.read(4) != gguf.MAGIC:
            raise UserError(f"{artefact.name} is no GGUF and no folder: give a GGUF or a merged model's folder.")
    return ("lora-gguf" if is_adapter(artefact) else "gguf"), artefact


def is_adapter(file: Path) -> bool:
    """Whether a GGUF holds an adapter alone. Raises UserError for a damaged one."""
    from gguf import GGUFReader

    try:
        kind = GGUFReader(file).get_field("general.type")
        return kind is not None and kind.contents() == "adapter"
    except Exception as error:
        raise UserError(f"{file.name} cannot be read as GGUF ({type(error).__name__}): copy it again.") from error


def opened(kind: str, place: Path, base: Path | None) -> tuple[Engine, str]:
    """The engine that runs an artefact, and the precision of its weights. Raises UserError if it does not open."""
    from tuning.exports.certify.llama_engine import LlamaCpp
    from tuning.exports.certify.transformers_engine import open_merged

    if kind == "merged":
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        named = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
        dtype = str(config.get("dtype") or config.get("torch_dtype") or "float32")
        return open_merged(place), named.get(dtype, dtype)
    if kind == "lora-gguf" and base is None:
        raise UserError(f"{place.name} is an adapter: name the GGUF of its base with --base-gguf.")
    engine = LlamaCpp(place) if base is None else LlamaCpp(base, place)
    return engine, str(engine.settings.get("model_ftype") or "").removeprefix("all ")


def asked(
    task: str | None, adapter: Path, model: str, most: int
) -> tuple[Sequence[Asked], str, Scorer | None, int | None]:
    """The questions, where they are from, who scores the answers, and how long those may be."""
    from tuning.exports import questions, subject

    if task is None:
        found, where = questions.held_out(subject.of_adapter(adapter, model), most)
        return found, where, None, None
    chosen = find_task(task)
    if not chosen.questions:
        raise UserError(f"The task {chosen.name} has no questions: choose another, or name a file.")
    first = [one for one in chosen.questions if not one.after]  # later turns go on from answers of the page's own
    picked = first[:most]
    rows = [
        questions.Asked(one.id, chosen.prompt(one).messages, one.references[0] if one.references else "")
        for one in picked
    ]
    where = f"{len(picked)} of {len(first)} questions of the task {chosen.name}"
    scores = bool(chosen.scorers) or any(one.checks for one in picked)
    return rows, where, scorer_of(chosen) if scores else None, chosen.settings.max_new_tokens if scores else None


def scorer_of(task: Task) -> Scorer:
    """The task's own scorers."""
    from eval_prompts.tasks.verdicts import judge_answer

    def score(one: Asked, text: str) -> float | None:
        question = task.find(one.name)
        return None if question is None else judge_answer(task, question, text, True).score

    return score
