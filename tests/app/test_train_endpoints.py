"""Training without a browser: the endpoints, and what happens to a run on a bad day."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from tests.app.training import LONG, settings, wait_for
from tuning.runs import helper_process


@pytest.fixture(scope="module")
def client(training_app):
    client = Client(training_app.url, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def events_of(client, run, offset=0):
    told = list(client.submit(run, offset, api_name="/training_events"))
    return [event for part in told for event in part["events"]], told[-1]


def test_the_smoke_preset_is_started_streamed_to_the_end_and_its_adapter_asked(client, page_model_path, data_file):
    run = client.predict("smoke", settings(page_model_path, data_file), api_name="/start_training")
    events, last = events_of(client, run)
    assert last["state"] == "finished"
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3, 4, 5, 6]
    assert events[0]["event"] == "loading"
    assert events[-1]["event"] == "finished"
    assert [event["checkpoint"] for event in events if event["event"] == "checkpoint"]
    assert not [event for event in events if str(page_model_path.parent) in json.dumps(event)]
    assert events_of(client, run, last["offset"])[0] == []

    card = client.predict(run, api_name="/use_adapter")
    assert card["name"] == run
    base, tuned = client.predict("What is new?", max_new_tokens=12, api_name="/ask")
    assert base
    assert tuned
    assert client.predict(api_name="/status")["adapter"]["name"] == run
    client.predict(run, run, api_name="/use_adapter")
    assert client.predict(api_name="/status")["against"]["name"] == run
    row = client.predict(api_name="/runs")[0]
    assert (row["run"], row["state"], row["adapter"], row["steps"]) == (run, "finished", True, "6 of 6")


def test_one_run_at_a_time_that_lets_others_ask_and_saves_when_stopped(
    client, page_model_path, data_file, training_home
):
    with pytest.raises(AppError, match="No run is training"):
        client.predict(api_name="/stop_training")
    run = client.predict("smoke", settings(page_model_path, data_file, max_steps=LONG), api_name="/start_training")
    with pytest.raises(AppError, match=f"Run {run} is training on this machine"):
        client.predict("smoke", settings(page_model_path, data_file), api_name="/start_training")
    assert client.predict("Still there?", max_new_tokens=4, api_name="/ask")
    following = iter(client.submit(run, api_name="/training_events"))
    wait_for(lambda: any(event["event"] == "step" for event in next(following)["events"]))
    pid = json.loads((training_home / "runs" / run / "worker.json").read_text())["pid"]
    assert os.getpriority(os.PRIO_PROCESS, pid) == helper_process.NICENESS
    if (proc := Path(f"/proc/{pid}")).exists():
        assert "OMP_WAIT_POLICY=PASSIVE" in (proc / "environ").read_text()
        assert int((proc / "oom_score_adj").read_text()) == helper_process.FIRST_TO_GO
    assert client.predict(api_name="/stop_training") == run
    *_, last = following
    assert last["state"] == "stopped"


@pytest.mark.parametrize(
    ("endpoint", "arguments", "message"),
    [
        ("/start_training", ("smok",), "did you mean 'smoke'"),
        ("/start_training", ("smoke", {"max_steps": -1}), "Steps: must be 1 or more"),
        ("/start_training", ("smoke", {"nonsense": 1}), "no setting 'nonsense'"),
        ("/start_training", ("smoke", "max_steps"), "The overrides are an object"),
        ("/start_training", ("smoke", {"data": "/no/such/file.csv"}), "there is no file file.csv here"),
        ("/training_events", ("../../etc",), "no run"),
        ("/stop_training", ("none",), "no run 'none'"),
        ("/use_adapter", ("none",), "no run 'none'"),
    ],
)
def test_bad_input_gets_one_clear_line(client, endpoint, arguments, message):
    with pytest.raises(AppError, match=message):
        client.predict(*arguments, api_name=endpoint)


def test_an_upload_beyond_the_limit_is_refused(training_app):
    line = b'--b\r\nContent-Disposition: form-data; name="files"; filename="huge.csv"\r\n\r\n'
    body = line + b"x" * (2 * 2**20) + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    request = urllib.request.Request(f"{training_app.url}gradio_api/upload", body, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 413
    refused.value.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_ends_the_run_in_words_and_keeps_the_last_good_adapter(
    small_disk, monkeypatch, page_model_path, data_file
):
    from tuning.runs import run
    from tuning.views.actions import Actions
    from tuning.views.run_view import Watcher

    monkeypatch.setenv("LORA_LENS_DATA", str(small_disk))
    watcher = Watcher()
    actions = Actions(watcher, lambda *_: None, lambda: "")
    chosen = settings(page_model_path, data_file, max_steps=LONG, save_every=1, validate_every=1, keep_checkpoints=500)
    started = run.start("smoke", chosen)
    wait_for(lambda: not started.working())
    view = watcher.look(started.name, {})
    assert view["state"] == "failed"
    assert "is full: free some space, then resume the run" in view["message"]
    assert view["can"]["use"]
    assert actions._adapter(started.name)
    actions.delete(started.name)
    assert watcher.look(None, {})["run"] is None
