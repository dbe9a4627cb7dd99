"""All settings of the app in one object: the command line, then ``LORA_LENS_*`` variables, then the defaults."""

from __future__ import annotations

import os
import typing
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from eval_prompts.judging.sandbox import jail
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.limits import Limits as AskingLimits
from eval_prompts.serving.local import LocalLoader
from eval_prompts.serving.served import Loader
from eval_prompts.tasks.catalogue import find_task
from eval_prompts.tasks.task import Task
from eval_prompts.votes.store import default_url
from space_config.server.admission import Limits
from space_config.server.owner import Owner, Provider
from space_config.server.rate_limits import Connections
from space_config.server.visit import LOOPBACK_NAMES
from space_config.space import hardware
from tuning.command_line import Parser, add_version, program
from tuning.errors import UserError
from tuning.models.weights import Choices

SHORTEST_PASSWORD = 8
OF_LOADED_MODELS = (
    *("model", "adapter", "precision", "load_in_4bit", "load_in_8bit", "chat_template", "thinking"),
    *("generation_defaults", "trust_remote_code"),
)
"""Settings that an answer from an endpoint does not heed."""


class Settings(BaseSettings):
    """Base and LoRA-tuned model side by side. Each option may also be an environment variable: LORA_LENS_PORT=80."""

    model_config = SettingsConfigDict(env_prefix="LORA_LENS_")
    model: str = Field("smollm2-135m", description="base model: a preset, a Hub id[@REVISION], a folder or a GGUF file")
    task: str = Field("", description="what is asked: a task's name or file; without it the five Python probes")
    adapter: str = Field(
        "starter", description="LoRA adapter: a folder, a Hub id or 'starter'; by default the task's own"
    )
    tuned_model: str | None = Field(
        None, description="tuned side: a whole model instead of an adapter, named as the base is"
    )
    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 opens it to the network")
    port: int = Field(7860, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    device: str | None = Field(None, description="cuda, mps or cpu; without it the best one here")
    prefer_hub: bool = Field(False, description="take a preset's weights from the Hub where it is reachable")
    precision: Literal["auto", "bf16", "fp32", "int8"] = Field("auto", description="arithmetic of the answers")
    load_in_4bit: bool = Field(False, description="hold the base model in 4 bits")
    load_in_8bit: bool = Field(False, description="hold the base model in 8 bits")
    chat_template: str | None = Field(None, description="plain, the name of one of the model's templates, or a file")
    thinking: Literal["on", "off"] | None = Field(None, description="a thinking model's draft; without it as it is")
    generation_defaults: bool = Field(False, description="follow the model's own repetition penalty and the like")
    trust_remote_code: bool = Field(False, description="run code that a model brings: only if you trust its author")
    ratings: str | None = Field(
        None, description="file or database URL that keeps the votes; without it DATABASE_URL, then the data folder"
    )
    jail: bool = Field(
        False, description="run code that the sandbox cannot, under bubblewrap; on a machine of one's own"
    )
    base_url: str = Field("", description="base side: an OpenAI-compatible endpoint, up to /v1")
    tuned_url: str = Field("", description="tuned side's endpoint; without it the base side's")
    base_model_name: str = Field("", description="the base model's name there; without it the first that is listed")
    tuned_model_name: str = Field("", description="the tuned model's name there")
    api_key: SecretStr | None = Field(None, description="the endpoints' key; better in LORA_LENS_API_KEY")
    open_browser: bool = Field(False, description="open the page in the browser")

    auth: SecretStr | None = Field(
        None, description="the owner's password, 8 characters or more; without it the variable ADMIN_PASSWORD"
    )
    owners: str = Field("", description="Hugging Face user names that own a Space beside its author, comma-separated")
    allowed_hosts: str = Field("", description="host names under which the app is reached, comma-separated")
    trust_proxy: bool = Field(False, description="believe X-Forwarded-*: only behind a proxy that sets them")

    asks_per_minute: int = Field(20, ge=0, description="questions per visitor's address; 0: no limit")
    writes_per_minute: int = Field(60, ge=0, description="votes per visitor's address; 0: no limit")
    requests_per_minute: int = Field(600, ge=0, description="requests of any kind per visitor's address; 0: no limit")
    connections_per_address: int = Field(64, ge=4, description="connections that one address may hold open")
    connections: int = Field(1000, ge=8, description="connections in all")
    asks_per_address: int = Field(4, ge=1, description="requests of one address that are answered at the same time")
    per_visitor_limits: Literal["address", "session"] = Field(
        "address", description="whom the limits count: addresses, or sessions, as for a class behind one address"
    )
    blind: Literal["choice", "always"] = Field("choice", description="always hides from visitors who wrote what")
    results: Literal["all", "owner"] = Field("all", description="owner keeps the results for the owner: voting is open")
    waiting_requests: int = Field(64, ge=1, description="requests answered or waiting, in all; more are refused")
    question_characters: int = Field(20_000, ge=16, le=20_000, description="longest question")
    answer_tokens: int = Field(4096, ge=16, le=4096, description="highest token cap that may be asked for")
    comment_characters: int = Field(2000, ge=0, le=2000, description="longest comment on a vote")
    body_kb: int = Field(256, ge=16, description="largest request, in KiB")
    upload_mb: int = Field(20, ge=1, description="largest upload (the owner's), in MiB")
    data_gb: float = Field(10, gt=0, description="what the data folder may hold, in GiB; when full, nothing is written")
    free_disk_mb: int = Field(200, ge=0, description="free space under which nothing is written, in MiB")

    mirror_votes: str = Field("", description="private data set on the Hub that gets a copy of the votes")

    log_format: Literal["text", "json"] = Field("text", description="form of the log on stderr")
    log_level: Literal["debug", "info", "warning", "error"] = Field("warning", description="info tells every request")
    zero_gpu_training: bool = Field(False, description="on ZeroGPU, where training is off, have it run on the CPU")
    stop_training: bool = Field(False, description="on SIGTERM, have a training run save and end too")
    drain_seconds: float = Field(8, ge=0, le=300, description="how long answers may go on after SIGTERM")

    def ratings_url(self) -> str:
        """Where votes are kept, as a database URL."""
        if self.ratings is None:
            return default_url()
        return self.ratings if "://" in self.ratings else f"sqlite:///{Path(self.ratings).expanduser().absolute()}"

    def chosen_task(self) -> Task | None:
        """The task that the page asks; None for the default. Raises UserError for a name or a file that is none."""
        return find_task(self.task) if self.task else None

    def lens(self, task: Task | None = None) -> Lens:
        """The two models these settings name, not loaded yet; where they name no tuned one, it is the adapter that was
        made for ``task``, if there is one. Raises UserError for settings at odds."""
        if self.load_in_4bit and self.load_in_8bit:
            raise UserError("A model is held in 4 bits or in 8: choose one of --load-in-4bit and --load-in-8bit.")
        limits = AskingLimits(
            question_characters=self.question_characters,
            answer_tokens=self.answer_tokens,
            waiting_requests=self.waiting_requests,
            asks_per_address=None if self.open_to_all or self.per_session else self.asks_per_address,
        )
        return Lens(self._loader(task), limits=limits)

    def _loader(self, task: Task | None) -> Loader:
        if self.base_url or self.tuned_url:
            return self._remote_loader()
        if self.base_model_name or self.tuned_model_name:
            name = "tuned" if self.tuned_model_name else "base"
            raise UserError(
                f"--{name}-model-name is a name on an endpoint: give --base-url too, or "
                f"{'--tuned-model' if name == 'tuned' else '--model'} for a model that is loaded here."
            )
        starter_left_out = bool(self.tuned_model) and "adapter" not in self.model_fields_set
        own = task.adapter if task is not None and "adapter" not in self.model_fields_set else ""
        local = LocalLoader(
            self.model,
            None if starter_left_out else own or self.adapter,
            self.device,
            "4bit" if self.load_in_4bit else "8bit" if self.load_in_8bit else None,
            self.precision,
            self.prefer_hub,
            Choices(
                self.chat_template,
                None if self.thinking is None else self.thinking == "on",
                self.trust_remote_code,
                self.generation_defaults,
            ),
            tuned_model=self.tuned_model or None,
        )
        if not hardware.on_zero_gpu(os.environ):
            return local
        from space_config.space.zero_gpu import ZeroGpuLoader

        return ZeroGpuLoader(local)

    def _remote_loader(self) -> Loader:
        from eval_prompts.serving.remote import RemoteLoader

        if self.tuned_model:
            raise UserError("Models on endpoints are named there: give --tuned-model-name instead of --tuned-model.")
        if not self.base_url:
            raise UserError("Two endpoints are compared: name the base side's with --base-url too.")
        if (self.tuned_url or self.base_url, self.tuned_model_name) == (self.base_url, self.base_model_name):
            raise UserError("Both sides would be the same model: name the tuned one with --tuned-model-name.")
        key = self.api_key.get_secret_value() if self.api_key else ""
        names = (self.base_model_name, self.tuned_model_name)
        return RemoteLoader(self.base_url, self.tuned_url or self.base_url, *names, key)

    def without_effect(self) -> str:
        """A sentence that names the given settings that do nothing beside the endpoints; '' where there are none."""
        fields = type(self).model_fields
        given = [
            f"--{name.replace('_', '-')}" for name in OF_LOADED_MODELS if getattr(self, name) != fields[name].default
        ]
        if not given or not self.base_url:
            return ""
        return f"Both models are on endpoints, where {', '.join(given)} can change nothing: set it there."

    def jail_allowed(self) -> bool:
        """Whether answers' code may run in the jail. Raises UserError where that was asked for and cannot be."""
        if self.jail and not self.open_to_all:
            raise UserError("--jail is for an app that this machine alone can reach: leave it out where others ask.")
        if self.jail and (reason := jail.unavailable()):
            raise UserError(
                f"--jail is not available: {reason}; leave it out, and such code is judged without running it."
            )
        return self.jail

    def no_training(self) -> str:
        """Why nobody can train here, and what to do instead; '' where one can."""
        return hardware.NO_TRAINING if hardware.on_zero_gpu(os.environ) and not self.zero_gpu_training else ""

    def no_opening(self) -> str:
        """Why no other models can be opened on the page, and what to do instead; '' where they can."""
        return hardware.NO_OPENING if hardware.on_zero_gpu(os.environ) else ""

    def limits(self) -> Limits:
        """What the guard allows."""
        return Limits(
            asks_per_minute=self.asks_per_minute,
            writes_per_minute=self.writes_per_minute,
            requests_per_minute=self.requests_per_minute,
            connections_per_address=self.connections if self.per_session else self.connections_per_address,
            connections=self.connections,
            per_session=self.per_session,
            body_bytes=self.body_kb * 2**10,
            upload_bytes=self.upload_mb * 2**20,
        )

    def open_connections(self) -> Connections:
        """How many connections may be open, requests or not; a proxy's are everyone's."""
        shared = self.behind_proxy or self.per_session
        return Connections(self.connections if shared else self.connections_per_address, self.connections)

    @property
    def per_session(self) -> bool:
        """Whether visitors are counted by their sessions, not by their addresses."""
        return self.per_visitor_limits == "session"

    @property
    def on_space(self) -> bool:
        """Whether this is a Hugging Face Space, where a proxy of theirs stands in front."""
        return bool(os.environ.get("SPACE_ID"))

    @property
    def behind_proxy(self) -> bool:
        """Whether X-Forwarded-* are a proxy's words."""
        return self.trust_proxy or self.on_space

    @property
    def open_to_all(self) -> bool:
        """Whether everyone is the owner: where only this machine can reach the app, and nobody set a password."""
        local = self.host in LOOPBACK_NAMES and not self.allowed_hosts and not self.behind_proxy
        return local and not self.owner_password() and provider_from_environment(self.owners) is None

    def hosts(self) -> frozenset[str]:
        """Names under which the app may be reached; empty for any. A local app is reached by local names alone, so
        that no other site can point a name of its own at it (DNS rebinding)."""
        named = frozenset(name.strip().lower() for name in self.allowed_hosts.split(",") if name.strip())
        if self.host in LOOPBACK_NAMES:
            return named | LOOPBACK_NAMES
        return named | LOOPBACK_NAMES if named else named

    def owner_password(self) -> str | None:
        """The owner's password, if there is one. Raises UserError for one that is easily guessed."""
        password = self.auth.get_secret_value() if self.auth else os.environ.get("ADMIN_PASSWORD")
        if password and len(password) < SHORTEST_PASSWORD:
            raise UserError(f"The owner's password is short: take {SHORTEST_PASSWORD} characters or more.")
        return password or None

    def owner(self) -> Owner:
        """Who may sign in as the owner, and how."""
        return Owner(self.owner_password(), provider_from_environment(self.owners), self.open_to_all)

    def invitation(self) -> str:
        """A line for the page that tells the owner where to sign in (Markdown); '' where nobody can or need not."""
        what = "choose adapters" if self.no_training() else "train"
        return f"The owner [signs in](/owner) to {what}." if self.owner().can_sign_in else ""

    def who_owns(self) -> str:
        """One line for the log that says who the owner is."""
        if self.open_to_all:
            return "Everyone who can reach this machine's own address is the owner (no password is set)."
        if self.owner().can_sign_in:
            return "Visitors may ask and rate; the owner signs in under /owner."
        return "Visitors may ask and rate; nobody can sign in as the owner: set ADMIN_PASSWORD to train from the page."


def provider_from_environment(owners: str) -> Provider | None:
    """Hugging Face as it registers a Space with ``hf_oauth: true``; None anywhere else."""
    url, client, secret = (
        os.environ.get(name, "") for name in ("OPENID_PROVIDER_URL", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET")
    )
    if not (url and client and secret):
        return None
    names = {name.strip() for name in [*owners.split(","), os.environ.get("SPACE_AUTHOR_NAME", "")] if name.strip()}
    scopes, owner_id = os.environ.get("OAUTH_SCOPES", ""), os.environ.get("SPACE_CREATOR_USER_ID", "")
    return Provider(url.rstrip("/"), client, secret, scopes, frozenset(names), owner_id)


def build_parser() -> Parser:
    """The command line: one option per setting. Values are converted and checked by Settings."""
    parser = Parser(prog=program("app.py"), description=Settings.__doc__)
    add_version(parser)
    for name, field in Settings.model_fields.items():
        option, words = f"--{name.replace('_', '-')}", (field.description or "").replace("%", "%%")
        if field.annotation is bool:
            parser.add_argument(option, action="store_const", const=True, help=words)
        elif typing.get_origin(field.annotation) is Literal:
            choices = typing.get_args(field.annotation)
            parser.add_argument(option, choices=choices, help=f"{words} (default: {field.default})")
        else:
            default = "" if field.default in (None, "") else f" (default: {field.default})"
            parser.add_argument(option, metavar=metavar(field.annotation), help=words + default)
    return parser


def metavar(kind: Any) -> str:
    """What an option's value is called in the help."""
    kinds = {kind, *typing.get_args(kind)}
    if SecretStr in kinds:
        return "SECRET"
    return "NUMBER" if kinds & {int, float} else "TEXT"


def read_settings(arguments: list[str]) -> Settings:
    """Settings from the command line, then the environment, then the defaults. Raises UserError for bad values."""
    parser = build_parser()
    given = vars(parser.parse_args(arguments))
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"--{'-'.join(map(str, first['loc'])).replace('_', '-')}: {first['msg']}.") from None
