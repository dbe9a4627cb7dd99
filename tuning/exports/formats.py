"""One export from beginning to end: written aside, checked by the engine that will run it, then put in place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tuning.errors import UserError
from tuning.exports import ollama, served
from tuning.exports.card import write_card
from tuning.exports.certify.certificate import Certificate, certify, refused, unchecked
from tuning.exports.certify.engine import Engine
from tuning.exports.certify.llama_engine import MISSING, LlamaCpp, installed
from tuning.exports.certify.measure import Scorer
from tuning.exports.certify.reference import Reference, load_reference
from tuning.exports.certify.transformers_engine import open_adapter, open_merged
from tuning.exports.export import copy_adapter, refuse_existing
from tuning.exports.kinds import PRECISIONS, QUESTIONS, Kind
from tuning.exports.llama_cpp import adapter_file
from tuning.exports.llama_cpp.model_file import write_model
from tuning.exports.llama_cpp.quantisation import TYPES
from tuning.exports.merged import PRECISIONS as MERGED
from tuning.exports.merged import write_merged
from tuning.exports.questions import Asked, held_out
from tuning.exports.subject import Subject
from tuning.file_names import RECORD_FILE
from tuning.files import first_line, is_full, replacing
from tuning.progress import Progress


@dataclass
class Written:
    """What a writer has put into a folder: how it is opened for its check, how it is used, what is to be said of it."""

    open: Callable[[], Engine]
    use: list[str]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Exported:
    """A finished export. ``certificate`` is None where none was asked for."""

    path: Path
    certificate: Certificate | None
    notes: tuple[str, ...]


def precision_of(kind: Kind, wanted: str | None) -> str:
    """In which precision an export is written. Raises UserError for one that the kind does not have."""
    choices = PRECISIONS.get(kind)
    if choices is None:
        if wanted is not None:
            raise UserError(f"An export --as {kind} keeps the adapter's own numbers: leave out --precision.")
        return "fp32"
    if wanted is None:
        return choices[0]
    for name in choices:
        if name.lower() == wanted.lower():
            return name
    raise UserError(f"An export --as {kind} has no precision {wanted!r}: choose {', '.join(choices)}.")


def export(
    subject: Subject,
    out: Path,
    kind: Kind,
    precision: str | None = None,
    *,
    report: Progress = lambda text, fraction: None,
    check: bool = True,
    most: int = QUESTIONS,
    questions: Sequence[Asked] | None = None,
    reference: Reference | None = None,
    scorer: Scorer | None = None,
) -> Exported:
    """Write an export to the folder ``out`` with its card and, with ``check``, its certificate.

    A red export is there all the same; who offers it must say so. Nothing is there if this raises: UserError, with a
    reason, for what cannot be written, and KeyboardInterrupt where it is stopped.
    """
    chosen = precision_of(kind, precision)
    refuse_existing(out)
    try:
        with replacing(out) as fresh:
            written = WRITERS[kind](subject, fresh, chosen, report)
            notes = [*subject.notes, *written.notes]
            certificate = None
            if check:
                certificate = checked(subject, written, kind, chosen, report, notes, most, questions, reference, scorer)
                certificate.write(fresh)
            write_card(subject, fresh, kind, written.use, certificate, notes)
    except OSError as error:
        if is_full(error):
            raise UserError(f"The disk is full: free some space for {out}, and export again.") from error
        raise UserError(
            f"{out} cannot be written ({error.strerror or first_line(error)}): choose another place."
        ) from error
    report("done", 1.0)
    return Exported(out, certificate, tuple(notes))


def checked(
    subject: Subject,
    written: Written,
    kind: Kind,
    precision: str,
    report: Progress,
    notes: Sequence[str],
    most: int,
    questions: Sequence[Asked] | None,
    reference: Reference | None,
    scorer: Scorer | None,
) -> Certificate:
    """The certificate of what was written. An engine that is not installed leaves it yellow, one that does not open
    the file makes it red."""
    about = {
        "kind": kind,
        "precision": precision,
        "base": subject.weights.origin,
        "base_fingerprint": subject.weights.fingerprint,
        "adapter": subject.name,
    }
    if kind in ("gguf", "lora-gguf", "ollama") and not installed():
        return unchecked(MISSING, about)
    if questions is None:
        questions, where = held_out(subject, most)
        notes = [*notes, f"Compared on {where}."]
    report("opening the export", 0.0)
    try:
        engine = written.open()
    except UserError as error:
        return refused(str(error), about)
    try:
        report("loading base and adapter to compare with", 0.0)
        tuned = reference or load_reference(subject)
        return certify(engine, tuned, questions, report, precision=precision, about=about, notes=notes, scorer=scorer)
    finally:
        engine.close()


def write_adapter(subject: Subject, folder: Path, precision: str, report: Progress) -> Written:
    """The adapter as it is."""
    copy_adapter(subject.adapter, folder)
    use = [f"python app.py --model {subject.weights.name} --adapter PATH/TO/THIS/FOLDER"]
    return Written(lambda: open_adapter(folder, subject), use)


def write_whole(subject: Subject, folder: Path, precision: str, report: Progress) -> Written:
    """Base and adapter as one model in transformers' layout."""
    name = next(each for each in MERGED if each == precision)
    notes = write_merged(subject, folder, name, report)
    # The record says in which prompt the model is asked.
    for brought, kept in (("README.md", "ADAPTER.md"), (RECORD_FILE, RECORD_FILE)):
        if (subject.adapter / brought).is_file():
            shutil.copy(subject.adapter / brought, folder / kept)
    return Written(lambda: open_merged(folder), ["vllm serve PATH/TO/THIS/FOLDER"], notes)


def write_gguf(subject: Subject, folder: Path, precision: str, report: Progress) -> Written:
    """Base and adapter as one GGUF."""
    folder.mkdir()
    name = next(each for each in TYPES if each == precision)
    file = folder / f"{file_name(subject)}-{name}.gguf"
    notes = write_model(subject, file, name, report)
    return Written(lambda: LlamaCpp(file), [f"llama-server -m {file.name} --jinja"], notes)


def write_lora_gguf(subject: Subject, folder: Path, precision: str, report: Progress) -> Written:
    """The adapter as a GGUF, and its base as another."""
    folder.mkdir()
    name = next(each for each in TYPES if each == precision)
    base, adapter = folder / f"base-{name}.gguf", folder / f"{file_name(subject)}-lora.gguf"
    notes = [
        *adapter_file.write_adapter(subject, adapter, report),
        *write_model(subject, base, name, report, bare=True),
    ]
    return Written(
        lambda: LlamaCpp(base, adapter), [f"llama-server -m {base.name} --lora {adapter.name} --jinja"], notes
    )


def write_ollama(subject: Subject, folder: Path, precision: str, report: Progress) -> Written:
    """A GGUF and its Modelfile."""
    tokenizer = subject.tokenizer()
    turns = ollama.turns_of(tokenizer, subject.prompt_format)
    folder.mkdir()
    name = next(each for each in TYPES if each == precision)
    file = folder / f"{file_name(subject)}-{name}.gguf"
    text, said = ollama.modelfile(subject, tokenizer, file.name)
    (folder / "Modelfile").write_text(text, encoding="utf-8")
    notes = [*write_model(subject, file, name, report), *said]
    called = file_name(subject).lower()
    return Written(
        lambda: ollama.Ollama(turns, file), [f"ollama create {called} -f Modelfile", f"ollama run {called}"], notes
    )


def write_vllm(subject: Subject, folder: Path, precision: str, report: Progress) -> Written:
    """The adapter with the commands that serve it."""
    commands, notes = served.write_served(subject, folder, file_name(subject))
    (folder / "serve.sh").write_text("\n".join(["#!/bin/sh", *commands[:2]]) + "\n", encoding="utf-8")
    return Written(lambda: open_adapter(folder, subject), commands, notes)


def write_mlx(subject: Subject, folder: Path, precision: str, report: Progress) -> Written:
    """The adapter in MLX's layout."""
    notes = served.write_mlx(subject, folder)
    base = subject.weights.hub_id or subject.weights.name

    def back() -> Engine:
        with tempfile.TemporaryDirectory() as scratch:
            return open_adapter(served.read_mlx_back(folder, subject, Path(scratch) / "adapter"), subject)

    return Written(back, [f"mlx_lm.generate --model {base} --adapter-path PATH/TO/THIS/FOLDER --prompt ..."], notes)


def file_name(subject: Subject) -> str:
    """The adapter's name as a file may have it."""
    kept = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in subject.name)
    return kept.strip(".-") or "model"


WRITERS: dict[Kind, Callable[[Subject, Path, str, Progress], Written]] = {
    "adapter": write_adapter,
    "merged": write_whole,
    "gguf": write_gguf,
    "lora-gguf": write_lora_gguf,
    "ollama": write_ollama,
    "vllm": write_vllm,
    "mlx": write_mlx,
}
