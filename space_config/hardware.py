"""What this process runs on, and the defaults that fit it: a Space on CPUs, on a GPU or on ZeroGPU, or any machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

BUCKET = Path("/data")
LOST = "Votes and runs are lost when this Space restarts: its owner can mount a storage bucket at /data."


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
    if environment.get("SPACES_ZERO_GPU"):
        # The GPU exists in short-lived workers alone, which neither the decoder's thread nor a training process is.
        defaults |= {"LORA_LENS_DEVICE": "cpu"}
        return Profile("zero-gpu", "a ZeroGPU Space: answers and training run on its CPU", defaults, notice)
    if any(devices.glob("nvidia[0-9]*")):
        return Profile("gpu-space", "a Space with a GPU", defaults, notice)
    defaults |= {"LORA_LENS_ANSWER_TOKENS": "1000", "LORA_LENS_WAITING_REQUESTS": "24"}
    return Profile("cpu-space", "a Space without a GPU: shorter answers, a shorter queue", defaults, notice)


def apply(profile: Profile, environment: MutableMapping[str, str]) -> None:
    """Set the profile's defaults; what the operator has set stays."""
    for name, value in profile.defaults.items():
        environment.setdefault(name, value)
