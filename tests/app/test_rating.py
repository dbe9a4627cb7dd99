"""Asking, voting and the results without a browser; what a blind client could find out before its vote."""

from __future__ import annotations

import json
import signal
import urllib.request

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from eval_prompts.tasks.probes import PROBES

HOSTILE = "<script>alert(1)</script> **bold** =1+1"


@pytest.fixture
def visitor(app):
    """Makes clients, each a session of its own."""
    clients = []

    def make(url=app.url):
        clients.append(Client(url, verbose=False, analytics_enabled=False))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def pairs_of(client, **options):
    *_, rows = client.submit(**{"max_new_tokens": 12, **options}, api_name="/ask_pairs")
    return rows


def votes(client):
    return client.predict(api_name="/results")["votes"]


def test_ask_rate_and_see_it_counted(visitor):
    client = visitor()
    before = votes(client)
    (pair,) = pairs_of(client, question="What is a list?", blind=True)
    assert pair["names"] is None
    vote = client.predict(pair["pair"], "left", ["correct"], "short and right", api_name="/rate")
    names = vote["reveals"]["names"]
    assert sorted(names.values()) == ["base", "tuned"]
    assert vote["outcome"] == names["left"]
    after = votes(client)
    assert after["blind"][vote["outcome"]] == before["blind"][vote["outcome"]] + 1
    assert after["open"] == before["open"]


def test_a_replayed_vote_counts_once_and_a_changed_one_moves(visitor):
    client = visitor()
    *_, rows = client.submit(max_new_tokens=8, api_name="/ask_probes")
    pair = rows[0]["pair"]
    before = votes(client)["open"]
    for _ in range(3):
        client.predict(pair, "tie", api_name="/rate")
    assert votes(client)["open"]["tie"] == before["tie"] + 1
    assert client.predict(pair, "both_bad", api_name="/rate")["outcome"] == "both_bad"
    changed = votes(client)["open"]
    assert (changed["tie"], changed["both_bad"]) == (before["tie"], before["both_bad"] + 1)
    assert client.predict(pair, api_name="/undo") is True
    assert client.predict(pair, api_name="/undo") is False
    assert votes(client)["open"] == before


def test_two_sessions_have_a_vote_each(visitor):
    one, other = visitor(), visitor()
    (pair,) = pairs_of(one, question="And a tuple?", blind=False)
    assert pair["names"] == {"left": "base", "right": "tuned"}
    before = votes(one)["open"]
    one.predict(pair["pair"], "right", api_name="/rate")
    other.predict(pair["pair"], "right", api_name="/rate")
    assert votes(one)["open"]["tuned"] == before["tuned"] + 2


def test_a_vote_on_answers_that_still_stream_stops_them(visitor):
    client, voter = visitor(), visitor()
    job = client.submit(question="", blind=False, max_new_tokens=3000, api_name="/ask_pairs")
    first, second = next(rows[:2] for rows in job if rows[0]["left"]["text"] and rows[1]["left"]["text"])
    vote = voter.predict(first["pair"], "right", api_name="/rate")
    assert vote["streaming"] is True
    rows = next(rows for rows in job if {rows[0][side]["state"] for side in ("left", "right")} == {"cancelled"})
    assert rows[1]["left"]["state"] == "streaming"
    assert second["pair"] == rows[1]["pair"]
    job.cancel()


@pytest.mark.parametrize(
    ("pair", "choice", "options", "message"),
    [
        ("no-such-pair", "left", {}, "pair"),
        (None, "best", {}, "left, right, tie"),
        (None, "left", {"reasons": ["no-such-reason"]}, "reason"),
        (None, "left", {"comment": "x" * 100_000}, "long"),
    ],
    ids=["unknown pair", "unknown choice", "unknown reason", "100 kB comment"],
)
def test_a_vote_that_cannot_be_kept_is_refused_in_one_line(visitor, pair, choice, options, message):
    client = visitor()
    (row,) = pairs_of(client, question="Why?")
    before = votes(client)
    with pytest.raises(AppError, match=message) as refused:
        client.predict(pair or row["pair"], choice, **options, api_name="/rate")
    assert "\n" not in str(refused.value)
    assert votes(client) == before


def test_a_comment_of_a_megabyte_is_refused_in_one_line(visitor, app):
    client = visitor()
    (row,) = pairs_of(client, question="Why?")
    before = votes(client)
    sent = {"data": [row["pair"], "left", [], "x" * 1_000_000]}
    refused = httpx.post(f"{app.url}gradio_api/run/rate", json=sent, timeout=60)
    assert refused.status_code == 413
    assert refused.json()["detail"] == "The request is too large: at most 256 KiB are taken."
    assert votes(client) == before


def test_markup_in_questions_and_comments_stays_text(visitor):
    client = visitor()
    (pair,) = pairs_of(client, question=HOSTILE)
    assert pair["question"] == HOSTILE
    vote = client.predict(pair["pair"], "tie", [], HOSTILE, api_name="/rate")
    assert vote["comment"] == HOSTILE


def test_a_pair_can_be_voted_on_after_a_restart(visitor, start_app, tmp_path, page_model_path, page_adapter_path):
    options = ("--model", str(page_model_path), "--adapter", str(page_adapter_path))
    app = start_app(*options, data=tmp_path)
    app.wait_for_line("is ready on")
    client = visitor(app.url)
    (pair,) = pairs_of(client, question="Before?")
    (other,) = pairs_of(client, question="Also before?")
    client.predict(pair["pair"], "left", api_name="/rate")
    app.process.send_signal(signal.SIGKILL)
    app.process.wait()
    client = visitor(start_app("--model", "nowhere", data=tmp_path).url)
    assert votes(client)["blind"]["total"] == 1
    vote = client.predict(other["pair"], "right", api_name="/rate")
    assert vote["outcome"] == vote["reveals"]["names"]["right"]
    assert votes(client)["blind"]["total"] == 2


def test_a_store_that_cannot_be_written_is_said_and_answers_go_on(visitor, start_app, tmp_path, page_model_path):
    (tmp_path / "ratings.sqlite").write_bytes(b"this is no database, and was never one" * 100)
    app = start_app("--model", str(page_model_path), "--adapter", "none", data=tmp_path)
    client = visitor(app.url)
    with pytest.raises(AppError, match=r"ratings\.sqlite"):
        client.predict(api_name="/results")
    with pytest.raises(AppError, match=r"ratings\.sqlite"):
        client.predict("some-pair", "left", api_name="/rate")


def events(url, name, data):
    """All that the server sends for one request, as it is sent."""
    body = json.dumps({"data": data}).encode()
    request = urllib.request.Request(f"{url}gradio_api/call{name}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as told:
        event = json.load(told)["event_id"]
    with urllib.request.urlopen(f"{url}gradio_api/call{name}/{event}") as stream:
        return [
            json.loads(line[6:])
            for line in stream.read().decode().splitlines()
            if line.startswith("data: {") or line.startswith("data: [")
        ]


def shape(value):
    """A payload without its texts and numbers: keys, in their order, and types."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    return [shape(part) for part in value] if isinstance(value, list) else type(value).__name__


def test_nothing_that_is_sent_before_a_blind_vote_tells_the_sides_apart(app, visitor):
    sent = events(app.url, "/ask_pairs", ["", True, 40, 0.0, 1.0, 0])
    assert len(sent) > 2
    texts = json.dumps(sent)
    for word in ('"base"', '"tuned"', "adapter", "seconds", "page-model", "fingerprint"):
        assert word not in texts
    for (rows,) in sent:
        assert [row["question"] for row in rows] == [probe.question for probe in PROBES]
        for row in rows:
            assert row["names"] is None
            assert shape(row["left"]) == shape(row["right"])
            assert list(row["left"]) == list(row["right"])
            assert (row["left"]["state"] == "waiting") == (row["right"]["state"] == "waiting")
            if row["left"]["state"] == row["right"]["state"] == "streaming":
                assert row["left"]["tokens"] == row["right"]["tokens"]
    client = visitor()
    assert [row["pair"] for row in sent[-1][0]] == [row["pair"] for row in sent[0][0]]
    results = json.dumps(client.predict(api_name="/results"))
    assert not any(row["pair"] in results for row in sent[-1][0])
    lefts = [client.predict(row["pair"], "left", api_name="/rate")["outcome"] for row in sent[-1][0]]
    assert set(lefts) <= {"base", "tuned"}
