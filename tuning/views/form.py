"""The form in which a run is described before it starts, as plain data: fields, what is wrong with them, and in words
what the run will do."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import typing
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from tuning import presets
from tuning.data.place import EMBEDDED_SETS, is_place, parse
from tuning.data.reading.text_files import kind_of
from tuning.errors import UserError
from tuning.presets import Config
from tuning.runs import start_adapter
from tuning.runs.run import runs_root
from tuning.training.optimizer import warm_up_warning


@dataclass(frozen=True)
class Field:
    """A setting as the form shows it. ``most`` bounds what the page takes, beyond what a Config allows; ``empty`` says
    what nothing in the field means."""

    name: str
    label: str
    main: bool = False
    most: float | None = None
    empty: str = ""


FIELDS = (
    Field("model", "Base model", main=True),
    Field("max_steps", "Steps", main=True, most=1_000_000),
    Field("batch_size", "Examples per step", main=True, most=4096),
    Field("learning_rate", "Learning rate", main=True),
    Field("rank", "LoRA rank", main=True, most=512),
    Field("sample_every", "Sample every … steps", main=True),
    Field("objective", "Learns from"),
    Field("from_adapter", "Goes on from", empty="a new adapter"),
    Field("beta", "Strength of preference", empty="the objective's"),
    Field("length_normalised", "Preference per token", empty="the objective's"),
    Field("rounds", "Rounds of own answers", most=100),
    Field("samples", "Answers to each question", most=100),
    Field("keep", "Passing answers kept of each", most=100),
    Field("temperature", "Temperature of own answers"),
    Field("checked_by", "Task that checks own answers", empty="the data's assertions"),
    Field("epochs", "Epochs in place of steps", most=10_000, empty="by steps"),
    Field("alpha", "LoRA alpha", most=4096),
    Field("rslora", "Rank-stabilised scale"),
    Field("dora", "DoRA"),
    Field("init", "Factors begin at"),
    Field("neftune", "NEFTune noise", most=1000),
    Field("lora_plus", "LoRA+ ratio", most=1000),
    Field("dropout", "Dropout"),
    Field("target_modules", "Layers with an adapter"),
    Field("chat_template", "Chat template", empty="the model's"),
    Field("thinking", "Thinking"),
    Field("schedule", "Schedule"),
    Field("warmup_steps", "Warm-up steps"),
    Field("weight_decay", "Weight decay"),
    Field("clip_norm", "Largest gradient norm"),
    Field("optimizer", "Optimizer"),
    Field("limit", "At most … training rows", empty="all"),
    Field("columns", "Columns by role", empty="recognised"),
    Field("encoding", "Encoding of a text file", empty="UTF-8 or UTF-16"),
    Field("train_on", "Answers that are trained"),
    Field("prompt_format", "Prompt format"),
    Field("system", "System prompt of rows without one", empty="the prompt format's"),
    Field("user_template", "User's turn", empty="the prompt format's"),
    Field("empty_input_only", "Only questions without an input"),
    Field("max_tokens", "Longest example", most=32_768),
    Field("micro_batch_tokens", "Tokens per forward pass", most=262_144, empty="automatic"),
    Field("validate_every", "Validate every … steps"),
    Field("validation_rows", "Validation rows", most=100_000),
    Field("test_rows", "Test rows", most=100_000),
    Field("patience", "Patience"),
    Field("score_on", "Score on a task", empty="none"),
    Field("score_every", "Score every … steps"),
    Field("score_questions", "Questions of the task", most=100_000, empty="all"),
    Field("stop_when_score_falls", "Stop after … scores without gain"),
    Field("track", "Mirror figures to"),
    Field("save_every", "Checkpoint every … steps"),
    Field("sample_question", "Sample question"),
    Field("sample_tokens", "Longest sample answer", most=4096),
    Field("threads", "CPU threads", most=os.cpu_count() or 1, empty="all cores"),
    Field("precision", "Precision"),
    Field("quantize", "Compress the base to"),
    Field("gradient_checkpointing", "Recompute activations"),
    Field("seed", "Seed"),
)
LONGEST_TEXT = 2000
USUAL_RATES = {"sft": 1e-3, "dpo": 1e-4, "orpo": 1e-4, "verified": 1e-3}
FOLDERS = re.compile(r"(?:(?<![\w.:/])|(?<=duckdb:))/(?:[\w.@+-]+/)+(?=[\w.])")
RULE = re.compile(r"^--[\w-]+(?: is .*?(?:, but |: )|: )(.*)$", re.DOTALL)


def form() -> dict[str, Any]:
    """What the page needs once: the fields, and the presets with their values."""
    helps = {field.name: field.metadata["help"] for field in dataclasses.fields(Config)}
    kinds = presets.field_types()
    return {
        "fields": [
            {"name": each.name, "label": each.label, "main": each.main, "empty": each.empty, "help": helps[each.name]}
            | control(kinds[each.name])
            for each in FIELDS
        ],
        "presets": [
            {"name": name, "about": presets.DESCRIPTIONS[name], "values": shown_values(config)}
            for name, config in presets.PRESETS.items()
        ],
        "embedded": list(EMBEDDED_SETS),
    }


def control(kind: Any) -> dict[str, Any]:
    """How a field of that type is edited: 'choice' with its choices, 'switch', 'number' or 'text'."""
    if typing.get_origin(kind) is typing.Literal:
        return {"control": "choice", "choices": list(typing.get_args(kind))}
    if kind is bool:
        return {"control": "switch"}
    numbers = {int, float} & {kind, *typing.get_args(kind)}
    return {"control": "number" if numbers else "text"}


def shown_values(config: Config) -> dict[str, Any]:
    """A config's values as the form holds them: texts, and true or false."""
    return {name: shown(value) for name, value in presets.to_dict(config).items()}


def shown(value: Any) -> str | bool:
    """One value as a field holds it; nothing is an empty field."""
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
        return ",".join(value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def overrides_of(preset: str, values: dict[str, Any]) -> dict[str, Any]:
    """The values that differ from the preset's. Raises UserError for an unknown preset."""
    before = shown_values(presets.preset(preset))
    return {name: value for name, value in values.items() if value != before.get(name)}


def problems(preset: str, overrides: dict[str, Any]) -> dict[str, str]:
    """What is wrong, by field: 'must be 1 or more'. Empty if the run could start."""
    found = {}
    for name, value in overrides.items():
        try:
            if isinstance(value, str) and len(value) > LONGEST_TEXT:
                raise UserError(f"must be at most {LONGEST_TEXT:,} characters long")
            if name == "data":
                check_source(str(value))
            check_most(name, getattr(presets.configure(preset, {name: value}), name))
        except UserError as error:
            found[name] = rule(str(error))
    if not found:
        try:
            goes_on(presets.configure(preset, overrides))
        except UserError as error:
            found[named(str(error), overrides)] = rule(str(error))
    return found


def goes_on(config: Config) -> Config:
    """The settings as a run takes them: with rank, alpha and layers of the adapter that it goes on from. Raises
    UserError for an adapter that cannot be trained on."""
    return start_adapter.continued(config, runs_root())


def check_source(name: str) -> None:
    """Raise UserError for a data source that is plainly not there; the rest shows when it is read."""
    if not name:
        raise UserError("name a data source")
    if is_place(name):
        from tuning.ingest.read_back import check

        check(name)
        return
    path = Path(name).expanduser()
    if (path.is_absolute() or kind_of(path) is not None) and not path.exists():
        raise UserError(f"there is no file {path.name} here")


def check_most(name: str, value: Any) -> None:
    """Raise UserError for a number beyond what the page takes."""
    most = next((field.most for field in FIELDS if field.name == name), None)
    if most is not None and value is not None and value > most:
        raise UserError(f"must be at most {most:,.0f}")


def rule(message: str) -> str:
    """A message without the option that it names, which stands beside it on the page anyway, and without folders."""
    match = RULE.match(message)
    return without_folders(match[1] if match else message).rstrip(".")


def named(message: str, overrides: dict[str, Any]) -> str:
    """The field that a message is about, as well as can be told."""
    match = re.match(r"^--([\w-]+)", message)
    return match[1].replace("-", "_") if match else next(iter(overrides), "")


def command(preset: str, overrides: dict[str, Any]) -> str:
    """The same run from a command line (POSIX shell)."""
    words = ["python", "-m", "tuning", "train", "--preset", preset]
    for name, value in overrides.items():
        option = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            text = ",".join(value) if isinstance(value, list | tuple) else str(value)
            words += [option, text if text or value is None else "none"]
    return shlex.join(words)


def command_of(preset: str, config: Config) -> str:
    """The command line of a run that exists."""
    preset = presets.name_today(preset)
    if preset not in presets.PRESETS:
        preset = "quick"
    return command(preset, overrides_of(preset, shown_values(config)))


def summary(config: Config) -> str:
    """In words what a run does."""
    examples = config.max_steps * config.batch_size
    unit = "pairs" if config.objective in presets.PREFERENCES else "examples"
    counts = f"{config.max_steps:,} steps of {config.batch_size:,} {unit}, {examples:,} in all"
    if config.epochs is not None:
        counts = f"{config.epochs:g} epochs in steps of {config.batch_size:,} {unit}"
    words = [f"{counts}, from {data_name(config.data)}"]
    before = f", going on from {start_adapter.called(config.from_adapter)}" if config.from_adapter else ""
    words.append(f"LoRA rank {config.rank} on {', '.join(config.target_modules)} of {data_name(config.model)}{before}")
    if config.objective == "verified":
        words.append(
            f"{config.rounds} times the model answers each question that has a check {config.samples} times, and up to "
            f"{config.keep} passing answers to each are trained as well"
        )
    words.append(f"learning rate up to {config.learning_rate:g}, {config.schedule}")
    return "; ".join(words) + "."


def warning(config: Config) -> str:
    """What speaks against a run, or ''. How many steps epochs are is known once the rows are counted."""
    warm_up = warm_up_warning(config) if config.epochs is None else ""
    return f"{warm_up}{rate_warning(config)}".strip()


def rate_warning(config: Config) -> str:
    """A sentence where the learning rate is far from the usual for the objective; else ''. Far is a rule of thumb of
    ours: ten times ``USUAL_RATES`` with the scale of the adapter counted in, or a hundredth of them."""
    high = USUAL_RATES[config.objective] * 10
    scale = config.alpha / (config.rank**0.5 if config.rslora else config.rank)
    rate = config.learning_rate * config.lora_plus * scale**0.5
    if rate > high:
        return f" The learning rate is very high for {config.objective}: expect the adapter to forget, or to break."
    if config.learning_rate < USUAL_RATES[config.objective] / 100:
        return f" The learning rate is very low for {config.objective}: expect next to no change."
    return ""


def data_name(name: str) -> str:
    """A data set or model without the folder that it lies in; of a table also which rows."""
    if is_place(name):
        try:
            place = parse(name)
        except UserError:
            return name.partition("?")[0]
        within = place.path.name if place.path else f"md:{place.database}"
        return f"table {place.table} of {within}" + (f" where {place.where}" if place.where else "")
    return PurePath(name).name if PurePath(name).is_absolute() else name


def without_folders(words: str) -> str:
    """A text with its absolute paths shortened to their last part: where things lie here is nobody else's business."""
    return FOLDERS.sub("", words)


def settings_words(preset: str, config: Config) -> list[list[str]]:
    """A run's own settings as pairs of a label and words."""
    values = shown_values(config)
    pairs = [["Preset", presets.name_today(preset)], ["Data", data_name(config.data)]]
    for field in FIELDS:
        value = values[field.name]
        words = ("yes" if value else "no") if isinstance(value, bool) else value or field.empty
        place = field.name in ("model", "from_adapter", "chat_template", "score_on", "checked_by")
        pairs.append([field.label.replace(" … ", " "), data_name(words) if place else words])
    return pairs
