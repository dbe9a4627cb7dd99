"""The address to give to others, as text and as a QR code."""

from __future__ import annotations

import io
import ipaddress
import socket

EVERYWHERE = frozenset({"0.0.0.0", "::", ""})
A_NETWORK_AWAY = ("192.0.2.1", 9)
"""Nobody's address (RFC 5737): the system is asked by which of its own it would go there, and sends nothing."""


def address(host: str, port: int) -> str:
    """The address by which others on the network reach an app that listens on ``host``; '' where they cannot, or where
    it cannot be told."""
    if host in EVERYWHERE:
        host = own_address()
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return "" if host in ("", "localhost") else f"http://{host}:{port}/"
    if parsed.is_loopback or parsed.is_unspecified:
        return ""
    return f"http://[{host}]:{port}/" if parsed.version == 6 else f"http://{host}:{port}/"


def own_address() -> str:
    """This machine's own address on its network; '' where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(A_NETWORK_AWAY)
        except OSError:
            return ""
        return str(asked.getsockname()[0])


def code_for_terminal(text: str) -> str:
    """A QR code of half blocks, for a terminal."""
    import segno

    out = io.StringIO()
    segno.make(text, micro=False).terminal(out, compact=True)
    return out.getvalue()


def code_for_page(text: str) -> str:
    """A QR code as an SVG element, dark on light in either theme."""
    import segno

    drawn: str = segno.make(text, micro=False).svg_inline(scale=5, dark="black", light="white")
    return drawn
