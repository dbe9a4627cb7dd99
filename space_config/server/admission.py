"""The checks that need no body: may this request come in at all, and may it call that function now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from space_config.server import roles
from space_config.server.calls import Refused
from space_config.server.rate_limits import Buckets
from space_config.server.roles import Kind, Role
from space_config.server.visit import Visit

HEADER_BYTES = 32 * 2**10
CLASS_SIZE = 40
"""How many visitors behind one address are counted on where sessions are counted: one can take any number of names."""


@dataclass(frozen=True)
class Limits:
    """What the guard allows: calls per minute and address, open connections, bytes. 0 per minute means no limit."""

    asks_per_minute: int = 20
    writes_per_minute: int = 60
    requests_per_minute: int = 600
    connections_per_address: int = 64
    connections: int = 1000
    body_bytes: int = 256 * 2**10
    upload_bytes: int = 20 * 2**20
    per_session: bool = False
    """Calls are counted by sessions, as for a class behind one address, which may then do 40 times as much."""


class Admission:
    """Who comes in, and who may call what how often. ``hosts`` are the names under which the app may be reached,
    without ports; empty for any. ``disk_problem`` says why nothing more can be written, or ''."""

    def __init__(
        self, limits: Limits, hosts: frozenset[str], disk_problem: Callable[[], str], sign_in_hint: str
    ) -> None:
        self._hosts, self._disk_problem, self._hint = hosts, disk_problem, sign_in_hint
        self._per_session = limits.per_session
        times = CLASS_SIZE if limits.per_session else 1
        per_minute = (limits.requests_per_minute, limits.asks_per_minute, limits.writes_per_minute)
        self._all, *by_address = (Buckets(count * times) if count else None for count in per_minute)
        by_session = (Buckets(count) if count and limits.per_session else None for count in per_minute[1:])
        self._buckets = dict(zip((Kind.ASK, Kind.WRITE), zip(by_session, by_address, strict=True), strict=True))
        self.closing = False
        """True from the moment the app is asked to end: nothing new is begun."""

    def check(self, visit: Visit) -> None:
        """Raise Refused for a request that may not come in: too large a head, another host or site, too many."""
        if sum(len(name) + len(value) for name, value in visit.scope["headers"]) > HEADER_BYTES:
            raise Refused(431, "The request's headers are too large: delete this site's cookies.")
        if visit.host is None:
            raise Refused(400, "The request names no host that can be one.")
        if self._hosts and visit.host not in self._hosts:
            raise Refused(421, "This app does not serve that host name: set LORA_LENS_ALLOWED_HOSTS.")
        if visit.from_another_site:
            raise Refused(403, "This request comes from another site's page.")
        if visit.role < Role.OWNER and self._all is not None and (wait := self._all.take(visit.address)):
            raise Refused(429, f"Too many requests: try again in {wait} s.", wait)

    def check_read(self, visit: Visit) -> None:
        """Raise Refused for a route that is not read."""
        if roles.OPEN_ROUTES.fullmatch(visit.path) and not roles.CLOSED_QUERIES & visit.asked:
            return
        if visit.role >= Role.OWNER and roles.OWNER_ROUTES.fullmatch(visit.path):
            return
        raise Refused(404, "There is nothing here.")

    def check_may(self, visit: Visit, role: Role, kind: Kind, session: str = "") -> None:
        """Role first, then how often, by the visitor's ``session`` too where sessions are counted. Raises Refused."""
        if visit.role < role:
            raise Refused(403, f"Only the owner may do that: {self._hint}")
        if kind == Kind.READ:
            return
        if self.closing:
            raise Refused(503, "The app is shutting down: ask again once it is back.", 10)
        if problem := self._disk_problem():
            raise Refused(507, problem)
        if visit.role >= Role.OWNER:
            return
        own, of_address = self._buckets[kind]
        for buckets, key in ((own, f"{visit.address} {session[:64]}"), (of_address, visit.address)):
            if buckets is not None and (wait := buckets.take(key)):
                raise Refused(429, f"That is too fast: try again in {wait} s.", wait)
