"""Create or update a Hugging Face Space: ``python -m space_config.deploy --repo-id USER/NAME``.

The card is checked, exactly the needed files are uploaded, variables, secrets and hardware are set, the build is waited
for, and the live app is asked a question.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from space_config.space import card
from tuning.errors import UserError
from tuning.file_names import CONFIG_FILE, RECORD_FILE, WEIGHTS_FILE
from tuning.files import first_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

ROOT = Path(__file__).parents[2]
FOLDERS = ("eval_prompts", "space_config", "tuning")
SINGLE_FILES = ("app.py", "LICENSE", "requirements.txt")
CONTAINER_FILES = frozenset({"Dockerfile", "compose.yaml", "compose.gpu.yaml"})
LEFT_OUT = CONTAINER_FILES | {"__pycache__", "card.md", "requirements.txt", ".DS_Store"}
THUMBNAIL = "space_config/space/thumbnail.png"
FAILED = frozenset({"BUILD_ERROR", "RUNTIME_ERROR", "CONFIG_ERROR", "NO_APP_FILE", "STOPPED", "PAUSED", "DELETING"})
HALTED = frozenset({"STOPPED", "PAUSED", "DELETING"})
"""Whatever commit it is of: no build comes after it by itself."""
WAIT_SECONDS, LOOK_SECONDS = 3600.0, 5.0
STALE_LOOKS = 12
ADAPTER_VARIABLE, ADAPTER_FOLDER, ADAPTER_CONFIG = "LORA_LENS_ADAPTER", "own_adapter", CONFIG_FILE
ADAPTER_NAMES = (ADAPTER_CONFIG, WEIGHTS_FILE, "adapter_model.bin", RECORD_FILE, "README.md")
SMOKE_QUESTION = "How do I reverse a string?"


@dataclass(frozen=True)
class Plan:
    """Everything one deployment does. ``files`` are paths in the Space and where they come from; secrets are never
    part of any text."""

    repo_id: str
    hardware: str | None = None
    bucket: str | None = None
    private: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    files: dict[str, Path] = field(default_factory=dict)
    readme: str = ""

    def lines(self) -> list[str]:
        """The plan in words, for ``--dry-run``."""
        sizes = {name: path.stat().st_size for name, path in self.files.items()}
        folders = Counter(name.split("/")[0] if "/" in name else "single files" for name in sizes)
        storage = f"bucket {self.bucket} at /data" if self.bucket else "none"
        told = [
            f"Space      {self.repo_id} ({'private' if self.private else 'public'}, gradio SDK)",
            f"Hardware   {self.hardware or 'as it is (cpu-basic for a new Space)'}",
            f"Storage    {storage}",
            *(f"Variable   {key}={value}" for key, value in self.variables.items()),
            *(f"Secret     {key} (not shown)" for key in self.secrets),
            f"Files      {len(sizes) + 1}, {sum(sizes.values()) / 2**20:.1f} MiB: README.md (the card), "
            + ", ".join(f"{folder} ({count})" for folder, count in folders.items()),
            f"Then       wait for the build of this very commit, and ask the live app: {SMOKE_QUESTION}",
        ]
        return told + [f"WARNING    {warning}" for warning in self.warnings()]

    def warnings(self) -> list[str]:
        """What one should know before the Space is there, the gravest last."""
        found = []
        if not self.private:
            found.append("everybody can see the Space, ask its models and vote")
        if "ADMIN_PASSWORD" not in self.secrets and "hf_oauth: true" not in self.readme:
            found.append("nobody can sign in as the owner: add --secret ADMIN_PASSWORD")
        if not self.bucket:
            found.append("votes and runs are lost when the Space restarts: mount a storage bucket with --bucket")
        return found


def make_plan(options: argparse.Namespace, root: Path = ROOT) -> Plan:
    """What the options ask for. Raises UserError for a repository, card or setting that the Hub would refuse."""
    if not card.REPOSITORY.fullmatch(options.repo_id):
        raise UserError("The Space is named USER/NAME: give it with --repo-id.")
    if options.hardware is not None and options.hardware not in card.HARDWARE:
        raise UserError(f"There is no hardware {options.hardware!r}: choose among {', '.join(sorted(card.HARDWARE))}.")
    if options.bucket is not None and not card.REPOSITORY.fullmatch(options.bucket):
        raise UserError("The bucket is named USER/NAME: give it with --bucket.")
    matter, body = card.split((root / "space_config/space/card.md").read_text(encoding="utf-8"))
    if (root / THUMBNAIL).is_file():
        matter["thumbnail"] = f"https://huggingface.co/spaces/{options.repo_id}/resolve/main/{THUMBNAIL}"
    card.check(matter, root)
    zero_gpu = (options.hardware or "").startswith("zero")
    variables = {"LORA_LENS_LOG_FORMAT": "json", "LORA_LENS_LOG_LEVEL": "info"} | pairs(options.variable, "--variable")
    files = needed_files(root, zero_gpu)
    if options.adapter is not None:
        if ADAPTER_VARIABLE in variables:
            raise UserError(f"The adapter is named twice: leave out --adapter or --variable {ADAPTER_VARIABLE}.")
        files |= adapter_files(options.adapter)
        variables[ADAPTER_VARIABLE] = ADAPTER_FOLDER
    return Plan(
        options.repo_id,
        options.hardware,
        options.bucket,
        options.private,
        variables,
        pairs(options.secret, "--secret"),
        files,
        card.join(matter, body),
    )


def pairs(given: list[str], option: str) -> dict[str, str]:
    """KEY=VALUE words as a dictionary; KEY alone takes its value from the environment. Raises UserError."""
    found = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not key.isidentifier():
            raise UserError(f"{option} takes KEY=VALUE, where KEY is letters, digits and underscores.")
        if not equals and key not in os.environ:
            raise UserError(f"{option} {key} has no value, and there is no such variable in the environment.")
        found[key] = value if equals else os.environ[key]
    return found


def needed_files(root: Path, zero_gpu: bool) -> dict[str, Path]:
    """Paths in the Space and the files that go there; for ZeroGPU with the requirements that its machines have."""
    files = {name: root / name for name in SINGLE_FILES}
    if lacking := [name for name, path in files.items() if not path.is_file()]:
        raise UserError(f"{', '.join(lacking)} cannot be found in {root}: deploy from a clone of the project.")
    if zero_gpu:
        files["requirements.txt"] = root / "space_config/requirements.txt"
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root)
            if path.is_file() and not path.is_symlink() and not LEFT_OUT.intersection(name.parts):
                files[name.as_posix()] = path
    return files


def adapter_files(folder: Path) -> dict[str, Path]:
    """The files of an adapter in peft's format that go along: from its folder, or from the folder of a run, whose best
    one is taken. Raises UserError if there is none."""
    for place in (folder, folder / "adapter"):
        if (place / ADAPTER_CONFIG).is_file():
            found = {f"{ADAPTER_FOLDER}/{name}": place / name for name in ADAPTER_NAMES if (place / name).is_file()}
            if not any(name.endswith((".safetensors", ".bin")) for name in found):
                raise UserError(f"{place} holds no adapter_model.safetensors: let the run reach its first validation.")
            return found
    raise UserError(f"{folder} holds no adapter ({ADAPTER_CONFIG}): name its folder, or a run's, with --adapter.")


def deploy(plan: Plan, api: HfApi, say: Callable[[str], None] = print, look_seconds: float = LOOK_SECONDS) -> str:
    """Carry the plan out; returns the live app's address. Raises UserError if the Hub refuses or the build fails."""
    from huggingface_hub import Volume
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    try:
        say(f"signed in as {api.whoami()['name']}")
        volumes = [Volume(type="bucket", source=plan.bucket, mount_path="/data")] if plan.bucket else None
        api.create_repo(plan.repo_id, repo_type="space", space_sdk="gradio", private=plan.private, exist_ok=True)
        for key, value in plan.variables.items():
            api.add_space_variable(plan.repo_id, key, value)
        for key, value in plan.secrets.items():
            api.add_space_secret(plan.repo_id, key, value)
        if volumes:
            api.set_space_volumes(plan.repo_id, volumes)
        if plan.hardware:
            api.request_space_hardware(plan.repo_id, plan.hardware)  # type: ignore[arg-type]  # a name will do
        commit = upload(plan, api)
        say(f"uploaded {len(plan.files) + 1} files")
        return wait_until_running(plan.repo_id, api, say, look_seconds, commit)
    except LocalTokenNotFoundError:
        raise UserError("There is no token: set HF_TOKEN to one that may write.") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        said = (getattr(error, "server_message", None) or str(error)).strip().splitlines()[0]
        raise UserError(f"The Hub refused ({status}): {said}") from None


def upload(plan: Plan, api: HfApi) -> str:
    """One commit that leaves exactly the plan's files in the Space; returns its id."""
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder)
        for name, path in plan.files.items():
            target = staged / PurePosixPath(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        (staged / "README.md").write_text(plan.readme, encoding="utf-8")
        done = api.upload_folder(
            repo_id=plan.repo_id,
            repo_type="space",
            folder_path=staged,
            delete_patterns="*",
            commit_message="Deploy LoRA Lens",
        )
        return str(done.oid)


def wait_until_running(
    repo_id: str, api: HfApi, say: Callable[[str], None], look_seconds: float, commit: str = ""
) -> str:
    """Waits for the build, telling each stage; returns the live address. Raises UserError if it fails.

    Right after an upload the Hub still tells of the build before: what runs, or has failed, counts where it is of
    ``commit``. Where the Hub does not say of which it is, what was there from the beginning counts after some looks.
    """
    last, until, looks, changed = "", time.monotonic() + WAIT_SECONDS, 0, False
    while time.monotonic() < until:
        runtime = api.get_space_runtime(repo_id)
        stage = str(getattr(runtime.stage, "value", runtime.stage))
        if stage != last:
            say(f"{repo_id}: {stage.lower().replace('_', ' ')}")
            changed, last = bool(last), stage
        looks += 1
        of = runtime.raw.get("sha")
        stale = of != commit if of and commit else not changed and looks <= STALE_LOOKS
        if stale and (stage == "RUNNING" or stage in FAILED - HALTED):
            time.sleep(look_seconds)
            continue
        if stage == "RUNNING" and not of:
            say("the Hub does not say which commit runs: look whether it is this one")
        if stage in FAILED:
            reason = (runtime.raw.get("errorMessage") or "its log on the Hub says why").strip().splitlines()[0]
            raise UserError(f"The Space does not run ({stage.lower().replace('_', ' ')}): {reason}")
        if stage == "RUNNING":
            return api.space_info(repo_id).host or ""
        time.sleep(look_seconds)
    raise UserError("The Space was not built within an hour: look at its log on the Hub.")


def smoke_test(url: str, token: str | None, say: Callable[[str], None] = print, seconds: float = 900.0) -> None:
    """Waits until the live app is ready, and asks it one short question. Raises UserError if it does not answer."""
    from gradio_client import Client

    until = time.monotonic() + seconds
    try:
        client = Client(url, token=token, verbose=False, download_files=False, analytics_enabled=False)
        while (status := client.predict(api_name="/status"))["state"] != "ready":
            if status["state"] == "failed" or time.monotonic() > until:
                raise UserError(f"The live app is not ready: {status['message']}")
            time.sleep(LOOK_SECONDS)
        base, tuned = client.predict(SMOKE_QUESTION, max_new_tokens=16, api_name="/ask")
        client.close()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"The live app at {url} does not answer ({first_line(error)}).") from None
    if not (base.strip() and tuned.strip()):
        raise UserError(f"The live app at {url} gave an empty answer.")
    say(f"{url} is ready, and both sides answer")


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    made = argparse.ArgumentParser(prog="python -m space_config.deploy", description=__doc__.splitlines()[0])
    made.add_argument("--repo-id", required=True, metavar="USER/NAME", help="the Space to create or update")
    made.add_argument("--hardware", help="cpu-basic, t4-small, zero-a10g, ...; without it the Space keeps what it has")
    made.add_argument("--bucket", metavar="USER/NAME", help="storage bucket to mount at /data: keeps votes and runs")
    made.add_argument("--adapter", type=Path, metavar="FOLDER", help="an adapter of yours, or a run, that goes along")
    made.add_argument("--private", action="store_true", help="a Space that only its owner sees")
    made.add_argument(
        "--variable", action="append", default=[], metavar="K=V", help="a setting, such as LORA_LENS_MODEL=…"
    )
    made.add_argument(
        "--secret", action="append", default=[], metavar="K[=V]", help="a secret; K alone reads the environment"
    )
    made.add_argument("--dry-run", action="store_true", help="say everything that would be done, and do nothing")
    return made


def main(arguments: list[str] | None = None, api: Any = None, look_seconds: float = LOOK_SECONDS) -> int:
    """The command. Returns the exit code: 0, or 2 where something has to be mended."""
    options = parser().parse_args(arguments)
    try:
        plan = make_plan(options)
        if options.dry_run:
            print("\n".join(plan.lines()))
            return 0
        from huggingface_hub import HfApi, get_token

        url = deploy(plan, api or HfApi(), look_seconds=look_seconds)
        smoke_test(url, get_token())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
