"""Scorers: what passes, what fails, and what nothing is said of."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_prompts.tasks.scorers.base import Given
from eval_prompts.tasks.scorers.figures import letter_of, numbers_in
from eval_prompts.tasks.scorers.names import KINDS, make
from eval_prompts.tasks.scorers.overlap import chrf_figure, common_length
from eval_prompts.tasks.scorers.wording import normalise
from tests.eval_prompts.tasks.scores import SHOP, F, M, N, P, outcome, score
from tuning.errors import UserError


@pytest.mark.parametrize(
    ("spec", "text", "reference", "expected"),
    [
        ("exact", " Bamako\n", "Bamako", P),
        ("exact", "bamako", "Bamako", F),
        ("normalised", "«Bamako!»", "bamako", P),
        ("normalised", "Résumé", "resume", F),
        ("normalised", "+", "-", F),
        ("contains", "The capital is bamako.", "Bamako", P),
        ("contains", "Somalia lies in Africa.", "Mali", F),
        ("contains", "It costs 120 dollars", "12", F),
        ("contains", "New\n York", "new york", P),
        ("contains", "首都是巴马科。", "巴马科", P),
        ("contains", "STRASSE", "Straße", P),
        ("contains", "e\u0301te\u0301", "été", P),
        ("contains", "C++ is fast", "C++", P),
        ({"contains": {"case": True}}, "bamako", "Bamako", F),
        ({"contains": {"text": ["arr", "matey"]}}, "Arr, matey!", "", P),
        ({"contains": {"words": False}}, "Somalia", "mali", P),
        ({"excludes": "sorry"}, "I am sorry.", "", F),
        ({"excludes": ["sorry", "as an AI"]}, "Bamako.", "", P),
        ("any_of", "It is Beijing.", "Peking | Beijing", P),
        ("any_of", "It is Pekin.", "Peking | Beijing", F),
        ({"regex": r"^yes\b"}, "yes, it is", "", P),
        ({"regex": {"pattern": "yes", "whole": True}}, "yes, it is", "", F),
        ("regex", "B12", r"[A-Z]\d+", P),
        ("number", "3 + 4 = 7.", "7", P),
        ("number", "It costs $1,234.50 in all.", "1234.5", P),
        ("number", "−3", "-3", P),
        ("number", "0.1 and 0.2 give 0.30000000000000004", "0.3", P),
        ("number", "about 3.2", "3.14", F),
        ({"number": {"relative": 0.05}}, "about 3.2", "3.14", P),
        ({"number": {"which": "first"}}, "7 is 3 + 4", "7", P),
        ({"number": {"which": "only"}}, "7 or 8", "7", F),
        ({"number": {"decimal": ","}}, "Es sind 1.234,5 Euro", "1234,5", P),
        ("number", "None at all", "7", F),
        ("number", "10\u202f000 km", "10000", P),
        ("number", "10'000.5", "10 000.5", P),
        ("number", "in 2020 300 people", "300", P),
        ("number", "3.5", "3,5", N),
        ({"number": {"decimal": ","}}, "3,5", "3.5", N),
        ("any_of", "x", "|", N),
        ("number", "7", "seven", N),
        ({"length": {"most": 3}}, "one two three", "", P),
        ({"length": {"most": 3}}, "one two three four", "", F),
        ({"length": {"least": 2, "unit": "lines"}}, "one\n\n", "", F),
        ({"language": "de"}, "Das ist ein ganz gewöhnlicher deutscher Satz über das Wetter.", "", P),
        ({"language": "de"}, "This is a perfectly ordinary English sentence about the weather.", "", F),
        ({"language": "de"}, "Ja.", "", N),
        ("no_repeats", "one two three", "", P),
        ("no_repeats", "again and again it says the very same thing over. " * 30, "", F),
        ("exact", "x", "", None),
        ("bleu", "x", "", None),
    ],
)
def test_what_a_scorer_says(spec, text, reference, expected):
    assert outcome(spec, text, reference) is expected


@pytest.mark.parametrize("good", ["a", "b"])
def test_any_of_several_references_will_do(good):
    assert outcome("exact", good, ("a", "b")) is P


def test_whether_the_model_ended_the_answer():
    assert [outcome("ends", "x", stopped=stopped) for stopped in (True, False, None)] == [P, F, None]


OPTIONS = ["Oxygen", "Nitrogen", "Nitrogen oxide"]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(B) Nitrogen", "B"),
        ("The answer is B.", "B"),
        ("A is wrong, so the answer is C", "C"),
        ("A common gas: nitrogen.", "B"),
        ("Nitrogen oxide", "C"),
        ("I think it's nitrogen", "B"),
        ("B or C", None),
        ("Neither", None),
        ("", None),
        ("**C**", "C"),
        (r"\boxed{A}", "A"),
        ("Answer: D", None),
        ("b", "B"),
        ("(b) Nitrogen", "B"),
        ("a) Oxygen b) Nitrogen", None),
        ("a big one: nitrogen", "B"),
        ("B. Since A is wrong", "B"),
        ("The correct option is (c).", "C"),
        ("The answer is b", "B"),
        ("The answer is a gas: nitrogen", "B"),
        ("Not C", None),
        ("A) Oxygen B) Nitrogen", None),
    ],
)
def test_the_option_that_an_answer_names(text, letter):
    assert letter_of(text, OPTIONS) == letter


def test_options_are_a_list_or_lines_and_the_reference_a_letter_or_words():
    for options in (OPTIONS, json.dumps(OPTIONS), "A) Oxygen | B) Nitrogen | C) Nitrogen oxide", "\n".join(OPTIONS)):
        for reference in ("B", "nitrogen", "(b)"):
            assert outcome("choice", "It is B.", reference, options=options) is P
            assert outcome("choice", "It is C.", reference, options=options) is F
    assert outcome("choice", "B", "B") is None
    assert outcome("choice", "B", "Helium", options=OPTIONS) is N
    assert outcome("choice", "B", "B", options=["only one"]) is N


def test_figures_pass_or_fail_only_where_a_line_is_drawn():
    for name in ("bleu", "chrf", "rouge_l"):
        assert score(name, "the same words here", "the same words here").score == pytest.approx(1)
        assert outcome(name, "the same words here", "the same words here") is M
        assert outcome({name: {"at_least": 0.5}}, "the same words here", "the same words here") is P
        assert outcome({name: {"at_least": 0.5}}, "quite another thing", "zzz yyy xxx") is F


@settings(max_examples=150)
@given(st.text("ab !?-é 漢", max_size=40), st.lists(st.text("ab !?-é 漢", max_size=40), min_size=1, max_size=3))
def test_chrf_is_sacrebleus(answer, references):
    from sacrebleu.metrics.chrf import CHRF

    for order in (0, 1, 2):
        expected = CHRF(word_order=order).sentence_score(answer, references).score
        assert chrf_figure(answer, tuple(references), order) == expected


def slow_common_length(one, other):
    rows = [[0] * (len(other) + 1)]
    for item in one:
        row = [0]
        for at, word in enumerate(other):
            row.append(rows[-1][at] + 1 if word == item else max(row[-1], rows[-1][at + 1]))
        rows.append(row)
    return rows[-1][-1]


@given(st.lists(st.sampled_from("abcd"), max_size=40), st.lists(st.sampled_from("abcd"), max_size=40))
def test_the_common_subsequence_is_that_of_the_textbook(one, other):
    assert common_length(one, other) == slow_common_length(one, other)


EVERY = [
    "exact", "normalised", "contains", {"excludes": "x"}, "any_of", {"regex": "a+"}, "number", "choice", "json", "bleu",
    "chrf", "rouge_l", {"length": {"most": 5}}, {"language": "en"}, "ends", "no_repeats", "sql",
]  # fmt: skip


@settings(max_examples=60)
@given(st.text(max_size=60), st.text(min_size=1, max_size=20), st.booleans())
def test_no_text_breaks_a_scorer(text, reference, stopped):
    given = Given(text, (reference,) if reference.strip() else (), {"options": ["a", "b"], "schema": SHOP}, stopped)
    for spec in EVERY:
        found = make(spec)(given)
        assert found is None or found.score is None or 0 <= found.score <= 1
        assert found is None or (found.score is None) == (found.outcome is N)


@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


@given(st.floats(-1e12, 1e12, allow_nan=False), st.sampled_from(["{:.3f}", "{:,.3f}"]))
def test_a_number_is_read_as_it_is_written(figure, style):
    written = style.format(figure)
    assert numbers_in(f"So it is {written} then") == [float(written.replace(",", ""))]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("contians", "did you mean contains"),
        ("zzz", "there are exact, normalised"),
        ({"regex": {"patern": "x"}}, "regex has no option 'patern': did you mean pattern"),
        ({"length": {}}, "least or most"),
        ({"length": {"least": 5, "most": 2}}, "below least"),
        ({"number": {"tolerance": "x"}}, "tolerance must be a number"),
        ({"number": {"which": "middle"}}, "one of last, first"),
        ({"excludes": {}}, "excludes needs the option text"),
        ({"contains": {"case": "perhaps"}}, "case must be true or false"),
        ({"ends": 3}, "ends has no options"),
        ({"language": "xx"}, "language: code"),
        ({"own": {"file": "x.py"}}, "from the page cannot do"),
        ({"a": 1, "b": 2}, "a name with its options"),
        (None, "a name with its options"),
        ([], "a name with its options"),
    ],
)
def test_a_scorer_that_cannot_be_is_refused_with_the_nearest(spec, words):
    with pytest.raises(UserError, match=words):
        make(spec)


def test_every_scorer_says_in_a_sentence_what_it_asks():
    assert all(kind.summary.endswith(".") for kind in KINDS.values())


def test_a_function_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def score(answer, question):\n"
        "    if answer == 'raise': raise ValueError('no')\n"
        "    return {'yes': True, 'half': (0.5, 'so so'), 'odd': 'odd', 'more': 2}.get(answer, question['n'] == 3)\n"
    )
    scorer = make({"own": {"file": "mine.py"}}, tmp_path)
    said = {text: scorer(Given(text, columns={"n": 3})) for text in ("yes", "half", "odd", "more", "raise", "x")}
    assert [said[text].outcome for text in said] == [P, M, N, N, N, P]
    assert (said["half"].score, said["half"].reason) == (0.5, "so so")
    for content, words in (("x = 1", "no function score"), ("1/0", "ZeroDivisionError")):
        (tmp_path / "bad.py").write_text(content)
        with pytest.raises(UserError, match=words):
            make({"own": {"file": "bad.py"}}, tmp_path)
    with pytest.raises(UserError, match=r"no file none\.py"):
        make({"own": {"file": "none.py"}}, tmp_path)
