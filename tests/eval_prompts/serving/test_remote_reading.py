"""Texts read by servers elsewhere: a stand-in that tells as vLLM does, and those that tell less or nonsense."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_prompts.serving.endpoint import Endpoint
from eval_prompts.serving.remote_reading import read_remote, start_of
from tuning.errors import UserError

MESSAGES = ({"role": "user", "content": "Why?"},)
PROMPT = ["<user>", "Why?", "<assistant>"]


class Server:
    """Cuts texts into words of ``width`` letters; ``told`` makes what it tells of a place."""

    def __init__(self):
        self.width, self.status, self.asked = 2, 200, []
        self.new, self.over, self.pieces = list(PROMPT), list(PROMPT), None
        self.told = lambda piece, lead: {
            "7": {"logprob": -2.0, "rank": 11, "decoded_token": piece},
            "3": {"logprob": -0.1 * lead, "rank": 1, "decoded_token": "so"},
            "4": {"logprob": -3.0, "rank": 2, "decoded_token": "no"},
        }
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.asked.append((self.path, asked))
                chat = self.path.endswith("/chat/completions")
                self.send_response(server.status if chat else 404)
                self.end_headers()
                self.wfile.write(json.dumps(server.answer(asked) if chat else {}).encode())

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, asked):
        if self.told is None:
            return {"choices": []}
        pieces = list(self.new)
        if asked["continue_final_message"]:
            text, width = asked["messages"][-1]["content"], self.width if asked["model"] == "base" else self.width + 1
            cut = [text[at : at + width] for at in range(0, len(text), width)]
            pieces = [*self.over, *(self.pieces or cut)]
        lead = 1 if asked["model"] == "base" else 2
        return {"prompt_logprobs": [None, *(self.told(piece, lead) for piece in pieces[1:])]}

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server():
    stand_in = Server()
    yield stand_in
    stand_in.close()


def sides(server):
    return {side: Endpoint(server.url, side) for side in ("base", "tuned")}


def test_both_sides_tell_of_the_same_text_in_tokens_of_their_own(server):
    found = read_remote(sides(server), MESSAGES, "abcdefgh")
    assert found.pieces == ["abcdef", "gh"]
    assert [entry.base.logprob for entry in found.scores] == [-6.0, -2.0]
    assert [entry.tuned.logprob for entry in found.scores] == [-4.0, -2.0]
    assert found.scores[0].base.rank == 11
    assert [found.choices["base"][token] for token, _ in found.scores[0].base.top] == ["so", "no", "ab"]
    assert found.prompt_tokens == 3
    assert found.scores[0].same_top
    json.dumps(found.to_dict(), allow_nan=False)
    asked = server.asked[0][1]
    assert (asked["prompt_logprobs"], asked["add_generation_prompt"]) == (8, False)
    assert asked["messages"][-1] == {"role": "assistant", "content": "abcdefgh"}


@pytest.mark.parametrize(
    ("new", "over"),
    [
        ([], ["<think>", "\n\n", "</think>", "\n\n"]),  # an empty draft before an answer that is over
        (["<think>", "\n"], []),  # a new answer's prompt opens the draft
        (["<think>"], ["\n\n"]),
        (["<think>"], ["</think>"]),
    ],
)
@pytest.mark.parametrize("text", ["abcdefgh", "ab ab ab", "\u00e9t\u00e9 so"])
def test_a_templates_other_beginning_is_no_part_of_the_answer(server, new, over, text):
    server.new, server.over = [*PROMPT, *new], [*PROMPT, *over]
    found = read_remote(sides(server), MESSAGES, text)
    assert "".join(found.pieces) == text
    assert found.prompt_tokens == 3 + len(over)
    assert sum("another beginning" in note for note in found.notes) == 2
    assert "<think>" not in json.dumps([found.pieces, *(str(top) for top in found.scores)])


def test_a_text_that_a_server_writes_otherwise_is_refused(server):
    server.pieces = ["other", " words"]
    with pytest.raises(UserError, match="writes this text otherwise"):
        read_remote(sides(server), MESSAGES, "abcdefgh")


@pytest.mark.parametrize(
    ("pieces", "text", "expected", "start"),
    [
        (["x", "ab", "c"], "abc", 1, 1),
        (["x", "ab", "c"], "abc", 2, 1),
        (["x", "ab", "c"], "abc", 7, 1),
        (["x", "\n", "ab", " c"], "ab c", 1, 2),
        (["x", "\n", "ab", " c"], "\nab c", 1, 1),
        (["x", "\ufffd", "\ufffd", "\ufffd", "!"], "\U0001f600!", 0, 1),
        (["x", "", "", "\U0001f600", "!"], "\U0001f600!", 0, 1),
        (["x", "\u597d", "\ufffd", "\ufffd\ufffd", "a"], "\u597d\U0001f600a", 9, 1),
        (["x", "a", "\ufffd", "b"], "acb", 1, None),
        (["x", "a", "\ufffd", "b"], "a\u00e9\u00e8b", 1, None),
        (["ab"], "cab", 0, None),
        (["x", " ", " "], "  ", 1, 1),
        (["x", " ", "a"], "  ", 1, None),
        (["x", "\n", "\n", "ab"], "\nab", 1, 2),
        (["x", "", "ab"], "ab", 1, 1),
        (["x", "", "ab"], "ab", 9, 2),
        (["x", "a\ufffd", "\ufffd"], "a\u00a0", 9, 1),
        (["x", "a", "b"], "a\u00a0b", 9, 1),
        ([], "a", 0, None),
    ],
)
def test_where_a_text_begins_among_tokens(pieces, text, expected, start):
    assert start_of(pieces, text, expected) == start


@given(st.text(min_size=1, max_size=12), st.sampled_from(["<think>", "\n\n", "</think>\n", ""]), st.integers(0, 5))
@settings(max_examples=50)
def test_a_text_cut_into_bytes_is_found_again_whole(text, before, expected):
    """As a server tells of tokens that are parts of characters."""
    parts = [text.encode()[at : at + 2].decode("utf-8", "replace") for at in range(0, len(text.encode()), 2)]
    found = start_of([before, *parts], text, expected)
    if text.strip() and not text[0].isspace():
        assert found == (1 if before or (expected != 0 and text[0].isascii()) else 0)


@pytest.mark.parametrize(
    "told",
    [
        None,
        lambda piece, lead: None,
        lambda piece, lead: {},
        lambda piece, lead: {"7": {"logprob": "much", "rank": 1, "decoded_token": piece}},
        lambda piece, lead: {"7": 5},
    ],
)
def test_who_tells_nothing_is_named_in_one_sentence(server, told):
    server.told = told
    with pytest.raises(UserError, match="The base side's server tells no log-probabilities"):
        read_remote(sides(server), MESSAGES, "abc")


def test_refusals_and_silence_are_said(server):
    server.status = 400  # the parameter is not known there
    with pytest.raises(UserError, match="tells no log-probabilities"):
        read_remote(sides(server), MESSAGES, "abc")
    server.status = 401
    with pytest.raises(UserError, match=r"refused \(401\)"):
        read_remote(sides(server), MESSAGES, "abc")
    with pytest.raises(UserError, match="does not answer"):
        read_remote(dict.fromkeys(("base", "tuned"), Endpoint("http://127.0.0.1:9/v1", "m")), MESSAGES, "abc")
    with pytest.raises(UserError, match="no text"):
        read_remote(sides(server), MESSAGES, "")
