"""What a training run does, all of it, in one frozen dataclass; and the named recipes.

The command line is derived from the fields of :class:`Config`: a field is an option, its metadata the help text.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from tuning.data.options import FormatWish, Reading, column_roles
from tuning.data.place import BOOKINGS, HUB_DATA, QUERIES, check_name
from tuning.errors import UserError
from tuning.setting_values import convert

FIBONACCI = "Write a function in Python to print the Fibonacci series."
BOOKING = "Ana Lind here: could we have a table for three on Tuesday at half past six in the evening? Outside, please."
QUERY = "CREATE TABLE boats (name TEXT, harbor TEXT, length INTEGER);\nHow many boats are longer than 12?"


PREFERENCES = ("dpo", "orpo")
"""Objectives that learn from pairs of a better and a worse answer."""


def option(default: Any, help: str) -> Any:
    """A field of :class:`Config` with its one-line help."""
    return field(default=default, metadata={"help": help})


def require(holds: bool, name: str, value: Any, rule: str) -> None:
    """Raise UserError naming the option, the value it has, and the rule it breaks."""
    if not holds:
        raise UserError(f"--{name.replace('_', '-')} is {value!r}, but {rule}.")


def nearest(name: str, known: typing.Iterable[str]) -> str:
    """'did you mean X?' or the whole list, for an error message."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(known)}."


@dataclass(frozen=True)
class Config:
    """Everything a run does. Lengths are in tokens, intervals in optimizer steps (0 means never).

    Raises UserError on construction if a value cannot work, so that a Config that exists can be run.
    """

    model: str = option(
        "smollm2-135m", "base model: a preset, a Hub id[@REVISION], a folder, a GGUF file, or tiny (random, for tests)"
    )
    data: str = option(
        "python_qa",
        "data set: python_qa, bookings_json or tables_sql (embedded), a local file, a Hub id, or duckdb:FILE?table=T, "
        "md:DATABASE?table=T",
    )
    columns: str | None = option(
        None, "columns of the data by their roles, such as question=Q,answer=A,context=C; recognised unless given"
    )
    encoding: str | None = option(None, "encoding of a text file, such as cp1252; UTF-8 or UTF-16 unless given")
    train_on: Literal["all", "last"] = option("all", "answers of a conversation that are trained: all or the last")
    prompt_format: Literal["auto", "python", "plain"] = option(
        "auto", "what stands around a question: the data's own way, the Python task's, or nothing"
    )
    system: str | None = option(None, "system prompt of rows that bring none")
    user_template: str | None = option(
        None,
        "user's turn with {question} and {input}, such as 'Translate: {question}'; the question unless given",
    )
    objective: Literal["sft", "dpo", "orpo", "verified"] = option(
        "sft",
        "learn the data's answers (sft), to prefer the better of two (dpo, orpo) from chosen and rejected, or the "
        "data's answers and the model's own that pass their check (verified)",
    )
    rounds: int = option(2, "verified: how often the model as it stands is asked, at even distances over the run")
    samples: int = option(4, "verified: answers to each question that has a check, in each round")
    keep: int = option(2, "verified: different passing answers to one question that a round trains, at most")
    temperature: float = option(0.8, "verified: of the answers that are asked for")
    checked_by: str | None = option(
        None,
        "verified: the task (name or file) whose scorers decide what passes; the data's own assertions unless given",
    )
    beta: float | None = option(
        None, "strength of dpo (0.1, or 5 per token) or of orpo's preference (0.1); these unless given"
    )
    length_normalised: bool | None = option(
        None, "compare answers by mean log p per token: as the papers have it (dpo: no, orpo: yes) unless given"
    )
    from_adapter: str | None = option(None, "go on from this adapter: a folder, or the name of a run beside this one")
    empty_input_only: bool = option(False, "keep only questions without an input")
    limit: int | None = option(None, "use at most this many training rows")
    max_tokens: int = option(1024, "longest example, within the model's context; longer ones are dropped and counted")
    max_steps: int = option(60, "optimizer steps")
    epochs: float | None = option(None, "passes over the training rows, in place of a number of steps")
    batch_size: int = option(16, "examples per optimizer step, over all micro-batches and devices")
    micro_batch_tokens: int | None = option(
        None, "tokens that one forward pass may hold: 896 on a CPU, 4096 elsewhere; halved when memory runs out"
    )
    micro_batch_rows: int | None = option(None, "examples that one forward pass may hold")
    learning_rate: float = option(1e-3, "peak learning rate")
    schedule: Literal["cosine", "linear", "constant"] = option("cosine", "learning rate after the warm-up")
    warmup_steps: int = option(6, "steps of linear warm-up")
    weight_decay: float = option(0.01, "AdamW's decoupled weight decay")
    clip_norm: float = option(1.0, "largest gradient norm; 0 for no clipping")
    optimizer: Literal["adamw", "adamw8bit"] = option("adamw", "AdamW, or bitsandbytes' with an 8-bit state")
    rank: int = option(16, "LoRA rank")
    alpha: float = option(16.0, "LoRA alpha; the update is scaled by alpha / rank")
    rslora: bool = option(False, "scale the update by alpha / sqrt(rank) instead (rank-stabilised LoRA)")
    dropout: float = option(0.05, "LoRA dropout")
    init: Literal["lora", "pissa"] = option(
        "lora", "where the factors begin: at no change (lora), or at the main part of each weight (pissa)"
    )
    neftune: float = option(0.0, "NEFTune: noise on the embeddings while training, such as 5; 0 for none")
    dora: bool = option(False, "learn sizes and directions of the weights apart (DoRA): a little better, much slower")
    lora_plus: float = option(1.0, "learning rate of factor B over that of A (LoRA+ proposes 16 at a lower rate)")
    target_modules: tuple[str, ...] = option(
        ("q_proj", "k_proj", "v_proj", "o_proj"),
        "linear layers that get an adapter, comma-separated, or all-linear; the usual ones under the family's names",
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = option("auto", "where to train")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option("auto", "of the frozen base; adapters are always fp32")
    quantize: Literal["none", "8bit", "4bit"] = option("none", "hold the frozen base in 8 or 4 bits (bitsandbytes)")
    gradient_checkpointing: bool = option(False, "recompute activations: less memory, about a third slower")
    threads: int | None = option(None, "CPU threads; all cores unless given")
    validate_every: int = option(10, "steps between validations; 0: only before and after, and with every score")
    validation_rows: int = option(64, "rows of the validation split that are used, at most")
    test_rows: int = option(64, "rows of the test split that are used, at most")
    patience: int = option(0, "stop after this many validations without a better loss; 0: never")
    score_on: str | None = option(
        None, "a task (name or file) that is scored before, while and after training: the best of it is kept"
    )
    score_every: int = option(20, "steps between scores on that task; 0: only before and after")
    score_questions: int | None = option(50, "its first questions that are asked; none for all")
    stop_when_score_falls: int = option(0, "stop after this many scores that are no better than the best; 0: never")
    track: Literal["none", "trackio", "tensorboard"] = option(
        "none", "mirror the run's figures to this tracker as well"
    )
    save_every: int = option(10, "steps between checkpoints; 0: only at the end or when stopped")
    keep_checkpoints: int = option(2, "newest checkpoints that are kept")
    sample_every: int = option(0, "steps between answers to the sample question; 0: none")
    sample_question: str = option(FIBONACCI, "question answered while training")
    sample_tokens: int = option(120, "longest sample answer")
    chat_template: str | None = option(None, "plain, the name of one of the model's templates, or a Jinja file")
    thinking: Literal["template", "on", "off"] = option("template", "a thinking model's draft, where it has a switch")
    trust_remote_code: bool = option(False, "run code that the model brings: only if you trust its author")
    seed: int = option(3825, "of data order, adapter initialisation and dropout")

    def __post_init__(self) -> None:
        for name in ("max_tokens", "max_steps", "batch_size", "rank", "keep_checkpoints"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be 1 or more")
        for name in ("limit", "micro_batch_tokens", "micro_batch_rows", "threads", "score_questions"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "must be 1 or more")
        counts = ("warmup_steps", "validate_every", "patience", "save_every", "sample_every", "seed", "score_every")
        for name in (*counts, "stop_when_score_falls"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "must be 0 or more")
        for name in ("validation_rows", "test_rows"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "must be 0 or more")
        require(self.sample_tokens >= 1, "sample_tokens", self.sample_tokens, "must be 1 or more")
        for name in ("learning_rate", "alpha"):
            value = getattr(self, name)
            require(math.isfinite(value) and value > 0, name, value, "must be a number above 0")
        for name in ("weight_decay", "clip_norm"):
            value = getattr(self, name)
            require(math.isfinite(value) and value >= 0, name, value, "must be a number, 0 or more")
        in_range = self.epochs is None or (math.isfinite(self.epochs) and 0 < self.epochs <= 10_000)
        require(in_range, "epochs", self.epochs, "must be a number above 0, at most 10,000")
        require(1 <= self.lora_plus <= 1000, "lora_plus", self.lora_plus, "must be from 1 to 1,000")
        usable = self.beta is None or (math.isfinite(self.beta) and self.beta > 0)
        require(usable, "beta", self.beta, "must be a number above 0")
        # a rate is rounded to a 256th, and one that drops everything has no survivors to scale up
        require(0 <= self.dropout < 0.998, "dropout", self.dropout, "must be at least 0 and below 0.998")
        for name in ("rounds", "samples", "keep"):
            require(1 <= getattr(self, name) <= 100, name, getattr(self, name), "must be from 1 to 100")
        require(0 < self.temperature <= 5, "temperature", self.temperature, "must be above 0 and at most 5")
        if self.objective == "verified" and self.epochs is None:
            require(self.rounds <= self.max_steps, "rounds", self.rounds, f"must be at most the {self.max_steps} steps")
        require(0 <= self.neftune <= 1000, "neftune", self.neftune, "must be from 0 to 1,000")
        if self.init == "pissa" and (self.dora or self.quantize != "none" or self.from_adapter is not None):
            other = "--dora" if self.dora else "--from-adapter" if self.from_adapter is not None else "--quantize"
            raise UserError(
                f"--init pissa begins in the weights themselves and does not go with {other}: leave one out."
            )
        if self.stop_when_score_falls and self.score_on is None:
            raise UserError("--stop-when-score-falls needs a task to score: name it with --score-on.")
        require(self.learning_rate <= 1, "learning_rate", self.learning_rate, "must be at most 1")
        require(bool(self.target_modules), "target_modules", "", "must name at least one linear layer")
        require(self.seed < 2**31, "seed", self.seed, f"must be below {2**31}")
        check_name(self.data)
        column_roles(self.columns)
        if self.sample_every and not self.sample_question.strip():
            raise UserError("--sample-question is empty: give a question, or set --sample-every 0.")

    def in_steps(self, rows: int) -> Config:
        """The same with ``epochs`` over so many training rows told in steps, the last one whole."""
        if self.epochs is None:
            return self
        return dataclasses.replace(self, max_steps=max(1, math.ceil(self.epochs * rows / self.batch_size)))

    @property
    def reading(self) -> Reading:
        """How the data is to be read."""
        return Reading(column_roles(self.columns), self.encoding, self.train_on, self.objective in PREFERENCES)

    @property
    def format_wish(self) -> FormatWish:
        """The prompt format that is wished for."""
        return FormatWish(self.prompt_format, self.system, self.user_template)


BRIEF: dict[str, Any] = {
    "max_tokens": 512,
    "max_steps": 50,
    "batch_size": 8,
    "warmup_steps": 5,
    "learning_rate": 2e-3,
    "rank": 4,
    "alpha": 8.0,
    "dropout": 0.0,
    "validation_rows": 32,
    "test_rows": 32,
    "sample_every": 25,
    "sample_tokens": 60,
}
"""What the recipes for short answers share: a small adapter, a few minutes."""

PRESETS: dict[str, Config] = {
    "smoke": Config(
        model="tiny",
        limit=48,
        max_tokens=512,
        max_steps=8,
        batch_size=4,
        warmup_steps=1,
        validate_every=4,
        validation_rows=8,
        test_rows=8,
        save_every=4,
        sample_every=4,
        sample_tokens=12,
    ),
    "quick": Config(max_steps=80, warmup_steps=8, alpha=32.0, sample_every=20),
    "starter": Config(
        epochs=3, warmup_steps=20, alpha=32.0, target_modules=("all-linear",), precision="bf16", validate_every=50
    ),
    "json": Config(data=BOOKINGS, sample_question=BOOKING, **BRIEF),
    "sql": Config(data=QUERIES, sample_question=QUERY, **BRIEF | {"max_steps": 40}),
    "python-300": Config(
        limit=300,
        max_steps=20,
        warmup_steps=1,
        schedule="linear",
        sample_every=20,
        sample_tokens=300,
    ),
    "python-3000": Config(
        model="smollm2-360m",
        data=HUB_DATA,
        empty_input_only=True,
        limit=3000,
        max_tokens=2048,
        max_steps=1000,
        warmup_steps=100,
        schedule="linear",
        validate_every=100,
        validation_rows=200,
        test_rows=200,
        save_every=100,
        sample_every=250,
        sample_tokens=300,
    ),
}

FORMER_NAMES = {"original-small": "python-300", "original": "python-3000"}
"""What presets were once called: such a name still works, and stands in the records of older runs."""

DESCRIPTIONS: dict[str, str] = {
    "smoke": "seconds: a tiny random model, to see that everything works",
    "quick": "minutes on two cores: the embedded questions on the 135M model",
    "starter": "an hour on two cores: the same questions, three times over and on all layers: the starter adapter",
    "json": "minutes on two cores: messages to JSON on the 135M model, the adapter of the task json",
    "sql": "minutes on two cores: questions to SQL on the 135M model, the adapter of the task sql",
    "python-300": "4 minutes: 300 examples, 20 steps: the small test of the experiment LoRA Lens began with",
    "python-3000": "hours: 3,000 examples, 1,000 steps on the 360M model: the experiment LoRA Lens began with",
}


def name_today(name: str) -> str:
    """What the preset of that name is called now."""
    return FORMER_NAMES.get(name, name)


def preset(name: str) -> Config:
    """The recipe of that name, perhaps a former one; raises UserError naming the nearest if there is none."""
    if name_today(name) not in PRESETS:
        raise UserError(f"There is no preset {name!r}: {nearest(name, PRESETS)}")
    return PRESETS[name_today(name)]


def configure(name: str, overrides: dict[str, Any] | None = None) -> Config:
    """A preset with some fields replaced; raises UserError for an unknown field or a value that cannot work."""
    base = preset(name)
    kinds = field_types()
    cleaned = {}
    for key, value in (overrides or {}).items():
        if key not in kinds:
            raise UserError(f"There is no setting {key!r}: {nearest(key, kinds)}")
        cleaned[key] = convert(key, value, kinds[key])
    return dataclasses.replace(base, **cleaned)


def from_dict(values: dict[str, Any]) -> Config:
    """The Config that :func:`to_dict` wrote; raises UserError if a setting is unknown or cannot work."""
    return configure("quick", values)


def to_dict(config: Config) -> dict[str, Any]:
    """For JSON."""
    return dataclasses.asdict(config) | {"target_modules": list(config.target_modules)}


def field_types() -> dict[str, Any]:
    """Type of every field, resolved."""
    return typing.get_type_hints(Config)
