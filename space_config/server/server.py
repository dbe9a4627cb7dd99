"""The web server around the page: one socket, one uvicorn, and an end that lets answers finish."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from space_config.server.connections import bounded
from space_config.server.rate_limits import Connections
from tuning.errors import UserError

KEEP_ALIVE_SECONDS = 15
HEAD_SECONDS = 20.0
HEADER_BYTES = 32 * 2**10
START_SECONDS = 60.0

log = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises UserError where the address cannot be had.

    Its connections send at once (TCP_NODELAY, which they inherit): otherwise the body of a short answer, written after
    its head, waits for the client's delayed acknowledgement, 40 ms on Linux.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=512)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except socket.gaierror:
        raise UserError(f"There is no host {host!r} to listen on: choose another with --host.") from None
    except OSError:
        raise UserError(f"Port {port} on {host} is not free: choose another with --port.") from None


def address(listening: socket.socket) -> str:
    """The address of a socket for a browser on this machine."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class Server:
    """Uvicorn in a thread of its own."""

    def __init__(
        self,
        app: ASGIApp,
        listening: socket.socket,
        open_ones: Connections,
        head_seconds: float = HEAD_SECONDS,
        on_death: Callable[[], None] = lambda: None,
    ) -> None:
        """``open_ones`` bounds the connections that may be open; one has ``head_seconds`` to say what it asks.
        ``on_death`` is called, from the server's thread, if it ends without having been asked to."""
        self._on_death = on_death
        self._stopping = False
        self._socket = listening
        self.web = uvicorn.Server(
            uvicorn.Config(
                app,
                port=listening.getsockname()[1],
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                http=bounded(open_ones, head_seconds),
                ws="none",
                lifespan="on",
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=1,
                h11_max_incomplete_event_size=HEADER_BYTES,
            )
        )
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)

    def start(self) -> None:
        """Serve. Returns once requests are answered. Raises UserError if the server does not come up."""
        self._thread.start()
        self._began.wait(START_SECONDS)
        if not self.web.started:
            raise UserError("The web server did not start: its log says why.")

    def stop(self) -> None:
        """End all connections, and the thread. Open pages are cut off on purpose, which is no error to log."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._stopping = True
        self.web.should_exit = True
        self._thread.join(timeout=15)

    def _run(self) -> None:
        async def serve() -> None:
            serving = asyncio.create_task(self.web.serve(sockets=[self._socket]))
            while not self.web.started and not serving.done():
                await asyncio.sleep(0.005)
            self._began.set()
            await serving

        try:
            asyncio.run(serve())
        except BaseException:  # uvicorn leaves by SystemExit where it cannot start
            log.exception("The web server has failed")
        finally:
            self._began.set()
            if self.web.started and not self._stopping:
                log.error("The web server has ended although nobody asked it to")
                self._on_death()
