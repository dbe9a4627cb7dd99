"""A base model's files, fetched from the Hub or found in its cache."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from tuning.errors import UserError
from tuning.hub_errors import hub_errors
from tuning.models import embedded
from tuning.progress import Progress
from tuning.quiet import quiet

PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt"]
IGNORED = ["onnx/*", "runs/*", "*/*"]
ASK_SECONDS = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """What the Hub says of a model: ``numbers`` in its safetensors, their bytes as stored, and whether all are stored
    in bf16."""

    numbers: int
    files: int
    quantised: bool
    in_bf16: bool


def cached(repo_id: str, revision: str | None) -> Path | None:
    """The folder of a repository whose weights have been fetched; None if they have not."""
    from huggingface_hub import snapshot_download

    try:
        with quiet():
            found = Path(snapshot_download(repo_id, revision=revision, local_files_only=True))
    except hub_errors():
        return None
    return found if any(found.glob("*.safetensors")) and (found / "config.json").is_file() else None


def size(repo_id: str, revision: str | None) -> Size | None:
    """How large a model is, without fetching it; None where the Hub is out of reach or does not tell.

    Raises UserError if the repository or the revision is unknown, closed to us, or holds no safetensors.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        with quiet():
            info = HfApi().model_info(repo_id, revision=revision, timeout=ASK_SECONDS, files_metadata=True)
    except GatedRepoError as error:
        raise UserError(f"{repo_id} is gated: accept its terms on the Hub and set HF_TOKEN.") from error
    except RevisionNotFoundError as error:
        raise UserError(f"{repo_id} has no revision {revision!r} on the Hub: check its name.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"The Hub knows no model {repo_id} (or it is private): check the name.") from error
    except hub_errors() as error:
        log.info("the Hub does not tell how large %s is", repo_id, exc_info=error)
        return None
    names = [(each.rfilename, each.size) for each in info.siblings or ()]
    files = [size for name, size in names if name.endswith(".safetensors") and "/" not in name]
    if not files:
        raise UserError(f"{repo_id} has no safetensors weights, and pickles are not loaded: choose another model.")
    if info.safetensors is None or None in files:
        return None
    quantised = bool((info.config or {}).get("quantization_config"))
    in_bf16 = set(info.safetensors.parameters) == {"BF16"}
    return Size(info.safetensors.total, sum(size or 0 for size in files), quantised, in_bf16)


def fetch(repo_id: str, revision: str | None, report: Progress, instead: str, with_code: bool = False) -> Path:
    """The folder of a repository's safetensors, tokenizer and configuration; ``with_code`` fetches its code, too.

    ``revision`` is a branch, a tag or a commit; ``instead`` says what to do where there is nothing to be had. Raises
    UserError if the repository or the revision is unknown, closed to us or out of reach, or holds no safetensors.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    words = f"{repo_id}@{revision}" if revision else repo_id
    report(f"fetching {words} from the Hub", None)
    patterns = [*PATTERNS, "*.py"] if with_code else PATTERNS
    try:
        with quiet():
            found = snapshot_download(repo_id, revision=revision, allow_patterns=patterns, ignore_patterns=IGNORED)
    except GatedRepoError as error:
        raise UserError(f"{repo_id} is gated: accept its terms on the Hub and set HF_TOKEN, or {instead}.") from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"{repo_id} has no revision {revision!r} on the Hub: check its name, or leave it out."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(
            f"The Hub knows no model {repo_id} (or it is private): check the name, or {instead}."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, ConnectionError) as error:
        raise UserError(f"{words} is not in the cache and the Hub is out of reach: {instead}.") from error
    except OSError as error:
        with embedded.as_user_errors(embedded.cache_folder()):
            raise
        raise UserError(f"{words} could not be fetched ({error}): {instead}.") from error
    path = Path(found)
    if not any(path.glob("*.safetensors")):
        raise UserError(f"{words} has no safetensors weights, and pickles are not loaded: {instead}.")
    return path
