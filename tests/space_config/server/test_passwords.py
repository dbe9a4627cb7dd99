"""Guessing the owner's password, and the cookie that a right one gives."""

from __future__ import annotations

from tests.space_config.server.doors import PASSWORD, call, guard


def test_guessing_the_password_is_slow_and_says_nothing_of_it():
    door = guard()
    answers = [call(door, "POST", "/owner", data={"password": f"guess {number}"}) for number in range(8)]
    assert [answer.status_code for answer in answers] == [403] * 6 + [429] * 2
    assert "<p role=alert>Too many attempts: try again in" in answers[-1].text
    assert int(answers[-1].headers["retry-after"]) > 0
    assert PASSWORD not in "".join(answer.text + str(answer.headers) for answer in answers)


def test_the_cookie_is_out_of_scripts_reach_and_travels_in_frames_over_https_alone():
    plain = call(guard(), "POST", "/owner", data={"password": PASSWORD}).headers["set-cookie"].lower()
    assert "httponly" in plain
    assert "samesite=lax" in plain
    headers = {"x-forwarded-proto": "https"}
    framed = call(guard(trust_proxy=True), "POST", "/owner", data={"password": PASSWORD}, headers=headers)
    framed = framed.headers["set-cookie"].lower()
    assert "secure" in framed
    assert "samesite=none" in framed


def test_a_neighbour_behind_the_same_address_does_not_lock_the_owner_out():
    door = guard()
    first = call(door, "POST", "/owner", data={"password": PASSWORD})
    cookies = "; ".join(each.split(";")[0] for each in first.headers.get_list("set-cookie"))
    for number in range(8):
        call(door, "POST", "/owner", data={"password": f"guess {number}"})
    assert call(door, "POST", "/owner", data={"password": PASSWORD}).status_code == 429
    again = {"data": {"password": PASSWORD}, "headers": {"cookie": cookies}}
    assert call(door, "POST", "/owner", **again).status_code == 303
    assert call(door, "POST", "/owner/out", headers={"cookie": cookies}).status_code == 303
    assert call(door, "POST", "/owner", **again).status_code == 303, "signing out takes the browser nothing"


def test_a_known_browser_does_not_guess_faster():
    door = guard()
    first = call(door, "POST", "/owner", data={"password": PASSWORD})
    cookies = "; ".join(each.split(";")[0] for each in first.headers.get_list("set-cookie"))
    answers = [
        call(door, "POST", "/owner", data={"password": "guess"}, headers={"cookie": cookies}).status_code
        for _ in range(8)
    ]
    assert answers == [403] * 6 + [429] * 2
    forged = {"cookie": "lora-lens-device=forged"}
    for _ in range(6):
        call(door, "POST", "/owner", data={"password": "guess"}, headers=forged)
    assert call(door, "POST", "/owner", data={"password": PASSWORD}).status_code == 429, "a forged one is none"


def test_signing_in_often_is_no_guessing():
    door = guard()
    assert {call(door, "POST", "/owner", data={"password": PASSWORD}).status_code for _ in range(12)} == {303}
