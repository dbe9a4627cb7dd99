"""The container's files, read: what they promise is there, and nothing that they should not do. (Nothing is built.)"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[3]
DOCKERFILE = (PROJECT / "space_config/Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()


def instructions(name):
    return [line.split(" ", 1)[1] for line in INSTRUCTIONS if line.startswith(f"{name} ")]


def test_it_runs_as_nobody_in_particular_with_a_health_check_and_a_clean_stop():
    final = INSTRUCTIONS[max(index for index, line in enumerate(INSTRUCTIONS) if line.startswith("FROM ")) :]
    assert [line for line in final if line.startswith("USER ")] == ["USER lens"]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert "/status" in instructions("HEALTHCHECK")[0]
    assert json.loads(instructions("ENTRYPOINT")[0]) == ["python", "app.py"]


@pytest.mark.parametrize(
    ("code", "state", "healthy"),
    [(200, "loading", True), (200, "ready", True), (200, "failed", False), (503, "ready", False)],
)
def test_the_health_check_passes_while_the_model_loads_and_fails_once_it_cannot_be(code, state, healthy):
    class Status(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps({"state": state}).encode())

    with HTTPServer(("127.0.0.1", 0), Status) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _, program, *rest = json.loads(instructions("HEALTHCHECK")[0].split("CMD ")[1])
        rest = [part.replace(":7860/", f":{server.server_port}/") for part in rest]
        checked = subprocess.run([sys.executable, program, *rest], capture_output=True, timeout=30)
        server.shutdown()
    assert (checked.returncode == 0) is healthy


def test_images_are_named_by_version_and_nothing_is_fetched_unchecked():
    assert all(re.search(r":\d", image) for image in instructions("FROM"))
    assert not instructions("ADD")
    assert "--require-hashes" in DOCKERFILE
    assert not re.search(r"curl|wget|sudo|apt-get|chmod 777|https?://(?!127\.0\.0\.1)", DOCKERFILE)


def test_everything_that_is_copied_exists_and_passes_the_ignore_file():
    allowed = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for copy in instructions("COPY"):
        if copy.startswith("--from"):
            continue
        for source in copy.split()[:-1]:
            assert (PROJECT / source).exists(), source
            assert source.split("/")[0] in allowed, source


def test_no_secret_is_baked_in():
    assert not re.search(r"TOKEN|PASSWORD|SECRET|KEY=", "\n".join(instructions("ENV") + instructions("ARG")))


def test_compose_shuts_all_but_the_page():
    (lens,) = yaml.safe_load((PROJECT / "space_config/compose.yaml").read_text())["services"].values()
    assert lens["init"] is True
    assert lens["read_only"] is True
    assert lens["cap_drop"] == ["ALL"]
    assert lens["security_opt"] == ["no-new-privileges:true"]
    assert lens["ports"] == ["127.0.0.1:7860:7860"]
    assert lens["volumes"] == ["data:/data"]


def test_the_file_for_a_gpu_adds_the_card_and_nothing_else():
    (name,) = yaml.safe_load((PROJECT / "space_config/compose.yaml").read_text())["services"]
    added = yaml.safe_load((PROJECT / "space_config/compose.gpu.yaml").read_text())["services"][name]
    (device,) = added.pop("deploy")["resources"]["reservations"]["devices"]
    assert not added
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]


def test_the_image_has_no_packages_of_the_tests():
    installed = (PROJECT / "requirements.txt").read_text() + (PROJECT / "space_config/requirements.lock").read_text()
    named = {re.split("[=<>]", line)[0] for line in installed.splitlines() if line[:1].isalpha()}
    assert named >= {"gradio", "transformers", "psycopg-binary"}, "votes of several replicas are in PostgreSQL"
    assert not named & {"pytest", "pluggy", "iniconfig", "hypothesis", "playwright", "ruff"}


@pytest.mark.parametrize("files", [["compose.yaml"], ["compose.yaml", "compose.gpu.yaml"]])
def test_compose_is_understood_by_docker(files):
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    chosen = [part for file in files for part in ("-f", f"space_config/{file}")]
    command = ["docker", "compose", *chosen, "config", "--quiet"]
    checked = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    if "is not a docker command" in checked.stderr or "unknown shorthand" in checked.stderr:
        pytest.skip("docker's compose plugin is not installed")
    assert checked.returncode == 0, checked.stderr


def test_the_workflow_deploys_tags_alone_after_tests_and_audit():
    workflow = yaml.safe_load((PROJECT / ".github/workflows/space.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    deploy = workflow["jobs"]["deploy"]
    assert deploy["needs"] == ["test", "audit"]
    assert "refs/tags/v" in deploy["if"]
    secrets = [step for step in deploy["steps"] if "secrets." in str(step)]
    assert len(secrets) == 1
    assert "pip-audit" in str(workflow["jobs"]["audit"])
    for job in workflow["jobs"].values():
        assert not any("${{" in step.get("run", "") for step in job["steps"])
