"""The guard alone, around an app that tells what reached it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from space_config.server.admission import Limits
from space_config.server.calls import FAULT
from space_config.server.guard import Guard
from space_config.server.headers import Policy, script_hashes
from space_config.server.owner import Owner
from space_config.server.rate_limits import Buckets
from tests.space_config.server.doors import NAMES, PAGE, PASSWORD, call, guard, signed_in

JOIN = "/gradio_api/queue/join"


@pytest.mark.parametrize(
    ("path", "sent", "status"),
    [
        (JOIN, {"fn_index": 0, "data": []}, 200),
        (JOIN, {"fn_index": 1, "data": []}, 403),
        (JOIN, {"fn_index": 99, "data": []}, 403),
        ("/gradio_api/run/predict", {"fn_index": 0, "data": []}, 200),
        ("/gradio_api/run/predict", {"fn_index": 1, "data": []}, 403),
        ("/gradio_api/run/predict", {"data": []}, 403),
        (JOIN, {"fn_index": "0", "data": []}, 400),
        (JOIN, {"fn_index": True, "data": []}, 400),
        (JOIN, {"data": []}, 400),
        (JOIN, [], 400),
        ("/gradio_api/api/ask", {"data": []}, 200),
        ("/gradio_api/api/ask", {"fn_index": 1, "data": []}, 403),
        ("/gradio_api/run/export_everything", {"fn_index": 0, "data": []}, 403),
        ("/gradio_api/call/export_everything", {"data": []}, 403),
        ("/gradio_api/call/v2/export_everything/", {}, 403),
        ("/gradio_api/component_server", {"component_id": 7, "fn_name": "rate", "data": {}}, 200),
        ("/gradio_api/component_server", {"component_id": 8, "fn_name": "export_votes", "data": {}}, 403),
        ("/gradio_api/component_server", {"component_id": 7, "fn_name": "__init__", "data": {}}, 403),
        ("/gradio_api/component_server", {"component_id": "7", "fn_name": "rate", "data": {}}, 400),
        ("/gradio_api/vibe-edit", {"prompt": "x"}, 404),
        ("/gradio_api/stream/abc", {"data": []}, 404),
        ("/login", {}, 404),
        ("/gradio_api/upload", {}, 403),
    ],
)
def test_a_visitor_calls_what_visitors_may(path, sent, status):
    assert call(guard(), "POST", path, json=sent).status_code == status


def test_the_owner_calls_everything_that_exists_and_only_in_his_session():
    door = guard()
    cookie = signed_in(door)
    for sent in ({"fn_index": 0, "data": []}, {"fn_index": 1, "data": []}):
        assert call(door, "POST", JOIN, json=sent, headers=cookie).status_code == 200
    assert call(door, "POST", "/gradio_api/vibe-edit", json={}, headers=cookie).status_code == 404
    assert call(door, "POST", JOIN, json={"fn_index": 1, "data": []}, headers={"cookie": "lora-lens-owner="}).is_error
    assert call(door, "POST", "/owner/out", headers=cookie).status_code == 303
    assert call(door, "POST", JOIN, json={"fn_index": 1, "data": []}, headers=cookie).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/monitoring", "/monitoring/summary", "/docs", "/gradio_api/dev/reload", "/gradio_api/runs", "/login_check",
        "/gradio_api/token", "/gradio_api/proxy=http://192.0.2.1/", "/gradio_api/file=http://192.0.2.1/", "/svelte/x",
        "/gradio_api/file=/etc/passwd", "/gradio_api/file/etc/passwd", "/gradio_api/deep_link", "/?deep_link=x",
        "/gradio_api/custom_component/a/b/c/d", "/assets/../../etc/passwd", "/static/..%2f..%2fetc/passwd",
        "/GRADIO_API/queue/join", "/gradio_api//info", "/gradio_api/upload_progress?upload_id=1",
    ],
)  # fmt: skip
def test_every_other_address_is_shut(path):
    response = call(guard(), "GET", path)
    assert response.status_code in (403, 404)
    assert response.json()["detail"]


def test_the_owner_too_gets_no_address_elsewhere_through_the_file_route():
    door = guard()
    cookie = signed_in(door)
    assert call(door, "GET", "/gradio_api/file=/tmp/x", headers=cookie).status_code == 200
    for elsewhere in ("http://192.0.2.1/", "HTTPS://192.0.2.1", "ftp://192.0.2.1"):
        assert call(door, "GET", f"/gradio_api/file={elsewhere}", headers=cookie).status_code == 404


def test_pages_of_other_sites_are_refused_for_any_host_and_never_told_that_they_may_read():
    for origin in ("https://evil.example", "null", "http://lens.example:81", "https://lens.example"):
        refused = call(guard(), "POST", JOIN, json={"fn_index": 0, "data": []}, headers={"origin": origin})
        assert refused.status_code == 403
        assert not [name for name in refused.headers if name.startswith("access-control")]
    own = call(guard(), "POST", JOIN, json={"fn_index": 0, "data": []}, headers={"origin": "http://lens.example"})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers
    assert call(guard(), "OPTIONS", JOIN, headers={"origin": "http://lens.example"}).status_code == 405


def test_a_name_pointed_at_this_machine_from_elsewhere_is_refused():
    door = guard(hosts=frozenset({"localhost"}))
    assert call(door, "GET", "/config").status_code == 421
    assert call(door, "GET", "/config", headers={"host": "localhost:7860"}).status_code == 200


def test_the_page_has_a_policy_that_knows_its_scripts_and_nothing_else():
    page = call(guard(policy=Policy("<script>added</script>")), "GET", "/", headers={"accept-encoding": "gzip"})
    assert page.text == PAGE
    policy = page.headers["content-security-policy"]
    assert all(digest in policy for digest in script_hashes(PAGE) + script_hashes("<script>added</script>"))
    assert len(script_hashes(PAGE)) == 1
    script_sources = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert "unsafe-inline" not in script_sources
    assert "http" not in policy
    other = call(guard(), "GET", "/config")
    assert other.headers["content-security-policy"].startswith("default-src 'none'")
    assert other.headers["x-content-type-options"] == "nosniff"
    assert len(other.headers["x-request-id"]) == 12


def test_bodies_have_a_size_and_a_form():
    door = guard(limits=Limits(body_bytes=1024))
    ok = {"fn_index": 0, "data": ["x" * 900]}
    assert call(door, "POST", JOIN, json=ok).status_code == 200
    assert call(door, "POST", JOIN, json={"fn_index": 0, "data": ["x" * 2000]}).status_code == 413

    async def endless():
        for _ in range(100):
            yield b"[" * 100

    assert call(door, "POST", JOIN, content=endless()).status_code == 413
    assert call(door, "POST", JOIN, content=b"{", headers={"content-length": "-1"}).status_code == 413
    for broken in (b"", b"{", b"[[" * 400, b'{"data": NaN}', b"\xff\xfe", b'"text"', b"9" * 900):
        assert call(door, "POST", JOIN, content=broken).status_code == 400


def test_gradio_reads_what_was_checked():
    twice = b'{"fn_index": 1, "data": [], "fn_index": 0}'
    reached = call(guard(), "POST", JOIN, content=twice).json()
    assert json.loads(reached["body"]) == {"fn_index": 0, "data": []}


def test_a_visitor_who_is_too_fast_is_told_when_to_come_back_and_others_are_served():
    door = guard(limits=Limits(asks_per_minute=3))
    answers = [call(door, "POST", JOIN, json={"fn_index": 0, "data": []}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) in range(15, 22)
    assert "too fast" in answers[-1].json()["detail"]
    assert call(door, "POST", JOIN, json={"fn_index": 2, "data": []}).status_code == 200
    other = call(door, "POST", JOIN, json={"fn_index": 0, "data": []}, client=("192.0.2.10", 1))
    assert other.status_code == 200


def test_only_a_trusted_proxy_says_who_a_visitor_is():
    forwarded = {"x-forwarded-for": "203.0.113.5, 198.51.100.7", "x-forwarded-host": "evil.example"}
    plain = call(guard(), "GET", "/config", headers=forwarded).json()
    assert plain["client"] == "192.0.2.9"
    assert not [name for name in plain["headers"] if name.startswith("x-forwarded")]
    assert call(guard(trust_proxy=True), "GET", "/config", headers=forwarded).json()["client"] == "198.51.100.7"


def test_a_home_with_many_ipv6_addresses_is_one_visitor():
    door = guard(limits=Limits(asks_per_minute=2))
    sources = [(f"2001:db8:1:2::{number}", 1) for number in range(3)]
    answers = [call(door, "POST", JOIN, json={"fn_index": 0, "data": []}, client=source) for source in sources]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


def test_a_full_disk_stops_what_writes_and_nothing_else():
    door = guard(disk_problem=lambda: "The disk is full.")
    assert call(door, "POST", JOIN, json={"fn_index": 2, "data": []}).status_code == 507
    assert call(door, "GET", "/config").status_code == 200


def test_an_app_that_is_closing_begins_nothing_new():
    door = guard()
    door.closing = True
    assert call(door, "POST", JOIN, json={"fn_index": 0, "data": []}).status_code == 503
    status = call(door, "GET", "/status")
    assert status.status_code == 503
    assert status.json()["ready"] is False


@given(st.integers(1, 50), st.lists(st.floats(0, 5), max_size=200))
def test_a_bucket_never_gives_more_than_its_rate_allows(per_minute, pauses):
    clock = [0.0]
    buckets = Buckets(per_minute, now=lambda: clock[0])
    given_out = 0
    for pause in pauses:
        clock[0] += pause
        given_out += buckets.take("a") == 0
    assert given_out <= per_minute + clock[0] * per_minute / 60 + 1e-6


@pytest.mark.parametrize(
    "host",
    [
        "localhost:7860.evil.example",
        "localhost:80:80",
        "localhost@evil.example",
        "local host",
        "",
        "localhost:",
        "[::1]x",
    ],
)
def test_a_host_that_is_none_is_refused(host):
    for hosts in (frozenset({"localhost", "[::1]"}), frozenset()):
        assert call(guard(hosts=hosts), "GET", "/config", headers={"host": host}).status_code in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:7860", "localhost.", "[::1]", "[::1]:7860", "127.0.0.1:1"])
def test_a_host_is_known_with_any_port(host):
    door = guard(hosts=frozenset({"localhost", "127.0.0.1", "[::1]"}))
    assert call(door, "GET", "/config", headers={"host": host}).status_code == 200


def test_nobody_names_another_server_to_gradio():
    for trust_proxy in (False, True):
        reached = call(
            guard(trust_proxy=trust_proxy), "GET", "/config", headers={"x-gradio-server": "https://evil.example"}
        )
        assert "x-gradio-server" not in reached.json()["headers"]


@pytest.mark.parametrize(
    ("said", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200), (None, 200)]
)
def test_a_post_without_origin_is_known_by_where_the_browser_says_it_comes_from(said, status):
    headers = {} if said is None else {"sec-fetch-site": said}
    assert call(guard(), "POST", JOIN, json={"fn_index": 0, "data": []}, headers=headers).status_code == status
    assert call(guard(), "GET", "/config", headers=headers).status_code == 200, "links are followed from anywhere"


def failing(status, body=b"", raises=True):
    """An app as gradio is to a call that it does not understand: it answers 500, then raises."""

    async def app(scope, receive, send):
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if raises:
            raise KeyError("secret")

    return Guard(app, owner=Owner(PASSWORD), limits=Limits(), names=NAMES, status=dict, policy=Policy())


def test_a_call_that_gradio_cannot_read_is_the_callers_fault_and_no_error_of_the_log(caplog):
    for path, sent in (("/gradio_api/call/v2/ask", {"x": 1}), ("/gradio_api/cancel", {"event_id": "known"})):
        answer = call(failing(500, b"Internal Server Error"), "POST", path, json=sent)
        assert (answer.status_code, "cannot be read" in answer.json()["detail"]) == (400, True)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_what_a_function_tells_its_user_is_no_fault_of_the_server():
    body = json.dumps({"error": "The temperature is too high: lower it."}).encode()
    answer = call(failing(500, body, raises=False), "POST", "/gradio_api/run/ask", json={"data": []})
    assert (answer.status_code, answer.json()["error"]) == (400, "The temperature is too high: lower it.")


def test_a_fault_of_the_server_stays_one():
    body = json.dumps({"error": FAULT}).encode()
    assert call(failing(500, body, raises=False), "POST", "/gradio_api/run/ask", json={"data": []}).status_code == 500


def test_twenty_people_behind_one_address_are_counted_one_by_one_where_sessions_are():
    door = guard(limits=Limits(asks_per_minute=2, per_session=True))
    for pupil in range(20):
        sent = {"fn_index": 0, "data": [], "session_hash": f"pupil {pupil}"}
        assert [call(door, "POST", JOIN, json=sent).status_code for _ in range(3)] == [200, 200, 429]
    fast = [
        call(door, "POST", JOIN, json={"fn_index": 0, "data": [], "session_hash": f"s{n}"}).status_code
        for n in range(50)
    ]
    assert fast[-1] == 429, "names are free, so the address has a bound too"


def test_a_visitors_call_holds_no_files_so_that_gradio_tells_no_paths():
    named = {"path": "x", "meta": {"_type": "gradio.FileData"}}
    door = guard()
    assert call(door, "POST", "/gradio_api/run/ask", json={"data": [[named]]}).status_code == 400
    assert call(door, "POST", "/gradio_api/run/ask", json={"data": [named]}, headers=signed_in(door)).status_code == 200
