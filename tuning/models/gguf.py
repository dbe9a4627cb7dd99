"""A GGUF file as a base model: dequantised once into the cache, in transformers' format, and used from there."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from tuning.errors import UserError
from tuning.files import first_line
from tuning.models import embedded
from tuning.progress import Progress

SAMPLED_BYTES = 1 << 20
MAGIC = b"GGUF"


def find(folder: Path) -> Path | None:
    """The one GGUF of a folder that holds no model in transformers' format; None if there is none.

    Raises UserError if there are several, since they are usually one model in several precisions.
    """
    files = sorted(path for path in folder.glob("*.gguf") if not path.name.startswith("mmproj"))
    if len(files) > 1:
        raise UserError(
            f"The folder {folder.name} holds several GGUF files: name one of {', '.join(f.name for f in files)}."
        )
    return files[0] if files else None


def parameter_count(file: Path) -> int:
    """Numbers in all tensors of a GGUF, read from its header. Raises UserError if it is none, or damaged."""
    from gguf import GGUFReader

    check_magic(file)
    try:
        return sum(int(tensor.n_elements) for tensor in GGUFReader(file).tensors)
    except Exception as error:
        raise UserError(f"The GGUF {file.name} is damaged ({first_line(error)}): download it again.") from error


def check_magic(file: Path) -> None:
    """Raise UserError if a file does not begin as a GGUF does."""
    with file.open("rb") as opened:
        if opened.read(4) != MAGIC:
            raise UserError(f"{file.name} is no GGUF file (it does not begin with GGUF): download it again.")


def converted(file: Path, on_progress: Progress) -> Path:
    """The folder of ``file``'s weights in fp32, made now if need be, by one process at a time.

    Raises UserError if it is no GGUF, of an architecture that transformers cannot decode, or does not fit on the disk.
    """
    check_magic(file)
    cache = embedded.cache_folder()
    target = cache / f"gguf-{digest(file)}"
    if embedded.is_complete(target):
        return target
    with embedded.as_user_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        on_progress("waiting for another process that prepares the same weights", None)
        with FileLock(f"{target}.lock"):
            if not embedded.is_complete(target):
                make(file, target, on_progress)
    return target


def make(file: Path, target: Path, on_progress: Progress) -> None:
    """Decode beside the place, then move there in one step."""
    for leftover in target.parent.glob(f"{target.name}.partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)  # of an interrupted conversion: the lock is held, nobody uses it
    partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.partial-", dir=target.parent))
    try:
        embedded.convert(file, partial / "model", on_progress, name=file.stem)
        sizes = {path.name: path.stat().st_size for path in (partial / "model").iterdir()}
        (partial / "model" / embedded.MANIFEST).write_text(json.dumps({"gguf": file.name, "sizes": sizes}, indent=2))
        shutil.rmtree(target, ignore_errors=True)
        (partial / "model").rename(target)
    except (OSError, UserError):
        raise
    except Exception as error:
        raise UserError(
            f"The GGUF {file.name} cannot be decoded ({first_line(error)}): choose the model's safetensors instead."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def digest(file: Path) -> str:
    """Sixteen hexadecimal digits of size, beginning and end: the beginning holds all settings and shapes."""
    size = file.stat().st_size
    content = hashlib.sha256(f"{size}:".encode())
    with file.open("rb") as opened:
        content.update(opened.read(SAMPLED_BYTES))
        opened.seek(max(0, size - SAMPLED_BYTES))
        content.update(opened.read(SAMPLED_BYTES))
    return content.hexdigest()[:16]
