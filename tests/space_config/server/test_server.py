"""The server's connections: sent at once, not too many of them, and none for ever."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from space_config.server.rate_limits import Connections
from space_config.server.server import Server, listen

REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


class Waiting:
    """An app that answers once it is told to."""

    def __init__(self):
        self.told, self.loop = asyncio.Event(), None

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            self.loop = asyncio.get_running_loop()
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        await self.told.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    def answer(self):
        self.loop.call_soon_threadsafe(self.told.set)


@pytest.fixture
def serve():
    """Starts a server with bounds of its own; gives the app and what opens connections to it."""
    servers, connections = [], []

    def start(most=100, head_seconds=60.0):
        app, listening = Waiting(), listen("127.0.0.1", 0)
        server = Server(app, listening, Connections(most, most), head_seconds)
        server.start()
        servers.append(server)

        def connect(sent=b""):
            connections.append(socket.create_connection(listening.getsockname(), timeout=20))
            connections[-1].sendall(sent)
            return connections[-1]

        return app, connect

    yield start
    for connection in connections:
        connection.close()
    for server in servers:
        server.stop()


def test_what_is_written_is_sent_at_once():
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        accepted.close()


@pytest.mark.parametrize("sent", [b"", REQUEST[:-4]])
def test_a_connection_that_does_not_say_what_it_asks_is_closed_and_an_answer_under_way_is_not(serve, sent):
    app, connect = serve(head_seconds=0.3)
    asking = connect(REQUEST)
    assert connect(sent).recv(100) == b""
    app.answer()
    assert asking.recv(1000).startswith(b"HTTP/1.1 200")


def test_drops_of_a_second_request_do_not_keep_a_connection(serve):
    app, connect = serve(head_seconds=0.3)
    app.answer()
    kept = connect(REQUEST)
    received = b""
    while not received.endswith(b"ok"):
        received += kept.recv(1000)
    kept.sendall(REQUEST[:9])
    assert kept.recv(100) == b""


def test_one_connection_too_many_is_told_so_and_there_is_room_again_after_another_ends(serve):
    app, connect = serve(most=2)
    app.answer()
    first, second = connect(), connect(REQUEST)
    assert second.recv(1000).startswith(b"HTTP/1.1 200")
    refused = connect().recv(1000)
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"close some tabs" in refused
    first.close()
    while not (answer := connect(REQUEST).recv(1000)).startswith(b"HTTP/1.1 200"):
        assert answer.startswith(b"HTTP/1.1 503")


@pytest.mark.parametrize("raised", [RuntimeError("a detail"), SystemExit(3), None], ids=["error", "exit", "return"])
def test_a_server_that_ends_by_itself_is_an_error_and_tells_the_app(raised, monkeypatch, caplog):
    """uvicorn's loop is made to end in the midst of serving."""
    gone = threading.Event()
    server = Server(Waiting(), listen("127.0.0.1", 0), Connections(9, 9), on_death=gone.set)

    async def ends(self):
        if raised:
            raise raised

    monkeypatch.setattr("uvicorn.Server.main_loop", ends)
    server.start()
    assert gone.wait(20)
    assert "The web server has ended although nobody asked it to" in caplog.text
    assert ("a detail" in caplog.text) == isinstance(raised, RuntimeError)


def test_a_server_that_is_stopped_is_no_error(caplog):
    gone = threading.Event()
    server = Server(Waiting(), listen("127.0.0.1", 0), Connections(9, 9), on_death=gone.set)
    server.start()
    server.stop()
    assert not gone.is_set()
    assert "error" not in caplog.text.lower()
