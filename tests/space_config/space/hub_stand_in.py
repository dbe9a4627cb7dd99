"""The Hub's endpoints that a deployment uses, served from this machine, and a record of what was sent to them."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_only-for-this-test"


class Hub:
    """A Hub with one account, ``ann``. ``stages`` are told one after the other; ``files`` is the Space's content;
    ``commits`` say of which one each stage is."""

    def __init__(self, host="", stages=("BUILDING", "APP_STARTING", "RUNNING"), files=None, refuse=(), commits=()):
        self.host, self.stages, self.refuse = host, list(stages), refuse
        self.files, self.commits = dict(files or {}), list(commits)
        self.created, self.variables, self.secrets, self.hardware, self.volumes = [], {}, {}, None, None
        self.seen = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method, path, body):
        """(status, JSON) for one request."""
        self.seen.append((method, path))
        if any(word in path for word in self.refuse):
            return 403, {"error": "Static and paid hardware only: this account may not do that."}
        space = "/api/datasets/ann/votes" if "/datasets/" in path else "/api/spaces/ann/lens"
        if path == "/api/whoami-v2":
            return 200, {"name": "ann", "type": "user", "auth": {"accessToken": {"role": "write"}}}
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return 200, {"url": f"{self.url}/spaces/ann/lens", "id": "1", "name": "ann/lens"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == f"{space}/variables":
            sent = json.loads(body)
            self.variables[sent["key"]] = sent["value"]
            return 200, {}
        if path == f"{space}/secrets":
            sent = json.loads(body)
            self.secrets[sent["key"]] = sent["value"]
            return 200, {}
        if path == f"{space}/volumes":
            self.volumes = json.loads(body)
            return 200, {"stage": "RUNNING", "hardware": {}}
        if path == f"{space}/hardware":
            self.hardware = json.loads(body)["flavor"]
            return 200, {"stage": "BUILDING", "hardware": {"requested": self.hardware}}
        if path == f"{space}/runtime":
            stage = self.stages.pop(0) if len(self.stages) > 1 else self.stages[0]
            commit = {"sha": self.commits.pop(0)} if self.commits else {}
            wrong = {"errorMessage": "no module named nothing\nmore"} if "ERROR" in stage else {}
            return 200, {"stage": stage, "hardware": {"current": "cpu-basic"}} | wrong | commit
        if path.startswith(f"{space}/preupload/"):
            files = [{"path": each["path"], "uploadMode": "regular"} for each in json.loads(body)["files"]]
            return 200, {"files": [file | {"shouldIgnore": False, "oid": None} for file in files]}
        if path.startswith(f"{space}/tree/"):
            return 200, [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in self.files]
        if path.startswith(f"{space}/commit/"):
            return self._commit(body)
        if path.startswith(space):
            siblings = [{"rfilename": name} for name in self.files]
            about = {"id": "ann/lens", "sha": "1" * 40, "siblings": siblings, "host": self.host, "private": False}
            return 200, about | {"likes": 0, "tags": [], "subdomain": "ann-lens"}
        return 404, {"error": f"nothing at {path}"}

    def _commit(self, body):
        for line in body.decode().splitlines():
            step = json.loads(line)
            if step["key"] == "file":
                self.files[step["value"]["path"]] = base64.b64decode(step["value"]["content"])
            elif step["key"] == "deletedFile":
                del self.files[step["value"]["path"]]
        return 200, {"commitUrl": f"{self.url}/spaces/ann/lens/commit/{'2' * 40}", "commitOid": "2" * 40}


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.headers.get("transfer-encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            path = self.path.split("?")[0]
            if self.headers.get("authorization") != f"Bearer {TOKEN}":
                status, told = 401, {"error": "Invalid username or password."}
            else:
                status, told = hub.answer(self.command, path, body)
            content = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve

        def log_message(self, *_):
            pass

    return Handler
