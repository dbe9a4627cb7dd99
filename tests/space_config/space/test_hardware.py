"""Profiles by environment, storage at /data, and the mirror of votes."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from space_config.settings import read_settings
from space_config.space.hardware import LOST, apply, detect
from space_config.space.mirror import Mirror
from tests.space_config.space.hub_stand_in import TOKEN, Hub


@pytest.mark.parametrize(
    ("environment", "gpu", "name"),
    [
        ({}, True, "local"),
        ({"SPACE_ID": "a/b"}, False, "cpu-space"),
        ({"SPACE_ID": "a/b"}, True, "gpu-space"),
        ({"SPACE_ID": "a/b", "SPACES_ZERO_GPU": "1"}, False, "zero-gpu"),
    ],
)
def test_the_profile_is_told_from_the_environment(environment, gpu, name, tmp_path):
    if gpu:
        (tmp_path / "nvidia0").touch()
    profile = detect(environment, devices=tmp_path, bucket=tmp_path / "none")
    assert profile.name == name
    assert profile.notice.endswith("" if name == "local" else LOST)


def test_a_mounted_bucket_keeps_everything_and_the_operators_word_counts(tmp_path):
    environment = {"SPACE_ID": "a/b", "LORA_LENS_CACHE": "/elsewhere"}
    profile = detect(environment, devices=tmp_path, bucket=tmp_path)
    apply(profile, environment)
    assert environment["LORA_LENS_DATA"] == str(tmp_path)
    assert environment["LORA_LENS_CACHE"] == "/elsewhere"
    assert profile.notice == ""


def test_a_profiles_defaults_are_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("SPACE_ID", "a/b")
    environment = {"SPACE_ID": "a/b"}
    apply(detect(environment, devices=tmp_path, bucket=tmp_path / "none"), environment)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    settings = read_settings([])
    assert (settings.host, settings.answer_tokens, settings.waiting_requests) == ("0.0.0.0", 1000, 24)
    assert settings.behind_proxy
    assert not settings.open_to_all


def test_votes_are_mirrored_when_they_change_and_a_hub_that_is_away_costs_nothing():
    hub = Hub()
    votes = [b""]
    mirror = Mirror("ann/votes", lambda: votes[0], HfApi(endpoint=hub.url, token=TOKEN), every_seconds=3600)
    assert not mirror.copy()
    votes[0] = b'{"choice": "left"}\n'
    assert mirror.copy()
    assert not mirror.copy()
    assert hub.created[0]["type"] == "dataset"
    assert hub.created[0].get("private") or hub.created[0]["visibility"] == "private"
    assert list(hub.files.values()) == [votes[0]]
    mirror.start()
    votes[0] += b'{"choice": "tie"}\n'
    mirror.close()
    assert list(hub.files.values()) == [votes[0]]
    hub.refuse = ["/commit/"]
    votes[0] += b"more\n"
    with pytest.raises(HfHubHTTPError):
        mirror.copy()
    hub.close()
