"""Deploying: the plan, the card, and the whole way through the real client to a stand-in of the Hub."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from PIL import Image, ImageChops

from space_config.space import card, deploy, thumbnail
from tests.space_config.space.hub_stand_in import TOKEN, Hub
from tuning.errors import UserError

PROJECT = Path(__file__).parents[3]


def options(*more):
    return deploy.parser().parse_args(["--repo-id", "ann/lens", *more])


@pytest.fixture
def hub(request):
    stand_in = Hub(**getattr(request, "param", {}))
    yield stand_in
    stand_in.close()


def api(hub, token=TOKEN):
    return HfApi(endpoint=hub.url, token=token)


def test_a_dry_run_needs_no_token_and_tells_everything_but_secrets(capsys, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("ADMIN_PASSWORD", "never to be shown")
    asked = ["--repo-id", "ann/lens", "--hardware", "t4-small", "--bucket", "ann/store", "--private"]
    asked += [
        "--secret",
        "ADMIN_PASSWORD",
        "--secret",
        "KEY=also=hidden",
        "--variable",
        "LORA_LENS_MODEL=a/b",
        "--dry-run",
    ]
    assert deploy.main(asked) == 0
    told = capsys.readouterr().out
    for part in ("ann/lens (private", "t4-small", "ann/store at /data", "LORA_LENS_MODEL=a/b", "README.md"):
        assert part in told
    assert "never to be shown" not in told
    assert "hidden" not in told


def test_exactly_what_the_app_needs_is_uploaded():
    files = deploy.needed_files(PROJECT, zero_gpu=False)
    for name in ("app.py", "requirements.txt", "LICENSE", "space_config/server/guard.py", "eval_prompts/page/board.js"):
        assert name in files
    assert any(name.endswith("adapter_model.safetensors") for name in files)
    unwanted = re.compile(r"(^|/)(tests|\.git|__pycache__)(/|$)|^runs/|\.pyc$|^README\.md$")
    assert not [name for name in files if unwanted.search(name)]
    zero = deploy.needed_files(PROJECT, zero_gpu=True)["requirements.txt"].read_text()
    assert "spaces" in zero
    assert "torch==2.13" not in zero


@pytest.mark.parametrize("hub", [{"files": {"old.py": b"", "app.py": b"old", ".gitattributes": b""}}], indirect=True)
def test_a_deployment_leaves_exactly_the_plan_on_the_hub(hub):
    said = []
    plan = deploy.make_plan(
        options("--hardware", "t4-small", "--bucket", "ann/b", "--secret", "ADMIN_PASSWORD=hush-hush")
    )
    hub.host = "http://127.0.0.1:1"
    assert deploy.deploy(plan, api(hub), said.append, look_seconds=0) == hub.host
    assert hub.created[0]["type"] == "space"
    assert hub.created[0]["sdk"] == "gradio"
    assert hub.secrets == {"ADMIN_PASSWORD": "hush-hush"}
    assert hub.variables["LORA_LENS_LOG_FORMAT"] == "json"
    assert hub.hardware == "t4-small"
    assert "ann/b" in str(hub.volumes)
    assert set(hub.files) == {*plan.files, "README.md", ".gitattributes"}
    assert hub.files["app.py"] == (PROJECT / "app.py").read_bytes()
    matter, body = card.split(hub.files["README.md"].decode())
    assert matter["title"] == "LoRA Lens"
    assert matter["thumbnail"].endswith("/ann/lens/resolve/main/space_config/space/thumbnail.png")
    assert "side" in body
    assert [line for line in said if line.startswith("ann/lens: ")] == [
        "ann/lens: building", "ann/lens: app starting", "ann/lens: running",
    ]  # fmt: skip
    assert "hush-hush" not in "".join(said)


@pytest.mark.parametrize(
    ("hub", "words"),
    [
        ({"stages": ["BUILDING", "BUILD_ERROR"]}, "does not run .build error.: no module named nothing"),
        ({"stages": ["RUNTIME_ERROR"]}, "runtime error"),
        ({"refuse": ["/hardware"]}, r"refused \(403\)"),
        ({"refuse": ["/commit"]}, r"refused \(403\)"),
    ],
    indirect=["hub"],
)
def test_what_the_hub_refuses_is_one_line(hub, words):
    with pytest.raises(UserError, match=words) as told:
        deploy.deploy(deploy.make_plan(options("--hardware", "t4-small")), api(hub), lambda line: None, look_seconds=0)
    assert "\n" not in str(told.value)


def test_a_wrong_token_and_none_at_all_are_said(hub, monkeypatch, tmp_path):
    with pytest.raises(UserError, match="401"):
        deploy.deploy(deploy.make_plan(options()), api(hub, "hf_wrong"), lambda line: None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with pytest.raises(UserError, match="set HF_TOKEN"):
        deploy.deploy(deploy.make_plan(options()), api(hub, None), lambda line: None)


@pytest.mark.parametrize(
    "asked",
    [
        ["--repo-id", "only-a-name"],
        ["--repo-id", "a/b/c"],
        ["--repo-id", "ann/lens", "--hardware", "cray-1"],
        ["--repo-id", "ann/lens", "--bucket", "x"],
        ["--repo-id", "ann/lens", "--secret", "NOT_IN_THE_ENVIRONMENT"],
        ["--repo-id", "ann/lens", "--variable", "no-name=1"],
    ],
)
def test_bad_options_are_refused_before_anything_is_sent(asked, capsys):
    assert deploy.main([*asked, "--dry-run"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sdk_version": "6.30.0"}, "locked to gradio"),
        ({"colorFrom": "teal"}, "colorFrom"),
        ({"colour": "red"}, "colour is no key"),
        ({"pinned": "no"}, "pinned is no bool"),
        ({"python_version": 3.12}, "python_version is no str"),
        ({"short_description": "x" * 61}, "60 characters"),
        ({"app_file": "main.py"}, "app_file"),
        ({"models": ["../x"]}, "models names no repository"),
        ({"hf_oauth_scopes": ["everything"]}, "hf_oauth_scopes"),
        ({"title": None}, "title is no str"),
    ],
)
def test_a_card_that_the_hub_would_refuse_is_refused_here(change, words):
    matter, _ = card.split(card.CARD.read_text())
    card.check(matter, PROJECT)
    with pytest.raises(UserError, match=words):
        card.check(matter | change, PROJECT)


def test_a_card_without_front_matter_is_refused():
    for text in ("# Only text", "---\n[1, 2\n---\n", "---\njust words\n---\n"):
        with pytest.raises(UserError, match="front matter"):
            card.split(text)


def test_the_lock_file_fits_the_requirements():
    wanted = (PROJECT / "requirements.txt").read_text()
    lock = (PROJECT / "space_config/requirements.lock").read_text()
    locked = dict(re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([\w.]+)", lock, re.MULTILINE))
    from packaging.requirements import Requirement

    for line in wanted.splitlines():
        requirement = Requirement(line)
        if requirement.name == "torch":
            continue
        assert locked[requirement.name] in requirement.specifier, line
    assert lock.count("--hash=sha256:") >= len(locked)


def test_the_thumbnail_is_what_its_script_draws():
    with Image.open(PROJECT / deploy.THUMBNAIL) as kept:
        assert kept.size == (1200, 630)
        assert ImageChops.difference(kept.convert("RGB"), thumbnail.draw()).getbbox() is None


def test_a_folder_link_is_not_followed(tmp_path):
    for name in (*deploy.FOLDERS, "tests"):
        (tmp_path / name).mkdir()
    for name in deploy.SINGLE_FILES:
        (tmp_path / name).write_text("x")
    (tmp_path / "tuning/secret.txt").symlink_to("/etc/passwd")
    shutil.copy(PROJECT / "app.py", tmp_path / "tuning/code.py")
    assert set(deploy.needed_files(tmp_path, zero_gpu=False)) == {*deploy.SINGLE_FILES, "tuning/code.py"}


def test_the_zero_gpu_requirements_differ_in_pytorch_alone():
    def lines(path):
        return {line for line in (PROJECT / path).read_text().splitlines() if not line.startswith("#")}

    here, there = lines("requirements.txt"), lines("space_config/requirements.txt")
    assert {line for line in here if not line.startswith(("torch", "pytest"))} == {
        line for line in there if not line.startswith(("torch", "spaces"))
    }


NEW, OLD = "2" * 40, "1" * 40


@pytest.mark.parametrize(
    "hub",
    [
        {"stages": ["RUNNING", "RUNNING", "BUILDING", "RUNNING"], "commits": [OLD, OLD, NEW, NEW]},
        {"stages": ["BUILD_ERROR", "BUILDING", "RUNNING"], "commits": [OLD, NEW, NEW]},
        {"stages": ["RUNNING", "BUILDING", "RUNNING"]},
        {"stages": ["RUNTIME_ERROR", "BUILDING", "RUNNING"]},
    ],
    indirect=True,
)
def test_the_build_of_before_is_not_taken_for_the_new_one(hub):
    hub.host = "http://127.0.0.1:1"
    said = []
    assert deploy.deploy(deploy.make_plan(options()), api(hub), said.append, look_seconds=0) == hub.host
    assert len(hub.stages) == 1, "the last stage was waited for"


@pytest.mark.parametrize("hub", [{"stages": ["BUILDING", "BUILD_ERROR"], "commits": [NEW, NEW]}], indirect=True)
def test_a_failure_of_the_new_build_is_one(hub):
    with pytest.raises(UserError, match="build error"):
        deploy.deploy(deploy.make_plan(options()), api(hub), lambda line: None, look_seconds=0)


@pytest.mark.parametrize("hub", [{"stages": ["PAUSED"], "commits": [OLD] * 3}], indirect=True)
def test_a_paused_space_is_not_waited_for(hub):
    with pytest.raises(UserError, match="paused"):
        deploy.deploy(deploy.make_plan(options()), api(hub), lambda line: None, look_seconds=0)


@pytest.mark.parametrize("hub", [{"stages": ["RUNNING"]}], indirect=True)
def test_a_hub_that_names_no_commit_is_believed_after_a_while_and_that_is_said(hub):
    said = []
    deploy.deploy(deploy.make_plan(options()), api(hub), said.append, look_seconds=0)
    assert any("does not say which commit runs" in line for line in said)


def test_a_dry_run_fits_a_screen_and_ends_with_what_matters(capsys):
    assert deploy.main(["--repo-id", "ann/lens", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 12
    assert all(len(line) < 200 for line in lines)
    assert lines[-1].startswith("WARNING    votes and runs are lost when the Space restarts")
    assert "eval_prompts (" in "".join(lines)
    kept = [
        "--repo-id",
        "ann/lens",
        "--dry-run",
        "--private",
        "--bucket",
        "ann/b",
        "--secret",
        "ADMIN_PASSWORD=hush-hush",
    ]
    assert deploy.main(kept) == 0
    assert "WARNING" not in capsys.readouterr().out


@pytest.mark.parametrize("nested", [False, True])
def test_an_own_adapter_goes_along(tmp_path, nested):
    place = tmp_path / "adapter" if nested else tmp_path
    place.mkdir(exist_ok=True)
    with pytest.raises(UserError, match="holds no adapter"):
        deploy.make_plan(options("--adapter", str(tmp_path)))
    (place / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="first validation"):
        deploy.make_plan(options("--adapter", str(tmp_path)))
    for name in ("adapter_model.safetensors", "optimizer.pt"):
        (place / name).write_bytes(b"x")
    plan = deploy.make_plan(options("--adapter", str(tmp_path)))
    own = {name for name in plan.files if name.startswith("own_adapter/")}
    assert own == {"own_adapter/adapter_config.json", "own_adapter/adapter_model.safetensors"}
    assert plan.variables["LORA_LENS_ADAPTER"] == "own_adapter"
    with pytest.raises(UserError, match="named twice"):
        deploy.make_plan(options("--adapter", str(tmp_path), "--variable", "LORA_LENS_ADAPTER=a/b"))
