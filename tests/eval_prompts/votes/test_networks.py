"""What a network that has seen a pair's sides may still say of it: not blind, not often, and once."""

from __future__ import annotations

import pytest

from eval_prompts.votes.store import MOST_VOTES_OF_A_NETWORK, Ratings
from eval_prompts.votes.vote_statistics import summarise
from tests.eval_prompts.votes.kept_pairs import shown
from tuning.errors import UserError

HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def ratings(tmp_path):
    ratings = Ratings(f"sqlite:///{tmp_path / 'ratings.sqlite'}")
    ratings.add_pair(shown("p", blind=True))
    yield ratings
    ratings.close()


def test_a_throwaway_visitor_does_not_make_the_next_one_blind(ratings):
    home = ratings.network_of(HOME)
    assert ratings.vote("p", "throwaway", "left", network=home).vote.blind
    ratings.undo("p", "throwaway")
    assert not ratings.vote("p", "another", "right", network=home).vote.blind
    assert ratings.vote("p", "stranger", "right", network=ratings.network_of(ELSEWHERE)).vote.blind


def test_votes_of_one_network_on_one_pair_are_bounded_and_count_once(ratings):
    home = ratings.network_of(HOME)
    for number in range(MOST_VOTES_OF_A_NETWORK):
        ratings.vote("p", f"s{number}", "left", network=home)
    with pytest.raises(UserError, match="enough votes on this pair from your network"):
        ratings.vote("p", "one more", "left", network=home)
    assert ratings.vote("p", "s0", "tie", network=home).vote.outcome == "tie", "a vote of before can be changed"
    ratings.vote("p", "stranger", "left", network=ratings.network_of(ELSEWHERE))
    found = summarise(ratings.votes())
    assert (found["counts"]["total"], found["repeated"]) == (MOST_VOTES_OF_A_NETWORK + 1, MOST_VOTES_OF_A_NETWORK - 1)


def test_a_network_is_kept_as_a_hash_of_this_database_alone(ratings, tmp_path):
    home = ratings.network_of(HOME)
    assert HOME not in home
    assert ratings.network_of("") == ""
    assert home != ratings.network_of(ELSEWHERE)
    again = Ratings(f"sqlite:///{tmp_path / 'ratings.sqlite'}")
    assert again.network_of(HOME) == home
    again.close()
    other = Ratings(f"sqlite:///{tmp_path / 'other.sqlite'}")
    assert other.network_of(HOME) != home
    other.close()
