"""Whoever drops an answer may ask again at once, in the same session, before the server has noticed."""

import json

import httpx
import pytest

API = "/gradio_api"


@pytest.fixture
def visitor(app):
    with httpx.Client(base_url=app.url, timeout=60) as client:
        yield client


def join(visitor, tokens):
    """Asks one question in a session of its own name; returns how to read the answer."""
    functions = {each["api_name"]: each["id"] for each in visitor.get("/config").json()["dependencies"]}
    data = ["How long is a list?", False, tokens, 0, 1, 0]
    call = {"fn_index": functions["ask_pairs"], "data": data, "session_hash": "asks again"}
    visitor.post(f"{API}/queue/join", json=call).raise_for_status()
    return visitor.stream("GET", f"{API}/queue/data", params={"session_hash": "asks again"})


def messages(response):
    """The stream's messages as they arrive."""
    return (json.loads(line[5:]) for line in response.iter_lines() if line.startswith("data:"))


def test_an_answer_that_is_dropped_does_not_stop_the_next_question(visitor):
    with join(visitor, 4000) as response:
        next(message for message in messages(response) if message["msg"] == "process_generating")
    with join(visitor, 4) as response:
        ended = next(message for message in messages(response) if message["msg"] == "process_completed")
    assert ended["success"], ended["output"]
