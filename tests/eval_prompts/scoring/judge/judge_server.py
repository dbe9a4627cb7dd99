"""A stand-in for a judge: an OpenAI-compatible server on this machine whose verdicts are a function of the answers."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class JudgeServer:
    """Serves ``verdict(first, second)``, a reply's text, or what ``respond(handler)`` does."""

    def __init__(self, verdict=None, respond=None):
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                outer.asked += 1
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if respond is not None:
                    respond(self)
                    return
                prompt = body["messages"][0]["content"]
                first, second = re.search(
                    r"\[Answer A\]\n(.*)\n\n\[Answer B\]\n(.*)\n\nWhich answer", prompt, re.DOTALL
                ).groups()
                said = verdict(first, second)
                send(self, 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}))

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def send(handler, status, text):
    """A whole response."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(text.encode())))
    handler.end_headers()
    handler.wfile.write(text.encode())
