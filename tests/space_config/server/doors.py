"""A guard in front of a stand-in for the page, and calls at its door."""

from __future__ import annotations

import asyncio

import httpx
from starlette.responses import HTMLResponse, JSONResponse

from space_config.server.admission import Limits
from space_config.server.calls import Names
from space_config.server.guard import Guard
from space_config.server.headers import Policy
from space_config.server.owner import Owner

PASSWORD = "correct horse"
NAMES = Names({0: "ask", 1: "export_everything", 2: "rate"}, {7: "ll-board", 8: "ll-results"})
PAGE = "<html><script>let a = 1;</script><script src='/x.js'></script></html>"


async def inner(scope, receive, send):
    """An app that tells what it was asked, and that allows every other site to read the answer, as gradio does."""
    body = b""
    while scope["method"] == "POST":
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    if scope["path"] == "/":
        answer = HTMLResponse(PAGE)
    else:
        told = {"path": scope["path"], "body": body.decode("latin-1"), "headers": headers, "client": scope["client"][0]}
        answer = JSONResponse(told)
    answer.headers["access-control-allow-origin"] = "*"
    await answer(scope, receive, send)


def guard(password=PASSWORD, limits=None, **options):
    options = {"status": lambda: {"state": "ready"}, "policy": Policy()} | options
    return Guard(inner, owner=Owner(password), limits=limits or Limits(), names=NAMES, **options)


def call(door, method, path, **request):
    """One request's response."""

    async def send():
        transport = httpx.ASGITransport(app=door, client=request.pop("client", ("192.0.2.9", 1)))
        async with httpx.AsyncClient(transport=transport, base_url="http://lens.example") as client:
            return await client.request(method, path, **request)

    return asyncio.run(send())


def signed_in(door):
    """The owner's cookie."""
    response = call(door, "POST", "/owner", data={"password": PASSWORD})
    assert response.status_code == 303
    return {"cookie": response.headers["set-cookie"].split(";")[0]}
