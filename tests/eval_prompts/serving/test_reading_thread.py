"""One thread for works that come one after another."""

from __future__ import annotations

import threading

import pytest

from eval_prompts.serving.reading_thread import ReadingThread


def test_works_that_follow_one_another_share_a_thread():
    reading = ReadingThread(idle_seconds=60)
    assert reading.run(threading.get_ident) == reading.run(threading.get_ident) != threading.get_ident()


def test_it_ends_when_no_more_come_and_gives_back_once():
    reading, ended = ReadingThread(idle_seconds=0), threading.Event()
    given: list[str] = []

    def give_back() -> None:
        given.append("back")
        ended.set()

    first = reading.run(threading.current_thread, give_back=give_back)
    assert ended.wait(20)
    first.join(20)
    assert not first.is_alive()
    ended.clear()
    assert reading.run(threading.current_thread, give_back=give_back) is not first
    assert ended.wait(20)
    assert given == ["back", "back"]


def test_what_a_work_raises_is_raised_to_who_waits_and_the_next_goes_on():
    reading = ReadingThread(idle_seconds=60)
    with pytest.raises(ZeroDivisionError):
        reading.run(lambda: 1 // 0)
    assert reading.run(lambda: 2) == 2


def test_an_ending_that_fails_is_logged_and_reading_goes_on(caplog):
    reading, ended = ReadingThread(idle_seconds=0), threading.Event()
    reading.run(lambda: 1, breaks=lambda: 1 // 0, ends=ended.set)
    assert ended.wait(20)
    assert reading.run(lambda: 2) == 2
    assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records)


def test_many_at_once_are_done_one_by_one():
    reading, found, at_once = ReadingThread(idle_seconds=0), [], threading.Semaphore(1)

    def work(number: int) -> int:
        assert at_once.acquire(blocking=False)
        at_once.release()
        return number

    threads = [
        threading.Thread(target=lambda number=number: found.append(reading.run(lambda: work(number))))
        for number in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(found) == list(range(40))
