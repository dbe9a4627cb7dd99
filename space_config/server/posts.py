"""What a POST brings: its body read, checked and told to gradio as it was understood, and gradio's answer put right."""

from __future__ import annotations

import json
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from space_config.server import calls, roles
from space_config.server.admission import Admission, Limits
from space_config.server.bodies import read_body, replay
from space_config.server.calls import Refused
from space_config.server.roles import Kind, Role
from space_config.server.visit import Visit

UNREADABLE = "The call cannot be read: check its names and values."
MOST_BUFFERED = 64 * 2**10


class Posts:
    """The routes that are posted to: uploads, calls of the page's functions, and what ends them."""

    def __init__(self, app: ASGIApp, admission: Admission, limits: Limits, names: calls.Names, fault: str) -> None:
        """``fault`` is the line by which a function's own failure is known, which is the server's and stays a 500."""
        self._app, self._admission, self._limits, self._names, self._fault = app, admission, limits, names, fault

    async def serve(self, visit: Visit, receive: Receive, send: Send) -> None:
        """Check one and have gradio answer it. Raises Refused."""
        if visit.path == roles.UPLOAD_ROUTE:
            self._admission.check_may(visit, Role.OWNER, Kind.WRITE)
            body = await read_body(visit.headers, receive, self._limits.upload_bytes)
            calls.check_upload(body, visit.headers.get("content-type", ""))
        else:
            body = await read_body(visit.headers, receive, self._limits.body_bytes)
            sent = calls.parse(body)
            if visit.path not in roles.SIDE_ROUTES:
                match = roles.CALL_ROUTE.fullmatch(visit.path)
                if match is None:
                    raise Refused(404, "There is nothing here.")
                session = sent.get("session_hash")
                for endpoint in self._names.of(visit.path, match["name"], sent):
                    rule = roles.rule(endpoint)
                    self._admission.check_may(visit, *rule, session if isinstance(session, str) else "")
                calls.check_files(sent, may_name=visit.role >= Role.OWNER)
            body = calls.dump(sent)
        mended = Mended(send, self._fault)
        scope: Scope = visit.forwarded(len(body))
        await self._app(scope, replay(body, receive), mended)


class Mended:
    """A ``send`` that makes 400 of gradio's 500 where the caller's values are at fault: gradio answers an error that a
    function tells its user so, and every body of a kind that it does not expect."""

    def __init__(self, send: Send, fault: str) -> None:
        self._send, self._fault = send, fault
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 500:
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")[: MOST_BUFFERED - len(self._body)]
            if not message.get("more_body"):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        told = _error_of(bytes(self._body))
        if told == self._fault:
            await self._send(start)
            await self._send({"type": "http.response.body", "body": bytes(self._body)})
            return
        words = told or UNREADABLE
        answer = JSONResponse({"detail": words, "error": words}, 400)
        headers = MutableHeaders(raw=list(answer.raw_headers))
        await self._send({"type": "http.response.start", "status": 400, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": answer.body})


def _error_of(body: bytes) -> str:
    """What gradio's answer says to its user; '' where it says nothing."""
    try:
        told: Any = json.loads(body)
    except ValueError:
        return ""
    error = told.get("error") if isinstance(told, dict) else None
    return error if isinstance(error, str) else ""
