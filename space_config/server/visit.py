"""One request as the guard sees it: who asks, from where, for what. Headers are believed as far as they can be."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Scope

from space_config.server.roles import Role

PROXYS_HEADERS = (
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "forwarded", "x-real-ip",
)  # fmt: skip
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
NOBODYS_HEADERS = ("x-gradio-server",)
"""With these anyone could have gradio name another server as this page's own."""
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?)(?::\d{1,5})?")
"""A host and perhaps a port, and nothing after it: what stands behind the last colon would not be looked at else."""


class Visit:
    """One request. With ``trust_proxy``, the last address of X-Forwarded-For is the visitor's."""

    def __init__(self, scope: Scope, headers: Headers, trust_proxy: bool) -> None:
        self.scope, self.headers = scope, headers
        self.method: str = scope["method"]
        self.path: str = scope["path"].rstrip("/") or "/"
        self.query: str = scope.get("query_string", b"").decode("latin-1")
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
        self.address = network(self.address)
        self.own_origin = f"{scheme}://{netloc}".lower()
        match = HOST.fullmatch(netloc.lower())
        self.host = match[1].rstrip(".") if match else None
        """The host's name without its port; None where the header holds no such thing."""
        origin = headers.get("origin")
        self.origin = origin.lower() if origin is not None else None

    @property
    def from_another_site(self) -> bool:
        """Whether a browser says that another site's page sends this: by Origin, or, where that is missing, by
        Sec-Fetch-Site. Links from elsewhere may still be followed."""
        if self.origin is not None:
            return self.origin != self.own_origin
        return not self.reads and self.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")

    def forwarded(self, body_bytes: int | None = None) -> Scope:
        """The scope for gradio: the visitor's own address, and no header that only a proxy may set unless one is
        trusted. The page is told uncompressed, so that its scripts can be hashed."""
        headers = MutableHeaders(raw=list(self.scope["headers"]))
        for name in NOBODYS_HEADERS if self._trust_proxy else (*PROXYS_HEADERS, *NOBODYS_HEADERS):
            del headers[name]
        if self.path == "/":
            del headers["accept-encoding"]
        if body_bytes is not None:
            del headers["transfer-encoding"]
            headers["content-length"] = str(body_bytes)
        return dict(self.scope) | {"headers": headers.raw, "client": (self.address, 0), "lora_lens_role": self.role}


def network(address: str) -> str:
    """An address as one visitor's: of IPv6 the /64 network, since every home has a whole one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((parsed, 64), strict=False))
