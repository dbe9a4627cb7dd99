"""What may stand between this program and the Hub, apart from its own faults."""

from __future__ import annotations


def hub_errors() -> tuple[type[Exception], ...]:
    """The exceptions by which the Hub, the way there or its cache on the disk refuse: what a caller may go on without.
    Any other is a fault of the program, and not to be passed over."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    # Its HTTP library, which differs between its versions, has a base of all its errors; an answer that is no JSON and
    # a name that is none are ValueErrors.
    return (*HfHubHTTPError.__bases__, OSError, EntryNotFoundError, ValueError)
