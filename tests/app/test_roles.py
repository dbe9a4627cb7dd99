"""Who may do what on the running app: every endpoint by every route, the owner's sign-in, and what is said of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from space_config.server import roles
from space_config.server.roles import ENDPOINTS, Kind, Role, rule
from tests.app.running import PASSWORD

PROJECT = Path(__file__).parents[2]
API = "/gradio_api"


@pytest.fixture
def visitor(guarded_app):
    with httpx.Client(base_url=guarded_app.url, timeout=30) as client:
        yield client


@pytest.fixture
def owner(guarded_app):
    with httpx.Client(base_url=guarded_app.url, timeout=30) as client:
        assert client.post("/owner", data={"password": PASSWORD}).status_code == 303
        yield client


def functions(client):
    """All functions that the running page has on the server: by number, and by component."""
    config = client.get("/config").json()
    by_number = {each["id"]: each["api_name"] for each in config["dependencies"] if each["backend_fn"]}
    by_component = {
        (part["id"], name): f"{part['props'].get('elem_id')}/{name}"
        for part in config["components"]
        for name in part["props"].get("server_fns") or ()
    }
    return by_number, by_component


def test_the_table_of_roles_lists_every_endpoint(visitor):
    by_number, by_component = functions(visitor)
    found = {*by_number.values(), *by_component.values()}
    assert len(found) > 10
    missing = found - set(ENDPOINTS)
    assert not missing, f"say in space_config/server/roles.py who may call these: {sorted(missing)}"


def calls(client):
    """Every function by every route: (endpoint, path, body). The bodies are empty, so that nothing is really done."""
    by_number, by_component = functions(client)
    for number, name in by_number.items():
        body = {"data": [], "session_hash": "someone"}
        yield name, f"{API}/queue/join", body | {"fn_index": number}
        yield name, f"{API}/run/{name}", body
        yield name, f"{API}/api/{name}/", body
        yield name, f"{API}/api/anything", body | {"fn_index": number}
        yield name, f"{API}/call/{name}", {"data": []}
        yield name, f"{API}/call/v2/{name}", {}
    for (number, function), name in by_component.items():
        body = {"data": {}, "component_id": number, "fn_name": function, "session_hash": "someone"}
        yield name, f"{API}/component_server", body


def test_a_visitor_is_refused_what_is_the_owners_on_every_route(visitor):
    refused, served = set(), set()
    for name, path, body in calls(visitor):
        if path.endswith("anything"):
            continue
        status = visitor.post(path, json=body).status_code
        if roles.rule(name)[0] == Role.OWNER:
            assert status == 403, (name, path, status)
            refused.add(name)
        else:
            assert status not in (403, 404), (name, path, status)
            served.add(name)
    assert "ll-results/export_votes" in refused
    assert {"ask", "rate", "ll-board/rate"} <= served


def test_a_name_in_the_path_does_not_cover_another_function(visitor):
    by_number, _ = functions(visitor)
    for number, name in by_number.items():
        allowed = roles.rule(name)[0] == Role.VISITOR
        status = visitor.post(f"{API}/api/export_everything", json={"data": [], "fn_index": number}).status_code
        assert status == 403, (number, allowed)


def test_the_owner_is_let_in_until_he_signs_out(owner, guarded_app):
    _, by_component = functions(owner)
    number = next(number for (number, _), name in by_component.items() if name == "ll-results/export_votes")
    body = {"component_id": number, "fn_name": "export_votes", "session_hash": "s", "data": {"format": "csv"}}
    assert owner.get("/owner/role").json() == {"role": "owner"}
    assert owner.post(f"{API}/component_server", json=body).json()["type"].startswith("text/csv")
    assert "Sign out" in owner.get("/owner").text
    owner.post("/owner/out")
    assert owner.get("/owner/role").json() == {"role": "visitor"}
    assert owner.post(f"{API}/component_server", json=body).status_code == 403


def test_the_password_stands_nowhere(guarded_app, visitor):
    wrong = visitor.post("/owner", data={"password": "not the password at all"})
    assert wrong.status_code == 403
    texts = [visitor.get(path).text for path in ("/", "/config", "/status", "/owner", f"{API}/info", "/nowhere")]
    assert PASSWORD not in "\n".join([*texts, wrong.text, *guarded_app.lines])


def test_an_app_on_this_machine_alone_is_open_and_says_so(app):
    assert any("Everyone who can reach this machine's own address is the owner" in line for line in app.lines)
    assert httpx.get(f"{app.url}owner/role").json() == {"role": "owner"}
    assert httpx.get(f"{app.url}config", headers={"host": "rebound.example"}).status_code == 421


def test_an_app_open_to_the_network_has_no_owner_without_a_password(start_app):
    app = start_app("--host", "0.0.0.0", "--model", "nothing/here")
    assert any("nobody can sign in" in line for line in app.lines)
    assert httpx.get(f"{app.url}owner/role").json() == {"role": "visitor"}
    assert httpx.post(f"{app.url}owner", data={"password": ""}).status_code == 404


def test_a_short_password_is_refused(monkeypatch):
    monkeypatch.setenv("ADMIN_PASSWORD", "secret1")
    refused = subprocess.run([sys.executable, "app.py"], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert refused.stderr == "error: The owner's password is short: take 8 characters or more.\n"
    assert "secret1" not in refused.stdout


def test_gradio_itself_checks_the_role_too():
    """Behind the guard, for the day that a route gets past it."""
    script = (
        "import app, asyncio, gradio as gr\n"
        "from space_config.server import gradio_patches\n"
        "with gradio_patches.GuardedBlocks() as page:\n"
        "    gr.api(lambda: 'done', api_name='start_training')\n"
        "    gr.api(lambda: print('seen'), api_name='status')\n"
        "owned, free = page.fns.values()\n"
        "asyncio.run(page.process_api(free, []))\n"
        "try:\n"
        "    asyncio.run(page.process_api(owned, []))\n"
        "except gr.Error as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["seen", "'Only the owner may do that.'"], done.stderr


def test_what_the_table_does_not_name_is_the_owners():
    assert rule("an_endpoint_of_tomorrow") == (Role.OWNER, Kind.WRITE)
    assert rule("status")[0] is Role.VISITOR
    assert rule("start_training")[0] is Role.OWNER
