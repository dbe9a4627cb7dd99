"""Who the owner is: whoever knows the password, or signs in with the Hugging Face account that owns the Space."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import secrets
import time
import urllib.parse
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from space_config.server.rate_limits import Buckets
from space_config.server.roles import Role
from space_config.server.share import code_for_page
from space_config.server.visit import Visit

SESSION_COOKIE, STATE_COOKIE, DEVICE_COOKIE = "lora-lens-owner", "lora-lens-sign-in", "lora-lens-device"
SESSION_SECONDS, STATE_SECONDS, DEVICE_SECONDS = 12 * 3600, 600, 365 * 24 * 3600
SIGN_IN_BYTES = 4096
SIGN_INS_PER_MINUTE = 6
"""Wrong passwords from one address, and from one browser in which the owner has signed in before."""
REMEMBERED_SESSIONS = 1000
PROVIDER_SECONDS = 10.0
STYLE = Path(__file__).with_name("owner.css").read_text(encoding="utf-8")
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; font-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Provider:
    """An OpenID provider and the app's registration there. ``owners`` are the user names that own this app."""

    url: str
    client_id: str
    client_secret: str
    scopes: str
    owners: frozenset[str]
    owner_id: str = ""

    def authorize_url(self, redirect: str, state: str) -> str:
        """Where a browser goes to sign in (OAuth 2.0, authorization code flow, RFC 6749 section 4.1)."""
        query = {
            "client_id": self.client_id,
            "redirect_uri": redirect,
            "response_type": "code",
            "scope": self.scopes or "openid profile",
            "state": state,
        }
        return f"{self.url}/oauth/authorize?{urllib.parse.urlencode(query)}"

    async def is_owner(self, code: str, redirect: str) -> bool:
        """Whether the account behind a code owns this app. Raises httpx.HTTPError if the provider does not say."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "client_id": self.client_id}
        async with httpx.AsyncClient(timeout=PROVIDER_SECONDS) as client:
            answer = await client.post(f"{self.url}/oauth/token", data=form, auth=(self.client_id, self.client_secret))
            answer.raise_for_status()
            bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            answer = await client.get(f"{self.url}/oauth/userinfo", headers=bearer)
            answer.raise_for_status()
            account = answer.json()
        known = {name.lower() for name in self.owners}
        by_id = bool(self.owner_id) and hmac.compare_digest(str(account.get("sub", "")), self.owner_id)
        return by_id or str(account.get("preferred_username", "")).lower() in known


class Owner:
    """Sessions of the owner, held in memory: a restart signs everyone out.

    ``open_to_all`` makes everyone the owner, for an app that only its own machine can reach.
    """

    def __init__(
        self, password: str | None = None, provider: Provider | None = None, open_to_all: bool = False
    ) -> None:
        self._password, self._provider, self._open = password, provider, open_to_all
        self._sessions: OrderedDict[str, float] = OrderedDict()
        self._devices: OrderedDict[str, float] = OrderedDict()
        self._attempts = Buckets(SIGN_INS_PER_MINUTE)
        self.shared = ""
        """The address to give to others, which the owner is shown, also as a QR code."""

    @property
    def can_sign_in(self) -> bool:
        """Whether there is any way to become the owner."""
        return self._password is not None or self._provider is not None

    def role(self, cookies: str) -> Role:
        """The role of whoever sends these cookies."""
        if self._open:
            return Role.OWNER
        token = _cookie(cookies, SESSION_COOKIE)
        return Role.OWNER if self._sessions.get(token, 0) > time.time() else Role.VISITOR

    async def serve(self, visit: Visit, body: bytes) -> Response:
        """The pages under ``/owner``."""
        method, path, origin, cookies = visit.method, visit.path, visit.own_origin, visit.headers.get("cookie", "")
        values = dict(urllib.parse.parse_qsl(visit.query if method == "GET" else body.decode("utf-8", "replace")))
        redirect = f"{origin}/owner/callback"
        if (method, path) == ("GET", "/owner"):
            return self.page(self.role(cookies), theme=values.get("__theme", ""))
        if (method, path) == ("GET", "/owner/role"):
            return JSONResponse({"role": self.role(cookies).name.lower()})
        if (method, path) == ("POST", "/owner") and self._password is not None:
            return self._by_password(values.get("password", ""), visit)
        if (method, path) == ("POST", "/owner/out"):
            self._sessions.pop(_cookie(cookies, SESSION_COOKIE), None)
            return RedirectResponse("/owner", 303)
        if (method, path) == ("GET", "/owner/sign-in") and self._provider is not None:
            state = secrets.token_urlsafe(24)
            response = RedirectResponse(self._provider.authorize_url(redirect, state), 303)
            _set_cookie(response, STATE_COOKIE, state, STATE_SECONDS, origin)
            return response
        if (method, path) == ("GET", "/owner/callback") and self._provider is not None:
            return await self._callback(values, _cookie(cookies, STATE_COOKIE), redirect, origin)
        return JSONResponse({"detail": "There is no such page."}, 404)

    async def _callback(self, values: dict[str, str], state: str, redirect: str, origin: str) -> Response:
        if not state or not hmac.compare_digest(state.encode(), values.get("state", "").encode()):
            return self.page(Role.VISITOR, "That sign-in was not begun here, or is too old: try again.", 400)
        if self._provider is None:
            return self.page(Role.VISITOR, "Nobody signs in with an account here.", 404)
        try:
            owns = await self._provider.is_owner(values.get("code", ""), redirect)
        except (httpx.HTTPError, KeyError, AttributeError, json.JSONDecodeError):
            return self.page(Role.VISITOR, "Hugging Face did not confirm the sign-in: try again.", 502)
        if not owns:
            return self.page(Role.VISITOR, "This account does not own this app, so it may ask and rate.", 403)
        return self._signed_in(origin)

    def _by_password(self, given: str, visit: Visit) -> Response:
        """What an attempt leads to. Wrong ones are counted by address; those from a browser in which the owner has
        signed in are counted by that browser, so that no neighbour behind the same address can lock the owner out."""
        device = _cookie(visit.headers.get("cookie", ""), DEVICE_COOKIE)
        known = self._devices.get(device, 0) > time.time()
        counted_by = f"device {device}" if known else f"address {visit.address}"
        if wait := self._attempts.take(counted_by):
            page = self.page(Role.VISITOR, f"Too many attempts: try again in {wait} s.", 429)
            page.headers["retry-after"] = str(wait)
            return page
        expected = (self._password or "").encode()
        if not hmac.compare_digest(hashlib.sha256(given.encode()).digest(), hashlib.sha256(expected).digest()):
            return self.page(Role.VISITOR, "That is not the password.", 403)
        self._attempts.give_back(counted_by)
        return self._signed_in(visit.own_origin)

    def _signed_in(self, origin: str) -> Response:
        response = RedirectResponse("/", 303)
        for cookie, held, seconds in (
            (SESSION_COOKIE, self._sessions, SESSION_SECONDS),
            (DEVICE_COOKIE, self._devices, DEVICE_SECONDS),
        ):
            token = secrets.token_urlsafe(32)
            held[token] = time.time() + seconds
            while len(held) > REMEMBERED_SESSIONS:
                held.popitem(last=False)
            _set_cookie(response, cookie, token, seconds, origin)
        return response

    def page(self, role: Role, problem: str = "", status: int = 200, theme: str = "") -> Response:
        """The page for whoever comes with that role: what they may do, how to sign in or out, and what went wrong.

        ``theme`` is 'light' or 'dark'; else it follows the browser, as the app's own page does."""
        themed = f" class={theme}" if theme in ("light", "dark") else ""
        parts = [f"<p role=alert>{html.escape(problem)}</p>" if problem else ""]
        if role == Role.OWNER:
            parts.append("<p>You are the owner: you may train, delete, and choose adapters.</p>")
            if self.shared:
                parts.append(f"<p>Others reach this app at {html.escape(self.shared)}</p>{code_for_page(self.shared)}")
            if not self._open:
                parts.append("<form method=post action=/owner/out><button>Sign out</button></form>")
        else:
            parts.append("<p>Everyone may ask and rate. Training and choosing adapters are the owner's.</p>")
            if self._password is not None:
                parts.append(
                    "<form method=post action=/owner><label>Owner's password <input name=password type=password "
                    "autocomplete=current-password required autofocus></label><button>Sign in</button></form>"
                )
            if self._provider is not None:
                parts.append("<p><a href=/owner/sign-in>Sign in with Hugging Face</a></p>")
            if not self.can_sign_in:
                parts.append("<p>This app was started without a password, so nobody can sign in.</p>")
        parts.append("<p><a href=/>Back to the page</a></p>")
        page = (
            f"<!doctype html><html lang=en{themed}><meta charset=utf-8>"
            "<meta name=viewport content='width=device-width'>"
            f"<title>LoRA Lens: owner</title><style>{STYLE}</style><main><h1>LoRA Lens</h1>{''.join(parts)}</main>"
        )
        return HTMLResponse(page, status, {"content-security-policy": PAGE_POLICY, "cache-control": "no-store"})


def _cookie(cookies: str, name: str) -> str:
    return cookie_parser(cookies).get(name, "")


def _set_cookie(response: Response, name: str, value: str, seconds: int, origin: str) -> None:
    """A Space's page stands in a frame of another site, where only SameSite=None cookies arrive; they need https."""
    secure = origin.startswith("https://")
    same_site: Literal["none", "lax"] = "none" if secure else "lax"
    response.set_cookie(name, value, max_age=seconds, httponly=True, secure=secure, samesite=same_site)
