"""The door of the server: every request passes here before gradio sees it, and what is not known is refused.

Gradio offers many routes, runs any function of the page for anyone, and lets every site read its answers. This puts the
checks in front of all of it, each of which has a file of its own: who asks (``visit``), may it come in and call that
(``admission``), what does it bring (``posts``), who is the owner (``owner``), what browsers are told (``headers``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from space_config.server import calls
from space_config.server.admission import Admission, Limits
from space_config.server.bodies import Arriving, read_body
from space_config.server.calls import FAULT, Refused
from space_config.server.headers import Policy
from space_config.server.logs import new_request_id
from space_config.server.owner import SIGN_IN_BYTES, Owner
from space_config.server.posts import Posts
from space_config.server.rate_limits import Connections
from space_config.server.visit import Visit

log = logging.getLogger(__name__)
access = logging.getLogger("space_config.access")


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
        self._app, self._owner, self._policy, self._status = app, owner, policy, status
        self._trust_proxy = trust_proxy
        hint = "sign in under /owner." if owner.can_sign_in else "this app was started without a password."
        self._admission = Admission(limits, hosts, disk_problem, hint)
        self._posts = Posts(app, self._admission, limits, names, FAULT)
        self._connections = Connections(limits.connections_per_address, limits.connections)

    @property
    def closing(self) -> bool:
        """True from the moment the app is asked to end: nothing new is begun."""
        return self._admission.closing

    @closing.setter
    def closing(self, ends: bool) -> None:
        self._admission.closing = ends

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
        arriving = Arriving(receive, scope["method"] in ("GET", "HEAD"))
        visit = Visit(scope, headers, self._trust_proxy)
        visit.role = self._owner.role(headers.get("cookie", ""))
        try:
            with self._connections.one(visit.address) as fits:
                if not fits:
                    raise Refused(429, "Too many connections are open: close some tabs and try again.", 5)
                await self._route(visit, arriving, guarded)
        except Refused as refusal:
            wait = {"retry-after": str(refusal.retry_after)} if refusal.retry_after else {}
            answer = JSONResponse({"detail": refusal.message, "error": refusal.message}, refusal.status, wait)
            await arriving.discard()
            with suppress(OSError):
                await answer(scope, arriving, guarded)
        except Exception as error:
            if status and isinstance(error.__cause__, HTTPException):  # gradio refuses some calls in mid-answer
                log.info("%s %s: %s", visit.method, visit.path, error.__cause__.detail)
                await guarded({"type": "http.response.body"})
            elif status == 400:  # gradio cannot read what this caller sent, and the caller has been told
                log.info("%s %s cannot be read: %s", visit.method, visit.path, type(error).__name__)
            else:
                log.exception("%s %s failed", visit.method, visit.path)
            if not status:
                await JSONResponse({"detail": FAULT, "error": FAULT}, 500)(scope, arriving, guarded)
        finally:
            seconds = round(time.monotonic() - began, 3)
            fields = {"status": status, "seconds": seconds, "role": visit.role.name.lower(), "address": visit.address}
            access.info("%s %s", visit.method, visit.path, extra={"fields": fields})

    async def _route(self, visit: Visit, receive: Receive, send: Send) -> None:
        """To whoever answers it. Raises Refused."""
        self._admission.check(visit)
        if visit.path == "/status" and visit.reads:
            await self._told_status()(visit.scope, receive, send)
        elif visit.path == "/owner" or visit.path.startswith("/owner/"):
            body = await read_body(visit.headers, receive, SIGN_IN_BYTES) if visit.method == "POST" else b""
            await (await self._owner.serve(visit, body))(visit.scope, receive, send)
        elif visit.reads:
            self._admission.check_read(visit)
            await self._app(visit.forwarded(), receive, send)
        elif visit.method == "POST":
            await self._posts.serve(visit, receive, send)
        else:
            raise Refused(405, "This method is not used here.")

    def _told_status(self) -> Response:
        ends = {"ready": False, "message": "shutting down"} if self.closing else {}
        return JSONResponse(self._status() | ends, 503 if self.closing else 200)
