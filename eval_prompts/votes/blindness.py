"""Who may know the sides of a pair: which pairs hide nothing, and what a voter has seen of others before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eval_prompts.votes.records import Choice, ShownPair

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row


def tellable() -> Any:
    """A condition on pairs: those that hide nothing, open ones and blind ones that have been voted on."""
    from eval_prompts.votes.tables import pairs, votes

    return ~pairs.c.blind | votes.select().where(votes.c.pair_id == pairs.c.id).exists()


def votes_beside(connection: Connection, pair_id: str, session: str, network: str) -> int:
    """How many others of a network have voted on a pair, and so know its sides; taken back or not."""
    from sqlalchemy import func, select

    from eval_prompts.votes.tables import votes

    if not network:
        return 0
    mine = (votes.c.pair_id == pair_id) & (votes.c.network == network) & (votes.c.session != session)
    return connection.execute(select(func.count()).select_from(votes).where(mine)).scalar_one()


def turns_of(pair: ShownPair) -> Any:
    """A query of the ids of all pairs of the conversation that a pair is a turn of: they have the same sides at the
    same places."""
    from eval_prompts.votes.tables import pairs

    both = (pairs.c.conversation == pair.thread) | (pairs.c.id == pair.thread) | (pairs.c.id == pair.id)
    return pairs.select().with_only_columns(pairs.c.id).where(both).scalar_subquery()


def knows_another_turn(connection: Connection, pair: ShownPair, session: str, network: str) -> bool:
    """Whether a session or its network has voted on another turn of the conversation, taken back or not."""
    from eval_prompts.votes.tables import votes

    same = votes.c.session == session
    if network:
        same |= votes.c.network == network
    where = votes.c.pair_id.in_(turns_of(pair)) & (votes.c.pair_id != pair.id) & same
    return connection.execute(votes.select().where(where).limit(1)).first() is not None


def still_blind(pair: ShownPair, old: Row[Any] | None, choice: Choice, knows: bool) -> bool:
    """Whether a vote is given without knowing the sides: the first on a blind pair by somebody who ``knows`` nothing of
    its conversation, or the same choice once more."""
    if old is None:
        return pair.blind and not knows
    return bool(old.blind) and bool(old.choice == choice)
