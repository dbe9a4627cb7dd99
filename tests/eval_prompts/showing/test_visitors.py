"""Stop ends what is written for its visitor, whenever it is pressed."""

from eval_prompts.showing.visitors import Visitors


class Stream:
    """Tells snapshots until it is cancelled."""

    cancelled = False

    def snapshots(self):
        while not self.cancelled:
            yield []

    def cancel(self):
        self.cancelled = True


def test_a_stop_between_two_pages_ends_the_next_one():
    """Its request is under way by then, but nobody follows it yet."""
    visitors, stream = Visitors(), Stream()
    stopped = visitors.begin("me")
    visitors.begin("another")
    visitors.stop("me")
    assert list(visitors.follow(stream, "me")) == []
    assert stopped()
    other = visitors.follow(Stream(), "another")
    assert next(other) == []
    visitors.stop("another")
    assert list(other) == []


def test_a_stop_ends_what_was_asked_before_it_alone():
    visitors = Visitors()
    visitors.begin("me")
    visitors.stop("me")
    stopped = visitors.begin("me")
    assert next(visitors.follow(Stream(), "me")) == []
    assert not stopped()
