"""Where pairs of answers and people's votes on them are kept: SQLite by default, any SQLAlchemy URL.

A vote is on disk when ``vote`` returns. There is one vote for each pair and session; a further one changes it. Four
different things can be said of a pair, and they are kept as four different things.
"""

from __future__ import annotations

import hmac
import os
import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from eval_prompts.votes.blindness import knows_another_turn, still_blind, tellable, turns_of, votes_beside
from eval_prompts.votes.records import (
    WHOLE,
    Answered,
    Choice,
    Contest,
    ShownPair,
    Vote,
    VotedPair,
    check_same,
    check_vote,
    is_name,
    storable,
)
from tuning.errors import UserError
from tuning.files import data_root

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

BUSY_SECONDS = 15.0
MOST_VOTES_OF_A_NETWORK = 4
"""Beside a session's own: on one pair, which was shown to one of them."""
SAME_SECONDS = 1e-5
"""Times that were written down and read again differ by less."""


def default_url() -> str:
    """Where votes are kept unless another place is named: DATABASE_URL, or a file in the user's data folder."""
    return os.environ.get("DATABASE_URL") or f"sqlite:///{data_root().absolute() / 'ratings.sqlite'}"


class Ratings:
    """The store. All methods may be called from any thread; each raises UserError, in one line, if the database
    cannot be read or written."""

    def __init__(self, url: str) -> None:
        """Opens the database, and makes it if need be; ``url`` is SQLAlchemy's (``sqlite:////folder/file``)."""
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        from eval_prompts.votes import tables

        try:
            self._url = make_url(url)
        except (ArgumentError, ValueError):
            raise UserError("The ratings database's address is not a URL such as sqlite:////folder/file.") from None
        self._writing = threading.Lock()
        self._translated = partial(tables.translated, self._name)
        with self._translated():
            self._engine = tables.open_engine(self._url, BUSY_SECONDS)
            try:
                tables.make(self._engine, self._name)
            except BaseException:
                self._engine.dispose()
                raise
        self._pairs, self._votes, self._keys = tables.pairs, tables.votes, tables.keys
        self._key: str | None = None
        self._prepare()

    def _prepare(self) -> None:
        """The statements of a vote, built once: building one takes longer than running it."""
        from sqlalchemy import bindparam

        pairs, votes = self._pairs.c, self._votes.c
        self._one_pair = self._pairs.select().where(pairs.id == bindparam("pair_id"))
        mine = (votes.pair_id == bindparam("pair_id")) & (votes.session == bindparam("session"))
        self._one_vote = self._votes.select().where(mine)
        vote = self._insert(self._votes)
        new = {name: vote.excluded[name] for name in votes.keys()}  # noqa: SIM118
        self._put_vote = vote.on_conflict_do_update(index_elements=["pair_id", "session"], set_=new)

    def add_pair(self, pair: ShownPair) -> None:
        """Keep a pair; one that is kept already stays as it is. What no text may hold is replaced (``storable``)."""
        values = storable(asdict(pair) | {"adapter": pair.tuned.fingerprint})
        with self._write() as connection:
            connection.execute(self._insert(self._pairs).values(values).on_conflict_do_nothing())

    def set_verdicts(self, pair_id: str, base: dict[str, Any], tuned: dict[str, Any]) -> None:
        """Add what the machine found about both answers of a pair that is kept."""
        table = self._pairs.c
        with self._write() as connection:
            row = connection.execute(self._pairs.select().where(table.id == pair_id)).first()
            if row is None:
                return
            found = storable({"base": base, "tuned": tuned})
            sides = {side: getattr(row, side) | {"verdict": verdict} for side, verdict in found.items()}
            connection.execute(self._pairs.update().where(table.id == pair_id).values(sides))

    def pair(self, pair_id: str) -> ShownPair:
        """A pair that is kept. Raises UserError if there is none of that id."""
        with self._read() as connection:
            return self._find(connection, pair_id)

    def is_revealed(self, pair: ShownPair) -> bool:
        """Whether anybody has been told who is who in a pair that is kept: it was not blind, or was voted on."""
        if not pair.blind:
            return True
        with self._read() as connection:
            votes = self._votes.select().where(self._votes.c.pair_id.in_(turns_of(pair))).limit(1)
            return connection.execute(votes).first() is not None

    def vote(
        self,
        pair_id: str,
        session: str,
        choice: Choice,
        *,
        streaming: bool = False,
        reasons: Sequence[str] = (),
        comment: str = "",
        network: str = "",
    ) -> VotedPair:
        """Record a session's vote on a pair, or change it; durable when this returns.

        A choice made after the session, or anyone of its ``network`` (see ``network_of``), has seen who is who is not
        blind. Raises UserError for an unknown pair, choice or reason, for a comment that is too long, and for a pair
        on which a network has voted often.
        """
        choice, reasons, comment = check_vote(choice, reasons, comment)
        if not is_name(session):
            raise UserError("The vote does not say whose it is: reload the page and vote again.")
        now = time.time()
        with self._write() as connection:
            pair = self._find(connection, pair_id)
            old = connection.execute(self._one_vote, {"pair_id": pair_id, "session": session}).first()
            beside = votes_beside(connection, pair_id, session, network)
            knows = beside or knows_another_turn(connection, pair, session, network)
            if old is None and beside >= MOST_VOTES_OF_A_NETWORK:
                raise UserError("There are enough votes on this pair from your network: vote on another one.")
            values = {
                "pair_id": pair_id,
                "session": session,
                "choice": choice,
                "outcome": pair.outcome(choice),
                "streaming": streaming or (old is not None and old.streaming),
                "blind": still_blind(pair, old, choice, bool(knows)),
                "reasons": list(reasons),
                "comment": comment,
                "created": old.created if old is not None else now,
                "changed": now,
                "withdrawn": False,
                "network": old.network if old is not None else network,
            }
            connection.execute(self._put_vote, values)
        return VotedPair(pair, _vote(values))

    def network_of(self, address: str) -> str:
        """What is kept of a network address: a hash with this database's own key, so that votes from one network can
        be told without the address; '' for an unknown one."""
        if not address:
            return ""
        if self._key is None:
            self._key = self._own_key()
        return hmac.new(self._key.encode(), address.encode("utf-8", "replace"), "sha256").hexdigest()[:32]

    def _own_key(self) -> str:
        """The key of this database, made when it is first needed; the one that was first stays."""
        fresh = {"name": "network", "value": secrets.token_hex(32)}
        with self._write() as connection:
            connection.execute(self._insert(self._keys).values(fresh).on_conflict_do_nothing())
            chosen = self._keys.select().where(self._keys.c.name == "network")
            return str(connection.execute(chosen).one().value)

    def put_back(self, votes: Sequence[VotedPair]) -> tuple[int, int]:
        """Keep votes of elsewhere with their pairs, in one transaction: how many were new, and how many were newer than
        the one kept, which they replace. One that was taken back here is not put back.

        Raises UserError where a pair of that id was shown otherwise: what a click means depends on it.
        """
        new = newer = 0
        with self._write() as connection:
            for voted in votes:
                pair = storable(asdict(voted.pair) | {"adapter": voted.pair.tuned.fingerprint})
                connection.execute(self._insert(self._pairs).values(pair).on_conflict_do_nothing())
                kept = connection.execute(self._pairs.select().where(self._pairs.c.id == voted.pair.id)).one()
                check_same(_pair(kept), voted.pair)
                names = {"pair_id": voted.pair.id, "session": voted.vote.session}
                old = connection.execute(self._one_vote, names).first()
                if old is not None and voted.vote.changed <= old.changed + SAME_SECONDS:
                    continue
                new, newer = (new + 1, newer) if old is None else (new, newer + 1)
                values = asdict(voted.vote) | {"reasons": list(voted.vote.reasons), "withdrawn": False}
                connection.execute(self._put_vote, storable(values))
        return new, newer

    def undo(self, pair_id: str, session: str) -> bool:
        """Take a session's vote back; False if it has none. That it knows a blind pair's sides is remembered."""
        if not is_name(pair_id) or not is_name(session):
            return False
        votes = self._votes.c
        where = (votes.pair_id == pair_id) & (votes.session == session) & ~votes.withdrawn
        values = {"withdrawn": True, "blind": False, "comment": "", "reasons": [], "choice": "", "outcome": ""}
        with self._write() as connection:
            return connection.execute(self._votes.update().where(where).values(values)).rowcount > 0

    def votes(
        self,
        *,
        adapter: str | None = None,
        against: str | None = None,
        blind: bool | None = None,
        whole: bool | None = False,
    ) -> list[VotedPair]:
        """All votes in force, oldest first. Where asked, those alone on the answers of ``adapter``, compared with
        ``against`` (fingerprints of the tuned and of the base side), or given blind or not. Those on ``whole``
        conversations say again what those on their turns say: they are left out unless asked for, None being both."""
        pairs, votes = self._pairs, self._votes
        joined = pairs.join(votes, pairs.c.id == votes.c.pair_id)
        columns = [column.label(f"vote_{column.name}") for column in votes.c]
        query = pairs.select().add_columns(*columns).select_from(joined).where(~votes.c.withdrawn)
        if blind is not None:
            query = query.where(votes.c.blind == blind)
        if whole is not None:
            query = query.where((pairs.c.turn == WHOLE) == whole)
        query = self._between(query, adapter, against).order_by(votes.c.created, votes.c.pair_id)
        with self._read() as connection:
            rows = connection.execute(query).all()
        return [VotedPair(_pair(row), _vote({name: row._mapping[f"vote_{name}"] for name in VOTE})) for row in rows]

    def pairs(
        self, *, adapter: str | None = None, against: str | None = None, limit: int = 50, offset: int = 0
    ) -> list[ShownPair]:
        """Turns that may be told of, newest first: open ones, and blind ones that have been voted on."""
        turns = self._pairs.select().where(tellable() & (self._pairs.c.turn != WHOLE))
        query = self._between(turns, adapter, against)
        query = query.order_by(self._pairs.c.created.desc(), self._pairs.c.id).limit(limit).offset(offset)
        with self._read() as connection:
            return [_pair(row) for row in connection.execute(query)]

    def contests(self) -> list[Contest]:
        """Whose answers may be told of, and which they were compared with, the ones that were asked last first."""
        from sqlalchemy import func, select

        pairs = self._pairs
        parts = {
            "tuned": pairs.c.adapter,
            "base": pairs.c.base["fingerprint"].as_string(),
            "label": pairs.c.tuned["label"].as_string(),
            "base_label": pairs.c.base["label"].as_string(),
        }
        named = [part.label(name) for name, part in parts.items()]
        query = select(*named).where(tellable()).group_by(*named).order_by(func.max(pairs.c.created).desc())
        found: dict[tuple[str, str], Contest] = {}
        with self._read() as connection:
            for row in connection.execute(query):
                found.setdefault((row.tuned, row.base), Contest(*row))
        return list(found.values())

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @property
    def _name(self) -> str:
        """The database's own name, without folders, users and passwords."""
        return PurePath(self._url.database or "").name or self._url.host or "in memory"

    def _between(self, query: Any, adapter: str | None, against: str | None) -> Any:
        """A query restricted to the pairs of these sides."""
        if adapter is not None:
            query = query.where(self._pairs.c.adapter == storable(adapter))
        if against is not None:
            query = query.where(self._pairs.c.base["fingerprint"].as_string() == storable(against))
        return query

    def _find(self, connection: Connection, pair_id: str) -> ShownPair:
        row = None
        if is_name(pair_id):
            row = connection.execute(self._one_pair, {"pair_id": pair_id}).first()
        if row is None:
            raise UserError("There is no such pair of answers: ask again and vote on what you get.")
        return _pair(row)

    def _insert(self, table: Any) -> Any:
        from sqlalchemy.dialects import postgresql, sqlite

        return (postgresql if self._engine.dialect.name == "postgresql" else sqlite).insert(table)

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """One transaction; on disk at the end. This process writes one at a time, others are waited for."""
        writer = self._engine.execution_options(writes=True)
        with self._translated(), self._writing, writer.begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._translated(), self._engine.connect() as connection:
            yield connection


VOTE = tuple(Vote.__dataclass_fields__)


def _pair(row: Row[Any]) -> ShownPair:
    values = {name: getattr(row, name) for name in ShownPair.__dataclass_fields__}
    return ShownPair(**values | {side: Answered(**values[side]) for side in ("base", "tuned")})


def _vote(values: dict[str, Any]) -> Vote:
    return Vote(**{name: values[name] for name in VOTE} | {"reasons": tuple(values["reasons"])})
