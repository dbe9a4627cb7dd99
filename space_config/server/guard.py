"""The door of the server: every request passes here before gradio sees it, and what is not known is refused.

Gradio offers many routes, runs any function of the page for anyone, and lets every site read its answers. Here are
the roles, limits and checks, in one place, in front of all of it.
"""

from __future__ import annotations

import ipaddress
import logging
import time
import urllib.parse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from space_config.server import calls, roles
from space_config.server.bodies import Arriving, read_body, replay
from space_config.server.calls import Refused
from space_config.server.headers import Policy
from space_config.server.logs import new_request_id
from space_config.server.owner import Owner
from space_config.server.rate_limits import Buckets, Connections
from space_config.server.roles import Kind, Role

log = logging.getLogger(__name__)
access = logging.getLogger("space_config.access")

FAULT = "Something went wrong on the server, and its log says what."
HEADER_BYTES = 32 * 2**10
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
FORWARDED = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "forwarded", "x-real-ip")
SIGN_INS_PER_MINUTE = 6


@dataclass(frozen=True)
class Limits:
    """What the guard allows: calls per minute and address, open connections, bytes. 0 per minute means no limit."""

    asks_per_minute: int = 20
    writes_per_minute: int = 60
    requests_per_minute: int = 600
    connections_per_address: int = 64
    connections: int = 1000
    body_bytes: int = 256 * 2**10
    upload_bytes: int = 20 * 2**20


class Guard:
    """ASGI middleware around the whole app."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        owner: Owner,
        policy: Policy,
        limits: Limits,
        names: calls.Names,
        status: Callable[[], dict[str, Any]],
        disk_problem: Callable[[], str] = lambda: "",
        hosts: frozenset[str] = frozenset(),
        trust_proxy: bool = False,
    ) -> None:
        """``hosts`` are the names under which the app may be reached, without ports; empty for any. With
        ``trust_proxy``, the last address of X-Forwarded-For is the visitor's. ``disk_problem`` says why nothing more
        can be written, or ''."""
        self._app, self._owner, self._policy, self._limits, self._names = app, owner, policy, limits, names
        self._status, self._disk_problem = status, disk_problem
        self._hosts, self._trust_proxy = hosts, trust_proxy
        per_minute = (limits.requests_per_minute, limits.asks_per_minute, limits.writes_per_minute)
        self._all, self._asks, self._writes = (Buckets(count) if count else None for count in per_minute)
        self._sign_ins = Buckets(SIGN_INS_PER_MINUTE)
        self._connections = Connections(limits.connections_per_address, limits.connections)
        self.closing = False
        """True from the moment the app is asked to end: nothing new is begun."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, request, status = time.monotonic(), new_request_id(), 0
        headers = Headers(scope=scope)

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        guarded = self._policy.wrap(noted, headers, request)
        receive = Arriving(receive, scope["method"] in ("GET", "HEAD"))
        visit = Visit(scope, headers, self._trust_proxy)
        visit.role = self._owner.role(headers.get("cookie", ""))
        try:
            with self._connections.one(visit.address) as fits:
                if not fits:
                    raise Refused(429, "Too many connections are open: close some tabs and try again.", 5)
                await self._admit(visit, receive, guarded)
        except Refused as refusal:
            wait = {"retry-after": str(refusal.retry_after)} if refusal.retry_after else {}
            answer = JSONResponse({"detail": refusal.message, "error": refusal.message}, refusal.status, wait)
            await receive.discard()
            with suppress(OSError):
                await answer(scope, receive, guarded)
        except Exception as error:
            if status and isinstance(error.__cause__, HTTPException):  # gradio refuses some calls in mid-answer
                log.info("%s %s: %s", visit.method, visit.path, error.__cause__.detail)
                await guarded({"type": "http.response.body"})
            else:
                log.exception("%s %s failed", visit.method, visit.path)
            if not status:
                await JSONResponse({"detail": FAULT, "error": FAULT}, 500)(scope, receive, guarded)
        finally:
            seconds = round(time.monotonic() - began, 3)
            fields = {"status": status, "seconds": seconds, "role": visit.role.name.lower(), "address": visit.address}
            access.info("%s %s", visit.method, visit.path, extra={"fields": fields})

    async def _admit(self, visit: Visit, receive: Receive, send: Send) -> None:
        """The checks that need no body, then the route's own. Raises Refused."""
        if sum(len(name) + len(value) for name, value in visit.scope["headers"]) > HEADER_BYTES:
            raise Refused(431, "The request's headers are too large: delete this site's cookies.")
        if not self._knows(visit.host):
            raise Refused(421, "This app does not serve that host name: set LORA_LENS_ALLOWED_HOSTS.")
        if visit.origin is not None and visit.origin != visit.own_origin:
            raise Refused(403, "This request comes from another site's page.")
        limited = visit.role < Role.OWNER
        if limited and self._all is not None and (wait := self._all.take(visit.address)):
            raise Refused(429, f"Too many requests: try again in {wait} s.", wait)
        if visit.path == "/status" and visit.reads:
            ends = {"ready": False, "message": "shutting down"} if self.closing else {}
            answer = JSONResponse(self._status() | ends, 503 if self.closing else 200)
            await answer(visit.scope, receive, send)
        elif visit.path == "/owner" or visit.path.startswith("/owner/"):
            await (await self._owners_page(visit, receive))(visit.scope, receive, send)
        elif visit.reads:
            self._check_read(visit)
            await self._app(visit.forwarded(), receive, send)
        elif visit.method == "POST":
            await self._post(visit, receive, send)
        else:
            raise Refused(405, "This method is not used here.")

    def _knows(self, host: str) -> bool:
        return not self._hosts or host in self._hosts

    def _check_read(self, visit: Visit) -> None:
        if roles.OPEN_ROUTES.fullmatch(visit.path) and not roles.CLOSED_QUERIES & visit.asked:
            return
        if visit.role >= Role.OWNER and roles.OWNER_ROUTES.fullmatch(visit.path):
            return
        raise Refused(404, "There is nothing here.")

    async def _post(self, visit: Visit, receive: Receive, send: Send) -> None:
        if visit.path == roles.UPLOAD_ROUTE:
            self._check_may(visit, Role.OWNER, Kind.WRITE)
            body = await read_body(visit.headers, receive, self._limits.upload_bytes)
            calls.check_upload(body, visit.headers.get("content-type", ""))
        else:
            body = await read_body(visit.headers, receive, self._limits.body_bytes)
            sent = calls.parse(body)
            if visit.path not in roles.SIDE_ROUTES:
                match = roles.CALL_ROUTE.fullmatch(visit.path)
                if match is None:
                    raise Refused(404, "There is nothing here.")
                for endpoint in self._names.of(visit.path, match["name"], sent):
                    self._check_may(visit, *roles.rule(endpoint))
                calls.check_files(sent)
            body = calls.dump(sent)
        await self._app(visit.forwarded(len(body)), replay(body, receive), send)

    def _check_may(self, visit: Visit, role: Role, kind: Kind) -> None:
        """Role first, then how often. Raises Refused."""
        if visit.role < role:
            hint = "sign in under /owner." if self._owner.can_sign_in else "this app was started without a password."
            raise Refused(403, f"Only the owner may do that: {hint}")
        if kind == Kind.READ:
            return
        if self.closing:
            raise Refused(503, "The app is shutting down: ask again once it is back.", 10)
        if problem := self._disk_problem():
            raise Refused(507, problem)
        buckets = self._asks if kind == Kind.ASK else self._writes
        if visit.role < Role.OWNER and buckets is not None and (wait := buckets.take(visit.address)):
            raise Refused(429, f"That is too fast: try again in {wait} s.", wait)

    async def _owners_page(self, visit: Visit, receive: Receive) -> Response:
        body = b""
        if visit.method == "POST":
            if wait := self._sign_ins.take(visit.address):
                page = self._owner.page(Role.VISITOR, f"Too many attempts: try again in {wait} s.", 429)
                page.headers["retry-after"] = str(wait)
                return page
            body = await read_body(visit.headers, receive, 4096)
        cookies = visit.headers.get("cookie", "")
        return await self._owner.serve(visit.method, visit.path, visit.query, cookies, body, visit.own_origin)


class Visit:
    """One request as the guard sees it: who, from where, for what."""

    def __init__(self, scope: Scope, headers: Headers, trust_proxy: bool) -> None:
        self.scope, self.headers = scope, headers
        self.method: str = scope["method"]
        self.path: str = scope["path"].rstrip("/") or "/"
        self.query = scope.get("query_string", b"").decode("latin-1")
        self.asked = {name for name, _ in urllib.parse.parse_qsl(self.query, keep_blank_values=True)}
        self.reads = self.method in ("GET", "HEAD")
        self.role = Role.VISITOR
        self._trust_proxy = trust_proxy
        client = scope.get("client") or ("unknown", 0)
        self.address, scheme, netloc = client[0], scope.get("scheme", "http"), headers.get("host", "")
        if trust_proxy:
            self.address = headers.get("x-forwarded-for", self.address).rsplit(",", 1)[-1].strip()
            scheme = headers.get("x-forwarded-proto", scheme).split(",")[0].strip()
            netloc = headers.get("x-forwarded-host", netloc).split(",")[0].strip()
        self.address = _network(self.address)
        self.own_origin = f"{scheme}://{netloc}".lower()
        self.host = netloc.lower().rsplit(":", 1)[0] if not netloc.endswith("]") else netloc.lower()
        origin = headers.get("origin")
        self.origin = origin.lower() if origin is not None else None

    def forwarded(self, body_bytes: int | None = None) -> Scope:
        """The scope for gradio: the visitor's own address, and no header that only a proxy may set unless one is
        trusted. The page is told uncompressed, so that its scripts can be hashed."""
        headers = MutableHeaders(raw=list(self.scope["headers"]))
        for name in FORWARDED if not self._trust_proxy else ():
            del headers[name]
        if self.path == "/":
            del headers["accept-encoding"]
        if body_bytes is not None:
            del headers["transfer-encoding"]
            headers["content-length"] = str(body_bytes)
        return self.scope | {"headers": headers.raw, "client": (self.address, 0), "lora_lens_role": self.role}


def _network(address: str) -> str:
    """An address as one visitor's: of IPv6 the /64 network, since every home has a whole one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))
