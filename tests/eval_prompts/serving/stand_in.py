"""A stand-in for a server of models that does what real ones do wrong."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "key-of-the-endpoint"


class StandIn:
    """An endpoint with two models. ``script`` is what it streams; it records what it was asked."""

    def __init__(self):
        self.asked, self.script, self.status, self.pause = [], ["def ", "f", "()"], 200, threading.Event()
        self.reason, self.extra, self.odds, self.counts = "stop", None, None, iter(())
        self.pause.set()
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                allowed = self.headers.get("authorization") == f"Bearer {KEY}"
                self._send(200 if allowed else 401, {"data": [{"id": "base"}, {"id": "lora"}]} if allowed else {})

            def _send(self, status, told):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(told).encode())

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                stand_in.asked.append(asked)
                if stand_in.odds == "refused" and "logprobs" in asked:
                    self._send(400, {"error": {"message": "logprobs is not supported"}})
                    return
                if stand_in.status != 200:
                    self._send(stand_in.status, {"error": {"message": "out of\nmemory"}})
                    return
                self.send_response(200)
                self.end_headers()
                try:
                    for text in [*stand_in.script, asked["model"]]:
                        told = stand_in.odds(text) if callable(stand_in.odds) else None
                        count = next(stand_in.counts, None)
                        usage = {} if count is None else {"usage": {"completion_tokens": count}}
                        self._event({"choices": [{"delta": {"content": text}, "logprobs": told}], **usage})
                        stand_in.pause.wait(20)
                    reason = "length" if asked["max_tokens"] < 5 else stand_in.reason
                    if stand_in.extra is not None:
                        self.wfile.write(f"data: {stand_in.extra}\n\n".encode())
                    if reason is None:
                        return
                    self._event({"choices": [{"delta": {}, "finish_reason": reason}]})
                    self._event({"choices": [], "usage": {"completion_tokens": 6}})
                    self.wfile.write(b"data: [DONE]\n\n")
                except OSError:
                    return

            def _event(self, told):
                self.wfile.write(f"data: {json.dumps(told)}\n\n".encode())
                self.wfile.flush()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self.pause.set()
        self._server.shutdown()
        self._server.server_close()
