"""Where an adapter is: a folder, a zip, a file, a run, or on the Hub; made into one folder on this disk."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tuning.errors import UserError
from tuning.file_names import CONFIG_FILE, MLX_FILE, RECORD_FILE, TEMPLATE_FILE, WEIGHTS_FILE
from tuning.files import data_root
from tuning.hub_errors import hub_errors
from tuning.quiet import quiet
from tuning.runs.run import runs_root

STARTER = Path(__file__).parents[1] / "starter_adapter"
STARTERS = {
    "starter": STARTER,
    **{f"starter-{path.name}": path for path in sorted((Path(__file__).parents[1] / "starters").glob("*"))},
}
"""Adapters that come with LoRA Lens, for the Python task and for others that are built in."""
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("vocab.txt", "merges.txt", TEMPLATE_FILE, "chat_template.json", "*.model"),
)
HUB_PATTERNS = (CONFIG_FILE, WEIGHTS_FILE, MLX_FILE, RECORD_FILE, "README.md", *TOKENIZER_FILES)
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt"})
ZIP_LEVELS = 8
"""A zip holds an adapter and what people packed around it; a folder may be anything."""
MOST_ENTRIES = 10_000
LARGEST_ZIP = 64 * 2**30
HUB_NAME = re.compile(
    r"(?:https?://huggingface\.co/)?(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+?))?"
    r"(?:/(?:tree/(?P<tree>[\w.-]+)/?)?(?P<folder>[^@]*?))?(?:@(?P<last>[\w./-]+))?/?"
)


@dataclass(frozen=True)
class HubName:
    """An adapter on the Hub: OWNER/NAME, the folder within, and the revision (a branch, tag or commit)."""

    repo: str
    folder: str = ""
    revision: str | None = None

    @property
    def words(self) -> str:
        """As it is typed."""
        revision = f"@{self.revision}" if self.revision else ""
        return self.repo + revision + (f"/{self.folder}" if self.folder else "")


def find(adapter: str) -> Path:
    """The folder, in peft's or MLX's layout, of an adapter.

    Named by 'starter' or another of ``STARTERS``, a folder (of the adapter, of a run, or around a single adapter), a
    weight file, a zip, the name of a folder in the runs' folder, or on the Hub by OWNER/NAME[@REVISION][/FOLDER].
    Raises UserError, saying what there is instead, if there is none.
    """
    name = adapter.strip()
    if not name:
        raise UserError("No adapter is named: give a folder, a zip, a Hub id or 'starter'.")
    if name in STARTERS:
        return STARTERS[name]
    path = Path(name).expanduser()
    try:
        if path.is_dir():
            return within(path)
        if path.is_file():
            return from_file(path)
        if "/" not in name and (runs_root() / name).is_dir():
            return within(runs_root() / name)
    except OSError as error:
        raise UserError(f"The adapter {name} cannot be read ({error.strerror}): check the path.") from error
    hub = hub_name(name)
    if hub is None:
        raise UserError(f"There is no adapter folder {adapter}: check the path.")
    return download(hub)


def name_of(folder: Path) -> str:
    """What :func:`find` finds a folder by: the name of an adapter that comes with LoRA Lens, or its path."""
    return next((name for name, starter in STARTERS.items() if starter == folder), str(folder))


def lies_here(adapter: str) -> bool:
    """Whether :func:`find` looks for an adapter on this machine, and not on the Hub."""
    name = adapter.strip()
    return name in STARTERS or Path(name).expanduser().exists() or ("/" not in name and (runs_root() / name).is_dir())


def hub_name(name: str) -> HubName | None:
    """A name on the Hub taken apart, the page's address of one too; None if it is plainly a path."""
    parts = None if name.startswith((".", "/", "~")) else HUB_NAME.fullmatch(name)
    if parts is None or ".." in name:
        return None
    folder = (parts["folder"] or "").strip("/")
    return HubName(parts["repo"], folder, parts["revision"] or parts["tree"] or parts["last"])


def looks_like_hub_id(name: str) -> bool:
    """True for names of the form OWNER/MODEL that are not plainly paths."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/")


def is_adapter(folder: Path) -> bool:
    """Whether a folder itself is laid out as an adapter, or tries to be."""
    return any((folder / name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE, MLX_FILE))


def within(folder: Path, levels: int = 2) -> Path:
    """The adapter that ``folder`` is, or the only one up to so many levels below it. Raises UserError naming those
    there are, if several."""
    if is_adapter(folder):
        return folder
    below = sorted(path for path in candidates(folder, levels) if is_adapter(path))
    run = folder / "adapter"
    if run in below and (folder / "config.json").is_file():
        return run
    if len(below) == 1:
        return below[0]
    if below:
        names = ", ".join(str(path.relative_to(folder)) for path in below[:6])
        more = f" and {len(below) - 6} more" if len(below) > 6 else ""
        raise UserError(f"{folder.name} holds {len(below)} adapters: name one of {names}{more} in it.")
    if any(path.suffix in PICKLES and path.name.startswith("adapter_model") for path in folder.iterdir()):
        raise UserError(pickled(folder.name))
    if any(folder.glob("*.safetensors")) and (folder / "config.json").is_file():
        raise UserError(f"{folder.name} is a whole model, not an adapter: give it as --model.")
    raise UserError(f"{folder.name} is not an adapter: it has no {CONFIG_FILE}.")


def candidates(folder: Path, levels: int) -> list[Path]:
    """Folders up to so many levels below ``folder``, hidden ones left out."""
    if levels == 0:
        return []
    first = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return first + [below for path in first for below in candidates(path, levels - 1)]


def pickled(name: str) -> str:
    """What is said of an adapter that is stored as a pickle."""
    return (
        f"The adapter {name} is a pickle, which can run code when loaded: "
        f"save it as {WEIGHTS_FILE} (safe_serialization=True) and try again."
    )


def from_file(path: Path) -> Path:
    """The folder of an adapter that is named by one of its files, or that a zip holds. Raises UserError if neither."""
    if path.suffix.lower() == ".zip":
        return within(unpacked(path), ZIP_LEVELS)
    if path.suffix.lower() in PICKLES:
        raise UserError(pickled(path.name))
    if path.name in (CONFIG_FILE, WEIGHTS_FILE, MLX_FILE):
        return path.parent
    if path.suffix.lower() == ".safetensors":
        raise UserError(f"{path.name} is not an adapter's name: call it {WEIGHTS_FILE}, with its {CONFIG_FILE} beside.")
    if path.suffix.lower() == ".gguf":
        raise UserError(f"{path.name} is an adapter of llama.cpp: give the folder in peft's format it was made from.")
    raise UserError(f"{path.name} is not an adapter: give its folder, a zip of it, or a Hub id.")


def opened_root() -> Path:
    """Where zips are unpacked and adapters of other formats converted, each under a digest of what it was."""
    return data_root() / "opened"


def unpacked(archive: Path) -> Path:
    """The content of a zip, unpacked once. Raises UserError for a damaged one, a locked one, or paths that leave it."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    target = opened_root() / digest / archive.stem
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".zip-", dir=target.parent))
    try:
        with zipfile.ZipFile(archive) as content:
            check_entries(content, archive)
            content.extractall(fresh)
        replace_or_keep(fresh, target)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise UserError(f"{archive.name} cannot be unpacked ({error}): zip the adapter's folder again.") from error
    except OSError as error:
        raise UserError(f"{archive.name} cannot be unpacked ({error.strerror}): free some space.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def check_entries(content: zipfile.ZipFile, archive: Path) -> None:
    """Raise UserError for entries that would land outside the folder, are links, or are far too many or too large."""
    entries = content.infolist()
    if len(entries) > MOST_ENTRIES or sum(entry.file_size for entry in entries) > LARGEST_ZIP:
        raise UserError(f"{archive.name} holds more than an adapter does: zip the adapter's folder alone.")
    free = shutil.disk_usage(opened_root()).free
    if sum(entry.file_size for entry in entries) > free:
        raise UserError(f"{archive.name} does not fit on this disk unpacked: free some space.")
    for entry in entries:
        place = PurePosixPath(entry.filename.replace("\\", "/"))
        if place.is_absolute() or ".." in place.parts or (entry.external_attr >> 16) & 0o170000 == 0o120000:
            raise UserError(f"{archive.name} holds {entry.filename}, which leaves its folder: zip the adapter again.")


def replace_or_keep(fresh: Path, target: Path) -> None:
    """Move a finished folder to its place; one that another has put there meanwhile is as good."""
    try:
        fresh.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def download(name: HubName) -> Path:
    """Fetch an adapter's files from the Hub, or find them in its cache. Raises UserError if there are none."""
    from huggingface_hub import snapshot_download

    patterns = [f"{name.folder}/{pattern}" if name.folder else pattern for pattern in HUB_PATTERNS]
    try:
        with quiet():
            root = Path(snapshot_download(name.repo, revision=name.revision, allow_patterns=patterns))
    except hub_errors() as error:
        raise UserError(
            f"The adapter {name.words} is no folder here and could not be had from the Hub "
            f"({type(error).__name__}): check the name and the network."
        ) from error
    folder = root / name.folder
    if folder.is_dir() and is_adapter(folder):
        if not any((folder / weights).is_file() for weights in (WEIGHTS_FILE, MLX_FILE)) and pickled_on_hub(name):
            raise UserError(pickled(name.words))
        return folder
    others = folders_on_hub(name)
    if len(others) == 1 and not name.folder:
        return download(HubName(name.repo, others[0], name.revision))
    if others:
        raise UserError(f"{name.words} holds {len(others)} adapters: name one, as {name.repo}/{others[0]}.")
    raise UserError(f"{name.words} on the Hub is not an adapter: it has no {CONFIG_FILE}.")


def folders_on_hub(name: HubName) -> list[str]:
    """Folders of a repository that hold an adapter's configuration, sorted; none where the Hub is out of reach."""
    return sorted(str(PurePosixPath(file).parent) for file in files_on_hub(name) if file.endswith(f"/{CONFIG_FILE}"))


def pickled_on_hub(name: HubName) -> bool:
    """Whether the weights of an adapter lie there as a pickle, which is not fetched."""
    places = [PurePosixPath(file) for file in files_on_hub(name)]
    return any(
        place.stem == "adapter_model" and place.suffix in PICKLES and place.parent == PurePosixPath(name.folder or ".")
        for place in places
    )


def files_on_hub(name: HubName) -> list[str]:
    """The files of a repository; none where the Hub is out of reach."""
    from huggingface_hub import HfApi

    try:
        with quiet():
            return list(HfApi().list_repo_files(name.repo, revision=name.revision))
    except hub_errors():  # a cached repository is used without the Hub, and then lists nothing
        return []
