"""Settings: their page is made from them, and secrets are not shown."""

from __future__ import annotations

import re

import pytest

from eval_prompts.judging.sandbox import jail
from space_config import settings_page
from space_config.settings import Settings, read_settings
from space_config.variables import unread
from tuning.errors import UserError


def test_the_page_of_settings_is_that_of_the_code():
    assert settings_page.PAGE.read_text() == settings_page.page(), "run python -m space_config.settings_page"


def test_the_page_names_every_setting_with_its_default_and_bounds():
    rows = dict(
        re.findall(r"^\| `--([\w-]+)` \| (.*) \|$", settings_page.page().split("## Variables")[0], re.MULTILINE)
    )
    assert set(rows) == {name.replace("_", "-") for name in Settings.model_fields}
    assert rows["port"].startswith("at least 0, at most 65,535 | `7860` | ")
    assert rows["jail"].startswith("switch | off | ")
    assert rows["api-key"].startswith("secret | none | ")
    assert rows["log-format"].startswith("`text`, `json` | `text` | ")


def test_what_was_said_last_counts(monkeypatch):
    monkeypatch.setenv("LORA_LENS_ASKS_PER_MINUTE", "7")
    assert read_settings([]).limits().asks_per_minute == 7
    assert read_settings(["--asks-per-minute", "9"]).limits().asks_per_minute == 9


@pytest.mark.parametrize(
    "options",
    [["--asks-per-minute", "-1"], ["--answer-tokens", "99999"], ["--log-format", "xml"], ["--data-gb", "0"]],
)
def test_bad_values_name_their_option(options):
    with pytest.raises(UserError, match=options[0]):
        read_settings(options)


def test_secrets_are_not_shown():
    settings = read_settings(["--auth", "a long password", "--api-key", "key-of-the-endpoint"])
    assert "a long password" not in repr(settings)
    assert "key-of-the-endpoint" not in repr(settings)


def test_the_help_is_for_people(capsys):
    with pytest.raises(SystemExit) as ended:
        read_settings(["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert "--auth" in told
    for word in ("SecretStr", "null", "None", "default: \n"):
        assert word not in told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--base-url", "http://h/v1"], "the same model"),
        (["--tuned-url", "http://h/v1"], "--base-url too"),
        (["--load-in-4bit", "--load-in-8bit"], "choose one"),
        (["--tuned-model-name", "mine"], "--tuned-model for a model that is loaded here"),
        (["--base-model-name", "mine"], "--base-url too, or --model"),
    ],
)
def test_settings_at_odds_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        read_settings(options).lens()


def test_what_does_nothing_beside_endpoints_is_named(monkeypatch):
    served = ["--base-url", "http://h/v1", "--tuned-model-name", "mine"]
    assert read_settings(served).without_effect() == ""
    assert read_settings(["--adapter", "mine", "--thinking", "on"]).without_effect() == ""
    monkeypatch.setenv("LORA_LENS_ADAPTER", "mine")
    assert (
        "--adapter, --precision can change nothing" in read_settings([*served, "--precision", "fp32"]).without_effect()
    )


def test_variables_that_nothing_reads_are_named():
    given = [
        "LORA_LENS_ASK_PER_MINUTE",
        "LORA_LENS_PORT",
        "lora_lens_host",
        "LORA_LENS_JUDGE_KEY",
        "LORA_LENS_X",
        "HOME",
    ]
    assert unread(given, Settings.model_fields) == [
        "Nothing reads the variable LORA_LENS_ASK_PER_MINUTE: did you mean LORA_LENS_ASKS_PER_MINUTE?",
        "Nothing reads the variable LORA_LENS_X: docs/settings.md has all.",
    ]


def test_a_whole_model_takes_the_starters_place_and_no_others():
    loader = read_settings(["--tuned-model", "owner/other@v2"]).lens().loader
    assert (loader.adapter, loader.tuned_model) == (None, "owner/other@v2")
    with pytest.raises(UserError, match="not both"):
        read_settings(["--tuned-model", "owner/other", "--adapter", "starter"]).lens()
    with pytest.raises(UserError, match="--tuned-model-name"):
        read_settings(["--tuned-model", "owner/other", "--base-url", "http://127.0.0.1:1/v1"]).lens()


def test_training_is_off_on_zero_gpu_alone_unless_it_is_asked_for(monkeypatch):
    assert read_settings([]).no_training() == ""
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    settings = read_settings(["--auth", "long enough"])
    assert "python -m tuning train" in settings.no_training()
    assert "to choose adapters" in settings.invitation()
    allowed = read_settings(["--auth", "long enough", "--zero-gpu-training"])
    assert allowed.no_training() == ""
    assert "to train" in allowed.invitation()


@pytest.mark.parametrize(
    ("options", "open_to_all", "hosts"),
    [
        ([], True, {"localhost", "127.0.0.1", "[::1]"}),
        (["--auth", "long enough"], False, {"localhost", "127.0.0.1", "[::1]"}),
        (["--allowed-hosts", "Lens.example"], False, {"lens.example", "localhost", "127.0.0.1", "[::1]"}),
        (["--trust-proxy"], False, {"localhost", "127.0.0.1", "[::1]"}),
        (["--host", "0.0.0.0"], False, set()),
    ],
)
def test_an_app_is_open_only_where_this_machine_alone_can_reach_it(options, open_to_all, hosts):
    settings = read_settings(options)
    assert settings.open_to_all is open_to_all
    assert settings.hosts() == hosts


def test_the_jail_is_had_only_where_it_is_asked_for_and_nobody_else_can_ask(monkeypatch):
    assert read_settings([]).jail_allowed() is False
    monkeypatch.setattr(jail, "unavailable", lambda: "")
    assert read_settings(["--jail"]).jail_allowed() is True
    for elsewhere in (["--host", "0.0.0.0"], ["--auth", "long enough"], ["--trust-proxy"]):
        with pytest.raises(UserError, match="this machine alone"):
            read_settings(["--jail", *elsewhere]).jail_allowed()
    monkeypatch.setattr(jail, "unavailable", lambda: "bubblewrap is not installed")
    with pytest.raises(UserError, match="bubblewrap is not installed"):
        read_settings(["--jail"]).jail_allowed()


def test_a_class_is_counted_by_sessions():
    settings = read_settings(["--host", "0.0.0.0", "--auth", "correct horse", "--per-visitor-limits", "session"])
    assert settings.limits().per_session
    assert settings.limits().connections_per_address == settings.connections
    assert settings.lens()._limits.asks_per_address is None
    assert read_settings(["--host", "0.0.0.0", "--auth", "correct horse"]).lens()._limits.asks_per_address == 4
