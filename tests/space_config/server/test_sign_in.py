"""The owner's sign-in with a Hugging Face account, against a provider of this test."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from starlette.datastructures import Headers

from space_config.server.owner import Owner, Provider
from space_config.server.roles import Role
from space_config.server.visit import Visit
from space_config.settings import provider_from_environment, read_settings

ORIGIN = "https://ann-lens.example"
SECRET = "the client's secret"


class StandIn:
    """An OpenID provider that takes the code 'good' and says who signed in."""

    def __init__(self, account):
        self.account, self.forms = account, []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
                stand_in.forms.append(form)
                client = base64.b64encode(f"client:{SECRET}".encode()).decode()
                good = form.get("code") == "good" and self.headers["authorization"] == f"Basic {client}"
                self._send(200 if good else 400, {"access_token": "bearer"} if good else {"error": "invalid_grant"})

            def do_GET(self):
                known = self.headers["authorization"] == "Bearer bearer"
                self._send(200 if known else 401, stand_in.account if known else {})

            def _send(self, status, told):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(told).encode())

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def provider():
    stand_in = StandIn({"preferred_username": "Ann", "sub": "id-of-ann"})
    yield stand_in
    stand_in.close()


def owner_of(stand_in, owners=("ann",), owner_id=""):
    return Owner(provider=Provider(stand_in.url, "client", SECRET, "openid profile", frozenset(owners), owner_id))


def serve(owner, path, query="", cookies=""):
    host = urllib.parse.urlsplit(ORIGIN).netloc
    headers = Headers({"host": host, "cookie": cookies})
    scope = {"method": "GET", "path": path, "query_string": query.encode(), "scheme": "https", "headers": headers.raw}
    return asyncio.run(owner.serve(Visit(scope, headers, trust_proxy=False), b""))


def cookie(response):
    return response.headers["set-cookie"].split(";")[0]


def sign_in(owner, code="good", state=None):
    """The callback's response to a browser that comes back from the provider."""
    begun = serve(owner, "/owner/sign-in")
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(begun.headers["location"]).query))
    assert asked["redirect_uri"] == f"{ORIGIN}/owner/callback"
    assert asked["response_type"] == "code"
    query = urllib.parse.urlencode({"code": code, "state": state or asked["state"]})
    return serve(owner, "/owner/callback", query, cookie(begun))


@pytest.mark.parametrize(("owners", "owner_id"), [(("ann",), ""), ((), "id-of-ann"), (("someone", "ANN"), "")])
def test_the_spaces_owner_becomes_the_owner(provider, owners, owner_id):
    owner = owner_of(provider, owners, owner_id)
    response = sign_in(owner)
    assert response.status_code == 303
    assert owner.role(cookie(response)) == Role.OWNER
    assert owner.role("") == Role.VISITOR
    assert owner.role(cookie(response)[:-1]) == Role.VISITOR
    assert provider.forms[0]["redirect_uri"] == f"{ORIGIN}/owner/callback"


def test_another_account_stays_a_visitor(provider):
    response = sign_in(owner_of(provider, ["bob"], "id-of-bob"))
    assert response.status_code == 403
    assert "set-cookie" not in response.headers


def test_nobody_is_the_owner_where_none_is_named(provider):
    provider.account = {"preferred_username": "", "sub": ""}
    assert sign_in(owner_of(provider, [])).status_code == 403


def test_a_forged_or_missing_state_is_refused_before_the_provider_is_asked(provider):
    owner = owner_of(provider)
    assert sign_in(owner, state="forged").status_code == 400
    assert serve(owner, "/owner/callback", "code=good&state=").status_code == 400
    assert serve(owner, "/owner/callback", "code=good").status_code == 400
    assert provider.forms == []


def test_a_code_that_the_provider_does_not_know_and_a_provider_that_is_away_are_said(provider):
    owner = owner_of(provider)
    refused = sign_in(owner, code="bad")
    assert refused.status_code == 502
    assert SECRET not in refused.body.decode()
    provider.close()
    away = Owner(provider=Provider("http://127.0.0.1:9", "client", SECRET, "", frozenset({"ann"})))
    assert sign_in(away).status_code == 502


def test_a_space_with_oauth_is_recognised(monkeypatch):
    for name, value in {
        "SPACE_ID": "ann/lens",
        "SPACE_AUTHOR_NAME": "ann",
        "OPENID_PROVIDER_URL": "https://provider.example/",
        "OAUTH_CLIENT_ID": "client",
        "OAUTH_CLIENT_SECRET": SECRET,
        "OAUTH_SCOPES": "openid profile",
    }.items():
        monkeypatch.setenv(name, value)
    settings = read_settings(["--owners", "bob, carol"])
    assert provider_from_environment(settings.owners).owners == {"ann", "bob", "carol"}
    assert settings.owner().can_sign_in
    assert not settings.open_to_all
    assert SECRET not in repr(settings)


def test_the_providers_secret_is_sent_to_the_provider_alone(provider):
    page = serve(owner_of(provider), "/owner")
    begun = serve(owner_of(provider), "/owner/sign-in")
    assert SECRET not in page.body.decode() + str(dict(begun.headers))
    assert httpx.URL(begun.headers["location"]).host == "127.0.0.1"
