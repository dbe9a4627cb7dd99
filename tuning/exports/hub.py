"""Pushing an adapter to the Hugging Face Hub, where a token is configured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tuning.errors import UserError
from tuning.file_names import CONFIG_FILE, RECORD_FILE, TEMPLATE_FILE, WEIGHTS_FILE
from tuning.files import first_line
from tuning.runs.run import Run

REPOSITORY = re.compile(r"(?:[\w-][\w.-]{0,95}/)?[\w-][\w.-]{0,95}")
FILES = (CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE, TEMPLATE_FILE, "README.md")
NO_TOKEN = "No Hub token is configured: set HF_TOKEN to one that may write, and start the app again."


def token() -> str | None:
    """The token of this machine's user: HF_TOKEN, or the one that ``hf auth login`` has kept."""
    from huggingface_hub import get_token

    return get_token()


def push(run: Run, repository: str, *, private: bool = True) -> str:
    """Upload a run's best adapter with its card to the model repository OWNER/NAME (or NAME, of the token's owner),
    which is made if it does not exist (one that exists stays as private as it is);
    returns its address and who can see it.

    Raises UserError without a token or an adapter, for a name that cannot be one, and for whatever the Hub refuses.
    """
    key = checked_key(repository)
    from tuning.exports.export import best_adapter

    return upload(best_adapter(run), repository, key, private, FILES, "Adapter by LoRA Lens")


def push_folder(folder: Path, repository: str, *, private: bool = True) -> str:
    """Upload an export with its card and certificate, as :func:`push` does an adapter."""
    key = checked_key(repository)
    return upload(folder, repository, key, private, ("*",), "Exported by LoRA Lens")


def checked_key(repository: str) -> str:
    """The token. Raises UserError without one, and for a name that cannot be a repository's."""
    if not REPOSITORY.fullmatch(repository) or ".." in repository or "--" in repository:
        raise UserError(
            f"{repository[:80]!r} is no repository name: use letters, digits, '-', '_' and '.', as OWNER/NAME."
        )
    key = token()
    if not key:
        raise UserError(NO_TOKEN)
    return key


def upload(folder: Path, repository: str, key: str, private: bool, files: Sequence[str], message: str) -> str:
    """The calls to the Hub for the ``files`` (patterns) of a folder. Raises UserError with its reason if one fails."""
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub = HfApi(token=key, library_name="lora-lens")
    try:
        made = hub.create_repo(repository, private=private, exist_ok=True)
        hub.upload_folder(repo_id=made.repo_id, folder_path=folder, allow_patterns=list(files), commit_message=message)
        seen = hub.model_info(made.repo_id)
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        said = first_line(error).rstrip(".")
        reason = {401: "the token is not valid", 403: "the token may not write there"}.get(status, said)
        raise UserError(f"The Hub refused {repository}: {reason}.") from error
    except (httpx.HTTPError, OSError, ValueError) as error:
        raise UserError(
            f"The Hub cannot be reached ({type(error).__name__}): check the network and try again."
        ) from error
    return f"{made} ({'private' if seen.private else 'public'})"
