"""What this process runs on, and the defaults that fit it: a Space on CPUs, on a GPU or on ZeroGPU, or any machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

BUCKET = Path("/data")
LOST = "Votes and runs are lost when this Space restarts: its owner can mount a storage bucket at /data."

NO_OPENING = (
    "Other models are not opened here, because ZeroGPU lends its GPU to what the Space was started with: name them in "
    "LORA_LENS_MODEL and LORA_LENS_ADAPTER, and restart the Space."
)
NO_TRAINING = (
    "Training is off here, because ZeroGPU lends its GPU for seconds and to one request at a time: train on your own "
    "machine (python -m tuning train) or on a Space with other hardware, then put the run's folder into runs/ of the "
    "bucket at /data here, or push the adapter to the Hub from the Train tab there and name it in LORA_LENS_ADAPTER."
)
"""A run on ZeroGPU would have to be cut into slices, and nothing lends them to it: a GPU is lent on the account of the
visitor whose request is being answered, by a token of that request that expires; and to one forked process by its
number, which may be aborted once its time is over (the package ``spaces`` 0.51.3). A run is a process of its own that
goes on when everybody has left."""


@dataclass(frozen=True)
class Profile:
    """Environment variables that are set where they are not set yet, and one line each for the log and the page."""

    name: str
    words: str
    defaults: dict[str, str] = field(default_factory=dict)
    notice: str = ""


def detect(environment: Mapping[str, str], devices: Path = Path("/dev"), bucket: Path = BUCKET) -> Profile:
    """The profile of this machine, told from its environment and devices; torch is not needed for that."""
    if not environment.get("SPACE_ID"):
        return Profile("local", "a machine of your own")
    kept = bucket.is_dir() and os.access(bucket, os.W_OK)
    defaults = {"LORA_LENS_HOST": "0.0.0.0", "LORA_LENS_STOP_TRAINING": "true", "LORA_LENS_PREFER_HUB": "true"}
    if kept:
        defaults |= {"LORA_LENS_DATA": str(bucket), "LORA_LENS_CACHE": str(bucket / "cache")}
    notice = "" if kept else LOST
    defaults_of_small_ones = {"LORA_LENS_ANSWER_TOKENS": "1000", "LORA_LENS_WAITING_REQUESTS": "24"}
    if on_zero_gpu(environment):
        # The GPU exists in lent processes alone: the pair of this one, and a run where one is allowed, is on the CPU.
        defaults |= defaults_of_small_ones | {"LORA_LENS_DEVICE": "cpu"}
        return Profile("zero-gpu", "a ZeroGPU Space, where answers borrow a GPU", defaults, notice)
    if any(devices.glob("nvidia[0-9]*")):
        return Profile("gpu-space", "a Space with a GPU", defaults, notice)
    defaults |= defaults_of_small_ones
    return Profile("cpu-space", "a Space without a GPU: shorter answers, a shorter queue", defaults, notice)


def on_zero_gpu(environment: Mapping[str, str]) -> bool:
    """Whether GPUs are lent to this process by ZeroGPU; the platform's variable counts as its package reads it."""
    return environment.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def apply(profile: Profile, environment: MutableMapping[str, str]) -> None:
    """Set the profile's defaults; what the operator has set stays."""
    for name, value in profile.defaults.items():
        environment.setdefault(name, value)
