"""Text of tokens one by one: joined it is the text, however the tokens arrive."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuning.data.pieces import Pieces, pieces_of


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40), cuts=st.lists(st.integers(0, 160), max_size=5))
def test_pieces_join_to_the_text_however_they_arrive(tiny_tokenizer, text, cuts):
    ids = tiny_tokenizer.encode(text, add_special_tokens=False)
    whole = pieces_of(ids, tiny_tokenizer.decode)
    assert "".join(whole) == tiny_tokenizer.decode(ids)
    growing = Pieces()
    for cut in sorted(min(cut, len(ids)) for cut in cuts):
        assert growing.of(ids[:cut], tiny_tokenizer.decode) == whole[:cut][: len(ids[:cut])] or "\ufffd" in text
    assert growing.of(ids, tiny_tokenizer.decode, complete=True) == whole


def test_a_half_character_waits_for_its_end_and_comes_out_where_there_is_none(tiny_tokenizer):
    ids = tiny_tokenizer.encode("a\u00e9", add_special_tokens=False)
    growing = Pieces()
    assert growing.of(ids[:2], tiny_tokenizer.decode) == ["a", ""]
    assert growing.of(ids[:2], tiny_tokenizer.decode, complete=True) == ["a", "\ufffd"]
    assert growing.of(ids[:2], tiny_tokenizer.decode, complete=True) == ["a", "\ufffd"]
    assert pieces_of(ids, tiny_tokenizer.decode) == ["a", "", "\u00e9"]
