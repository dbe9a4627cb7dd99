"""What browsers are told about this page: where scripts may come from, who may frame it, what it may not use."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterable
from html.parser import HTMLParser

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Send

FIXED = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
CLOSED_POLICY = "default-src 'none'; frame-ancestors 'none'"


class _InlineScripts(HTMLParser):
    """Collects the texts of script elements that have no source."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.texts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script" and "src" not in dict(attributes)
        if self._inside:
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def script_hashes(html: str) -> list[str]:
    """The CSP sources of a document's inline scripts: ``'sha256-…'`` of each text, as CSP Level 3 defines it."""
    parser = _InlineScripts()
    parser.feed(html)
    parser.close()
    digests = [hashlib.sha256(text.encode()).digest() for text in parser.texts]
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


class Policy:
    """The headers of every response. ``framed_by`` are the sites that may show the page in a frame."""

    def __init__(self, added_html: str = "", framed_by: Iterable[str] = ()) -> None:
        """``added_html`` is what the page's script puts into the head by itself; its scripts are ours too."""
        self._added = script_hashes(added_html)
        self._frames = " ".join(["'self'", *framed_by])

    def for_page(self, html: str) -> str:
        """The Content-Security-Policy of the page: its own scripts, whose texts are known by their hashes.

        Gradio compiles the code of its components with ``new Function``, which needs 'unsafe-eval', and sets styles on
        elements, which needs 'unsafe-inline' for styles. Nothing may be loaded from, or sent to, another place.
        """
        scripts = " ".join(["'self'", "'unsafe-eval'", *self._added, *script_hashes(html)])
        return (
            f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
            "font-src 'self' data:; connect-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; "
            f"manifest-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors {self._frames}"
        )

    def wrap(self, send: Send, request: Headers, request_id: str) -> Send:
        """A ``send`` that adds the headers, and takes away what gradio would allow other sites (CORS)."""
        held: Message = {}
        document = bytearray()

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message["headers"]))
                for name in [name for name in headers if name.startswith("access-control-")]:
                    del headers[name]
                for name, value in FIXED.items():
                    headers[name] = value
                headers["x-request-id"] = request_id
                message = {**message, "headers": headers.raw}
                if headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers:
                    held.update(message)
                    return
                headers.setdefault("content-security-policy", CLOSED_POLICY)
            elif held:
                document.extend(message.get("body", b""))
                if not message.get("more_body"):
                    await self._send_document(send, held, bytes(document), "gzip" in request.get("accept-encoding", ""))
                return
            await send(message)

        return guarded

    async def _send_document(self, send: Send, start: Message, document: bytes, compress: bool) -> None:
        headers = MutableHeaders(raw=start["headers"])
        headers.setdefault("content-security-policy", self.for_page(document.decode("utf-8", "replace")))
        if compress and document:
            document = gzip.compress(document, compresslevel=5)
            headers["content-encoding"] = "gzip"
            headers.add_vary_header("Accept-Encoding")
        if document:  # the answer to HEAD has none, and keeps the length it tells
            headers["content-length"] = str(len(document))
        await send({**start, "headers": headers.raw})
        await send({"type": "http.response.body", "body": document})
