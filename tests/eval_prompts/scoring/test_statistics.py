"""The paired statistics beside published examples, SciPy's own and simulations."""

from __future__ import annotations

import itertools
import math

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_rel

from eval_prompts.scoring.statistics import (
    agreement,
    compare,
    holm,
    mcnemar,
    mean_interval,
    pass_at_k,
    permutation,
    wilson,
)


def single(values):
    """One sample per question."""
    return [[float(value)] for value in values]


def test_mcnemar_is_the_exact_test_of_the_published_example():
    # A. Agresti, "Categorical Data Analysis" (2013), 11.1: 86 and 150 discordant; the approximate test has z = 4.17.
    assert mcnemar(86, 150) == pytest.approx(binomtest(86, 236).pvalue)
    assert mcnemar(86, 150) < 1e-4
    # J. Fleiss, "Statistical Methods for Rates and Proportions": 5 against 15.
    assert mcnemar(5, 15) == pytest.approx(2 * sum(math.comb(20, k) for k in range(6)) / 2**20)
    assert mcnemar(0, 0) == 1.0


def test_the_interval_of_paired_proportions_is_the_one_of_the_published_example():
    # D. Bonett and R. Price (2012): the adjusted Wald interval; by hand for 4 lost and 12 gained of 40.
    found = compare(single([1] * 10 + [1] * 4 + [0] * 12 + [0] * 14), single([1] * 10 + [0] * 4 + [1] * 12 + [0] * 14))
    more, less = 13 / 42, 5 / 42
    error = math.sqrt((more + less - (more - less) ** 2) / 42)
    assert (found.value, found.gained, found.lost, found.test) == (pytest.approx(0.2), 12, 4, "mcnemar")
    assert found.low == pytest.approx(more - less - 1.959964 * error)
    assert found.high == pytest.approx(more - less + 1.959964 * error)


def test_wilson_agrees_with_scipy_and_newcombes_table():
    # R. Newcombe (1998), table I: 81 of 263.
    assert wilson(81, 263) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    for wins, of in ((0, 7), (7, 7), (3, 10)):
        theirs = binomtest(wins, of).proportion_ci(method="wilson")
        assert wilson(wins, of) == (pytest.approx(theirs.low), pytest.approx(theirs.high))


def test_graded_scores_without_clusters_have_the_paired_t_interval():
    rng = numpy.random.default_rng(1)
    base, tuned = rng.random(40), rng.random(40)
    found = compare(single(base), single(tuned))
    theirs = ttest_rel(tuned, base).confidence_interval()
    assert (found.low, found.high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))
    assert found.test == "permutation"


def test_the_clustered_error_is_millers():
    # E. Miller (2024), equation 4, with the factor G/(G-1); clusters of two that move together count as half as many.
    differences = [0.1, 0.3, -0.2, 0.4, 0.0, 0.6]
    doubled = [value for value in differences for _ in range(2)]
    clusters = [number for number in range(6) for _ in range(2)]
    alone = compare(single([0.2] * 6), single([0.2 + d for d in differences]))
    twice = compare(single([0.2] * 12), single([0.2 + d for d in doubled]), clusters)
    assert twice.error == pytest.approx(alone.error)
    assert (twice.low, twice.high) == (pytest.approx(alone.low), pytest.approx(alone.high))
    assert twice.p_value == pytest.approx(alone.p_value)


@pytest.mark.parametrize("size", [2, 5, 9])
def test_the_permutation_test_is_exact_for_few_questions(size):
    values = numpy.random.default_rng(size).normal(0.3, 1, size)
    flips = [abs((numpy.array(signs) * values).sum()) for signs in itertools.product((1, -1), repeat=size)]
    exact = sum(total >= abs(values.sum()) - 1e-12 for total in flips) / len(flips)
    assert permutation(list(values)) == pytest.approx(exact)


def test_pass_at_k_is_the_mean_over_all_draws():
    for passed in range(6):
        for k in range(1, 6):
            draws = list(itertools.combinations([True] * passed + [False] * (5 - passed), k))
            assert pass_at_k(5, passed, k) == pytest.approx(sum(map(any, draws)) / len(draws))
    with pytest.raises(ValueError, match="needs at least 6"):
        pass_at_k(5, 1, 6)


def test_holm_is_the_textbook_example():
    # Holm's steps for 0.01, 0.04, 0.03 and 0.005, as R's p.adjust gives them.
    told = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert told == {
        "a": pytest.approx(0.03),
        "b": pytest.approx(0.06),
        "c": pytest.approx(0.06),
        "d": pytest.approx(0.02),
    }


def test_agreement_counts_equal_pairs():
    assert agreement([["x", "x", "y"], ["z", "z"], ["alone"]]) == pytest.approx((1 / 3 + 1) / 2)
    assert agreement([["a"], []]) is None


def test_nothing_that_differs_is_not_certainty():
    for scores in (single([0.0] * 5), [[0.4, 0.4]] * 5):
        found = compare(scores, scores)
        assert found.value == 0
        assert found.low < -0.2
        assert found.high > 0.2
        assert found.p_value == 1
        assert found.detectable > 0.3
    assert mean_interval(single([0] * 20)).high > 0.1
    assert mean_interval([]).of == compare([], []).of == 0


def test_questions_without_a_score_on_one_side_are_left_out():
    found = compare([[1.0], [], [0.0]], [[1.0], [1.0], [1.0]])
    assert (found.of, found.gained) == (2, 1)


def test_more_questions_are_asked_for_by_the_square_of_the_effect():
    found = compare(single([0, 1] * 50), single([1, 0] * 20 + [0, 1] * 30))
    assert found.more_for(found.detectable) == pytest.approx(0, abs=1)
    assert found.more_for(found.detectable / 2) == pytest.approx(3 * found.of, abs=2)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.lists(st.floats(0, 1), max_size=3), st.lists(st.floats(0, 1), max_size=3)), max_size=12))
def test_any_scores_give_an_interval_around_the_estimate(pairs):
    found = compare([one for one, _ in pairs], [other for _, other in pairs])
    assert -1 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 1
    assert 0 <= found.p_value <= 1
    mean = mean_interval([one for one, _ in pairs])
    assert 0 <= mean.low <= mean.value <= mean.high <= 1


def graded(rng, size, shift=0.0):
    """Three samples per question, which share the question's difficulty, of two sides ``shift`` apart."""
    hard = rng.beta(1, 1, size)
    draws = [rng.random((size, 3)) < numpy.clip(hard + moved, 0, 1)[:, None] for moved in (0.0, shift)]
    return [[list(map(float, row)) for row in drawn] for drawn in draws]


def binary(rng, size, shift=0.0):
    """One sample per question."""
    hard = rng.beta(1, 2, size)
    return [single(rng.random(size) < numpy.clip(hard + moved, 0, 1)) for moved in (0.0, shift)]


@pytest.mark.parametrize(("draw", "contests"), [(graded, 120), (binary, 400)])
def test_equal_sides_are_told_apart_in_at_most_five_percent(draw, contests):
    rng = numpy.random.default_rng(20)
    found = [compare(*draw(rng, 60)) for _ in range(contests)]
    false = sum(one.p_value < 0.05 for one in found)
    covered = sum(one.low <= 0 <= one.high for one in found)
    assert false <= contests * 0.05 + 2 * math.sqrt(contests * 0.05 * 0.95)
    assert covered >= contests * 0.95 - 2 * math.sqrt(contests * 0.05 * 0.95)


def test_the_smallest_effect_that_is_told_is_seen_in_four_of_five():
    rng = numpy.random.default_rng(5)
    hard, shift = 0.3, 0.0
    told = []
    for _ in range(40):
        told.append(compare(single(rng.random(200) < hard), single(rng.random(200) < hard)).detectable)
    shift = sum(told) / len(told)
    seen = [
        compare(single(rng.random(200) < hard), single(rng.random(200) < hard + shift)).p_value < 0.05
        for _ in range(300)
    ]
    assert 0.7 < sum(seen) / len(seen) < 0.9


def test_a_mean_of_samples_is_covered_by_its_interval():
    rng = numpy.random.default_rng(9)
    covered = [(one := mean_interval(graded(rng, 50)[0])).low <= 0.5 <= one.high for _ in range(400)]
    assert sum(covered) >= 400 * 0.95 - 2 * math.sqrt(400 * 0.05 * 0.95)


@pytest.mark.parametrize("sign", [1, -1])
def test_differences_that_are_all_alike_are_as_sure_as_one_sample_of_as_many_questions(sign):
    sides = (0, 1)[::sign]
    once = compare(*(single([side] * 20) for side in sides))
    found = compare(*([[side] * 3] * 20 for side in sides))
    assert (found.low, found.high, found.error) == (once.low, once.high, once.error)
    assert found.low > 0 or found.high < 0


@pytest.mark.parametrize(("samples", "questions"), [([1, 1, 0], 25), ([1, 0, 0], 50), ([2 / 97], 25), ([0.3], 10)])
def test_the_interval_of_equal_scores_is_not_empty_whatever_rounding_leaves_of_their_spread(samples, questions):
    found = mean_interval([samples] * questions)
    value = sum(samples) / len(samples)
    assert (found.low, found.high) == pytest.approx(wilson(value * questions, questions))
