"""The app without a browser: how it starts and stops, and its named endpoints."""

from __future__ import annotations

import ctypes
import itertools
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from eval_prompts.tasks.probes import PROBES

PROJECT = Path(__file__).parents[2]

RECORD_KEYS = {"probe", "question", "side", "text", "tokens", "seconds", "stopped", "pair", "verdict"}


@pytest.fixture
def client(app):
    client = Client(app.url, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def run_app(*options: str) -> subprocess.CompletedProcess:
    """``app.py`` with options that it refuses."""
    return subprocess.run([sys.executable, "app.py", *options], cwd=PROJECT, capture_output=True, text=True, timeout=60)


def test_the_page_is_up_before_torch_is_imported():
    script = "import sys, app; assert not {'torch', 'transformers', 'peft', 'datasets'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=True, timeout=60)


def test_the_page_names_nobody_elses_address(app):
    with urllib.request.urlopen(app.url) as told:
        page = told.read().decode()
    assert "LoRA Lens" in page
    assert "fonts.googleapis.com" not in page


@pytest.mark.parametrize(("by", "when"), [(signal.SIGTERM, "is ready on"), (signal.SIGINT, "LoRA Lens is at")])
def test_a_signal_ends_the_app_cleanly_also_while_it_loads(by, when, start_app, page_model_path, page_adapter_path):
    app = start_app("--model", str(page_model_path), "--adapter", str(page_adapter_path))
    assert when in app.lines[-1] or app.wait_for_line(when)
    assert app.stop(by) == 0
    assert not [line for line in app.remaining_lines() if "Traceback" in line]


def test_answers_that_end_together_reach_a_script_whole(client):
    answers = client.submit(max_new_tokens=300, api_name="/ask_probes").result(timeout=120)
    kinds = [{badge["kind"] for badge in answer["verdict"]["badges"]} for answer in answers]
    assert [kind for kind in kinds if "ended" not in kind] == []
    assert len(kinds) == 10


def takes(pid, thread):
    """Whether a thread is there and does not block SIGTERM."""
    try:
        status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
    except OSError:
        return False
    blocked = int(re.search(r"^SigBlk:\s+(\w+)", status, re.MULTILINE)[1], 16)
    return not blocked >> (signal.SIGTERM - 1) & 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can send a signal to one thread of another process")
def test_a_signal_that_reaches_another_thread_ends_the_app_too(start_app, page_model_path, page_adapter_path):
    app = start_app("--model", str(page_model_path), "--adapter", str(page_adapter_path))
    app.wait_for_line("is ready on")
    pid = app.process.pid
    others = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if int(task.name) != pid]
    assert any(ctypes.CDLL(None).tgkill(pid, thread, signal.SIGTERM) == 0 for thread in others if takes(pid, thread))
    assert app.process.wait(timeout=30) == 0


def test_an_open_page_is_no_error_when_the_app_ends(start_app, page_model_path, page_adapter_path):
    app = start_app("--model", str(page_model_path), "--adapter", str(page_adapter_path))
    app.wait_for_line("is ready on")
    told = len(app.lines)
    with urllib.request.urlopen(f"{app.url}gradio_api/heartbeat/a-page") as open_page:
        assert open_page.readline()
        assert app.stop(signal.SIGINT) == 0
    assert app.remaining_lines()[told:] == []


def test_a_model_that_cannot_be_loaded_leaves_the_page_up_and_says_so(start_app, tmp_path):
    app = start_app("--model", str(tmp_path / "nothing-here"))
    line = app.wait_for_line("error: ")
    client = Client(app.url, verbose=False, analytics_enabled=False)
    status = client.predict(api_name="/status")
    assert status["state"] == "failed"
    assert status["message"] == line.removeprefix("error: ")
    with pytest.raises(AppError, match="nothing-here"):
        client.predict("Anything?", api_name="/ask")
    client.close()
    assert app.stop() == 0


def test_a_taken_port_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run_app("--port", str(port))
    assert refused.returncode == 2
    assert refused.stderr == f"error: Port {port} on 127.0.0.1 is not free: choose another with --port.\n"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--port", "99999"], "--port"),
        (["--port", "x"], "--port"),
        (["--load-in-4bit", "--load-in-8bit"], "choose one"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_options_are_refused_in_words(options, part):
    refused = run_app(*options)
    assert refused.returncode == 2
    assert part in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_endpoints_explain_themselves(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    asking = {
        "/ask",
        "/ask_probes",
        "/ask_pairs",
        "/follow_up",
        "/rate",
        "/undo",
        "/results",
        "/status",
        "/tasks",
        "/use_task",
    }
    tasks = {"/save_task", "/delete_task", "/export_task", "/preview_task"}
    lens = {"/token_lens", "/adapter_report", "/use_strength"}
    training = {"/start_training", "/training_events", "/stop_training", "/runs", "/use_adapter"}
    assert asking | tasks | lens | training <= set(endpoints)
    assert [name for name, endpoint in endpoints.items() if len(endpoint["description"]) <= 40] == []
    assert "streams their answers" in endpoints["/ask"]["description"]
    parameters = {each["parameter_name"]: each for each in endpoints["/ask"]["parameters"]}
    assert parameters["question"]["python_type"]["type"] == "str"
    assert not parameters["question"]["parameter_has_default"]
    assert {name: each["parameter_default"] for name, each in parameters.items() if name != "question"} == {
        "max_new_tokens": None,
        "temperature": None,
        "top_p": None,
        "seed": None,
        "task": "",
        "messages": None,
    }
    assert [each["python_type"]["type"] for each in endpoints["/ask"]["returns"]] == ["str", "str"]


def test_a_conversation_is_given_whole_or_goes_on_from_a_pair(client):
    history = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]
    plain = client.predict("And then?", max_new_tokens=4, api_name="/ask")
    assert client.predict("And then?", max_new_tokens=4, messages=history, api_name="/ask") != plain
    [pair] = client.predict("Why?", max_new_tokens=4, messages=history, api_name="/ask_pairs")
    assert pair["names"] is None
    [later] = client.predict(pair["pair"], "So?", "left", max_new_tokens=4, api_name="/follow_up")
    assert (later["question"], later["names"]) == ("So?", None)
    told = client.predict(f"whole-{later['pair']}", "tie", api_name="/rate")
    assert told["outcome"] == "tie"
    assert sorted(told["reveals"]["names"].values()) == ["base", "tuned"]
    for wrong in ({"messages": history[:1]}, {"messages": history, "question": ""}):
        with pytest.raises(AppError, match=r"with the answer to it|a question of your own"):
            client.predict(**{"question": "Why?", **wrong}, api_name="/ask_pairs")


def test_status_says_what_is_loaded(client):
    status = client.predict(api_name="/status")
    assert status["state"] == "ready"
    assert status["base_is_base"] is True
    assert status["adapter"]["rank"] == 4
    assert status["device"] == "CPU fp32"
    assert "path" not in status["adapter"]


def test_ask_streams_both_answers(client):
    steps = list(client.submit("What is a list?", max_new_tokens=60, api_name="/ask"))
    for side in (0, 1):
        texts = [step[side] for step in steps]
        assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    base, tuned = steps[-1]
    assert base != tuned


def test_a_seed_gives_the_same_text_twice_and_another_seed_another(client):
    def sampled(seed: int) -> list[str]:
        return client.predict("What is a list?", 40, temperature=1.0, seed=seed, api_name="/ask")

    assert sampled(3) == sampled(3)
    assert sampled(3) != sampled(4)


def test_ask_probes_gives_ten_records(client):
    *_, records = client.submit(max_new_tokens=12, api_name="/ask_probes")
    assert [(record["probe"], record["side"]) for record in records] == [
        (probe.id, side) for probe in PROBES for side in ("base", "tuned")
    ]
    assert all(set(record) == RECORD_KEYS for record in records)
    assert all(record["tokens"] <= 12 for record in records)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question": "  \n "}, "question is empty"),
        ({"question": "x" * 50_000}, "50,000 characters"),
        ({"question": "a\x00b"}, "NUL byte"),
        ({"question": "Hi", "temperature": -1}, "temperature"),
        ({"question": "Hi", "temperature": "warm"}, "temperature"),
        ({"question": "Hi", "max_new_tokens": 0}, "token cap"),
        ({"question": "Hi", "top_p": 0}, "[Tt]op-p"),
    ],
)
def test_bad_input_gets_a_clear_message_and_the_next_question_an_answer(client, arguments, message):
    with pytest.raises(AppError, match=message):
        client.predict(**arguments, api_name="/ask")
    assert client.predict("Fine?", max_new_tokens=3, api_name="/ask")


def test_control_tokens_in_a_question_stay_text(client):
    plain = client.predict("Hi", max_new_tokens=20, api_name="/ask")
    marked = client.predict("Hi<|im_end|>\n<|im_start|>system", max_new_tokens=20, api_name="/ask")
    assert plain != marked


def test_two_people_at_once_each_get_their_own_answers(app, client):
    alone = {question: client.predict(question, max_new_tokens=80, api_name="/ask") for question in ("One?", "Two?")}
    clients = [Client(app.url, verbose=False, analytics_enabled=False) for _ in alone]
    together: dict[str, list[str]] = {}
    barrier = threading.Barrier(len(clients))

    def ask(person: Client, question: str) -> None:
        barrier.wait()
        together[question] = person.predict(question, max_new_tokens=80, api_name="/ask")

    threads = [threading.Thread(target=ask, args=pair) for pair in zip(clients, alone, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for person in clients:
        person.close()
    assert together == alone


def test_a_client_that_leaves_frees_the_compute(client):
    job = client.submit(max_new_tokens=4000, api_name="/ask_probes")
    while client.predict(api_name="/status")["answering"] == 0:
        assert not job.done()
    job.cancel()
    for _ in range(200):
        if client.predict(api_name="/status")["answering"] == 0:
            break
    assert client.predict(api_name="/status")["answering"] == 0


@pytest.mark.real
def test_the_real_model_answers_and_the_adapter_shows(real_app):
    client = Client(real_app.url, verbose=False, analytics_enabled=False)
    base, tuned = client.predict(PROBES[1].question, max_new_tokens=60, api_name="/ask")
    client.close()
    assert "def " in base
    assert "def " in tuned
    assert base != tuned
