"""What the running app gives away, and what it lets happen: files, addresses, secrets, scripts, its own end."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import urllib.parse
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.app.running import PASSWORD

PROJECT = Path(__file__).parents[2]
FILE = "/gradio_api/file="
SECRET = "s3cret-of-the-database"


def disguises(path: Path):
    """Ways to write a path that have fooled servers before."""
    plain = str(path)
    yield plain
    yield urllib.parse.quote(plain, safe="")
    yield urllib.parse.quote(urllib.parse.quote(plain, safe=""), safe="")
    yield "/tmp/gradio/../.." + plain
    yield "/tmp/gradio/%2e%2e/%2e%2e" + plain
    yield "..%2f" * 12 + plain.lstrip("/")
    yield "..\\" * 12 + plain.lstrip("/").replace("/", "\\")
    yield plain + "%00.txt"
    yield "//" + plain
    yield "file://" + plain
    yield "/proc/self/root" + plain


def test_no_file_of_the_server_is_served(guarded_app, tmp_path):
    link = tmp_path / "link.txt"
    link.symlink_to("/etc/passwd")
    data = guarded_app.data
    wanted = [data / "ratings.sqlite", data / "runs/first/config.json", Path("/etc/passwd"), link, PROJECT / "app.py"]
    with httpx.Client(base_url=guarded_app.url) as visitor, httpx.Client(base_url=guarded_app.url) as owner:
        owner.post("/owner", data={"password": PASSWORD})
        for path in wanted:
            for disguise in disguises(path):
                for route in (FILE, "/assets/"):
                    assert visitor.get(route + disguise).status_code in (400, 403, 404), (route, disguise)
                assert owner.get(FILE + disguise).status_code in (400, 403, 404), disguise


def test_the_owner_gets_back_what_he_uploaded_and_no_link_out_of_there(guarded_app):
    with httpx.Client(base_url=guarded_app.url) as owner:
        owner.post("/owner", data={"password": PASSWORD})
        files = {"files": ("rows.jsonl", b'{"question": "a"}')}
        (stored,) = owner.post("/gradio_api/upload", files=files).json()
        assert owner.get(FILE + stored).content == b'{"question": "a"}'
        out = Path(stored).parent / f"{guarded_app.data.name}.jsonl"
        out.symlink_to(guarded_app.data / "ratings.sqlite")
        assert owner.get(FILE + str(out)).status_code in (403, 404)
        out.unlink()
        assert owner.post("/gradio_api/upload", files={"files": ("x.csv", b"PK\x03\x04")}).status_code == 415
        assert owner.post("/gradio_api/upload", files={"files": ("../x.json", b"{}")}).status_code == 400
        large = {"files": ("x.jsonl", b"x" * (21 * 2**20))}
        assert owner.post("/gradio_api/upload", files=large).status_code == 413
    assert httpx.get(guarded_app.url + FILE.lstrip("/") + stored).status_code == 404


def test_the_server_fetches_nothing_that_a_call_names(guarded_app):
    heard = []

    class Trap(threading.Thread):
        def run(self):
            connection, _ = self.listening.accept()
            heard.append(connection.recv(100))
            connection.close()

    trap = Trap(daemon=True)
    trap.listening = socket.create_server(("127.0.0.1", 0))
    trap.start()
    bait = f"http://127.0.0.1:{trap.listening.getsockname()[1]}/latest/meta-data"
    file = {"path": bait, "url": bait, "meta": {"_type": "gradio.FileData"}}
    with httpx.Client(base_url=guarded_app.url) as owner:
        owner.post("/owner", data={"password": PASSWORD})
        for name in ("ask", "rate", "status"):
            assert owner.post(f"/gradio_api/run/{name}", json={"data": [file, file]}).status_code == 400
        owner.get(FILE + bait)
        owner.get("/gradio_api/proxy=" + bait)
    trap.listening.close()
    assert heard == []


def test_large_requests_are_refused_on_the_server(guarded_app):
    call = f"{guarded_app.url}gradio_api/run/ask"
    assert httpx.post(call, json={"data": ["x" * 300_000]}).status_code == 413
    assert httpx.post(call, content=b"[" * 200_000).status_code == 400
    assert httpx.get(guarded_app.url, headers={"x-long": "x" * 70_000}).status_code == 431


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(st.text(max_size=10), parts, max_size=4),
    max_leaves=8,
)
CALL = st.fixed_dictionaries(
    {},
    optional={
        "data": JSON,
        "fn_index": st.integers(-2, 60) | JSON,
        "session_hash": st.text(max_size=8) | JSON,
        "event_id": JSON,
        "trigger_id": JSON,
        "component_id": st.integers(-2, 60) | JSON,
        "fn_name": st.sampled_from(["status", "rate", "__class__", "judged"]) | JSON,
        "simple_format": JSON,
    },
)


def test_malformed_calls_of_every_published_address_do_no_harm(guarded_app):
    with httpx.Client(base_url=guarded_app.url, timeout=20) as client:
        published = list(client.get("/gradio_api/openapi.json").json()["paths"])
        assert published
        routes = ["queue/join", "component_server", "cancel", "reset", "api/rate", "call/results", "call/v2/undo"]
        paths = st.sampled_from([*published, *(f"/gradio_api/{route}" for route in routes)])

        @settings(max_examples=60)
        @given(path=paths, body=CALL | JSON | st.binary(max_size=60))
        def send(path, body):
            sent = {"content": body} if isinstance(body, bytes) else {"json": body}
            path = path if path.startswith("/gradio_api") else f"/gradio_api{path}"
            response = client.post(path, **sent)
            assert response.status_code <= 500
            assert "Traceback" not in response.text
            assert str(PROJECT) not in response.text

        send()
        assert client.get("/status").json()["ready"] is True
    assert guarded_app.process.poll() is None


def test_requests_that_have_broken_it_are_refused_in_words(guarded_app):
    with httpx.Client(base_url=guarded_app.url) as visitor:
        for path in ("/pwa_icon/32", "/?deep_link=x", "/?a=1&%64eep_link=..%2fx"):
            assert visitor.get(path).status_code == 404, path
        deep: list = []
        for _ in range(300):
            deep = [deep]
        for data in (deep, ["\ud800", 8, 0, 1, 0]):
            refused = visitor.post("/gradio_api/run/ask", content=json.dumps({"data": data}))
            assert refused.status_code == 400, data
            assert refused.json()["error"].startswith("The request ")
        told = visitor.post("/gradio_api/run/ask", json={"data": []}).json()["error"]
        assert told.startswith("The call failed: ")
        assert "404: Not Found" in visitor.get("/gradio_api/call/ask/nothing").text
    assert raw(guarded_app, b"GET * HTTP/1.1\r\n").startswith(b"HTTP/1.1 404")
    twice = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"
    refused = raw(guarded_app, b"POST /gradio_api/run/status HTTP/1.1\r\n" + twice, b"2\r\n{}\r\n0\r\n\r\n")
    assert refused.startswith(b"HTTP/1.1 400")


def raw(app, head, body=b""):
    """The answer to bytes that no client library would send."""
    host, port = app.url.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head + f"Host: {host}\r\nConnection: close\r\n\r\n".encode() + body)
        answer = b""
        while part := connection.recv(4096):
            answer += part
    return answer


def test_a_malformed_call_is_the_callers_fault_and_forges_no_line_of_the_log(start_app, page_model_path):
    quiet = ("--adapter", "nothing/here", "--log-format", "json", "--log-level", "info")
    app = start_app("--model", str(page_model_path), *quiet)
    refused = httpx.post(f"{app.url}gradio_api/run/rate", json={"data": ["a\nforged line"]})
    assert refused.status_code == 400
    app.stop()
    lines = app.remaining_lines()
    (record,) = [json.loads(line) for line in lines if "the call of rate is malformed" in line]
    assert record["level"] == "info"
    assert len(record["request"]) == 12
    assert not [line for line in lines if line.startswith(("Traceback", "forged", " "))]


def test_status_is_told_without_gradio(guarded_app):
    status = httpx.get(f"{guarded_app.url}status").json()
    assert status["model"] == "page-model"
    assert status["ready"] is True
    assert {"state", "model", "adapter", "queued", "answering", "uptime_seconds", "version"} <= set(status)
    assert str(guarded_app.data) not in json.dumps(status)


def test_secrets_stay_in_the_environment(start_app, monkeypatch):
    monkeypatch.setenv("ADMIN_PASSWORD", SECRET)
    monkeypatch.setenv("HF_TOKEN", f"hf_{SECRET}")
    database = f"postgresql+psycopg://ann:{SECRET}@127.0.0.1:9/votes"
    app = start_app("--model", "nothing/here", "--ratings", database, "--log-level", "debug", "--log-format", "json")
    app.wait_for_line("ratings database")
    seen = [httpx.get(app.url + path).text for path in ("", "config", "status", "owner", "gradio_api/info")]
    client = Client(app.url, verbose=False, analytics_enabled=False)
    for call in ({"api_name": "/results"}, {"pair": "x", "choice": "left", "api_name": "/rate"}):
        with pytest.raises(Exception, match="ratings database") as told:
            client.predict(**call)
        seen.append(str(told.value))
    client.close()
    app.stop()
    lines = app.remaining_lines()
    assert SECRET not in "\n".join([*seen, *lines])
    requests = [json.loads(line) for line in lines if line.startswith("{") and "space_config.access" in line]
    assert requests
    assert all(len(line["request"]) == 12 and {"status", "seconds", "role"} <= set(line) for line in requests)


def test_an_answer_under_way_is_finished_before_the_app_ends(start_app, page_model_path, page_adapter_path):
    app = start_app("--model", str(page_model_path), "--adapter", str(page_adapter_path), "--drain-seconds", "60")
    app.wait_for_line("is ready on")
    client = Client(app.url, verbose=False, analytics_enabled=False)
    job = client.submit("What is a list?", max_new_tokens=150, api_name="/ask_pairs")
    first = next(iter(job))
    assert first[0]["left"]["state"] in ("waiting", "streaming")
    app.process.send_signal(signal.SIGTERM)
    assert job.result(timeout=60)[0]["left"]["tokens"] == 150
    assert app.process.wait(timeout=60) == 0


def test_training_and_asking_leave_no_file_that_others_may_write(guarded_app):
    for root, _, names in os.walk(guarded_app.data):
        for name in names:
            assert not (Path(root) / name).stat().st_mode & 0o002
