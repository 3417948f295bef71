"""What every store refuses in the same words: arguments out of their range."""

from __future__ import annotations

from aether.errors import InvalidIdError

__all__ = [
    "check_after",
    "check_batch_size",
    "check_expected_version",
    "check_from_version",
    "check_ingest_bounds",
    "check_ingest_ways",
    "check_int",
    "check_is_seconds",
    "check_limit",
    "check_placing",
    "check_text",
    "check_timeout_s",
]

VERSION_MAX = 2**64 - 1
COUNT_MAX = 2**63 - 1
"""What a list can hold, and more than any memory does."""

TIMEOUT_S_MAX = 86_400
LINGER_S_MAX = 60
ON_CONFLICT = ("fail", "skip", "renumber")


def check_int(name: str, value: object, lowest: int, highest: int, meaning: str) -> None:
    """Refuse what is no int within bounds; `meaning` says which those are."""
    # True is an int to Python, and a flag in the wrong place to whoever wrote it.
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not lowest <= value <= highest:
        raise ValueError(f"{name} must be {meaning}, not {value}")


def check_text(what: str, value: object, most: int, *, least: int = 1) -> str:
    """Return a text, or refuse what is none, or has fewer or more bytes of UTF-8 than it may."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidIdError(what, value, "has a character that UTF-8 cannot write") from None
    if not least <= size <= most:
        raise InvalidIdError(what, value, f"has {size:,} bytes of UTF-8; {least} to {most} are allowed")
    return value


def check_is_seconds(name: str, seconds: object) -> None:
    """Refuse what is no number of seconds."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {type(seconds).__name__}")


def check_timeout_s(name: str, seconds: float) -> None:
    """Refuse what is no time to wait."""
    check_is_seconds(name, seconds)
    if not 0 < seconds <= TIMEOUT_S_MAX:
        raise ValueError(f"{name} must be more than 0 seconds, and at most {TIMEOUT_S_MAX:,}, not {seconds}")


def check_placing(timeout_s: float, replicas: int | None, storage: str | None) -> None:
    """Refuse what says in no way how a namespace is kept, or how long a call may take."""
    check_timeout_s("timeout_s", timeout_s)
    if isinstance(replicas, bool) or replicas not in (None, 1, 2, 3, 4, 5):
        raise ValueError(f"replicas must be 1 to 5, or None, not {replicas}")
    if storage not in (None, "file", "memory"):
        raise ValueError(f'storage must be "file" or "memory", or None, not {storage!r}')


def check_from_version(from_version: int) -> None:
    """Refuse what is no version to start from."""
    meaning = "0 to 2**64 - 1; it is inclusive, 0 and 1 both mean all events"
    check_int("from_version", from_version, 0, VERSION_MAX, meaning)


def check_limit(limit: int | None) -> None:
    """Refuse what is no limit."""
    if limit is not None:
        check_int("limit", limit, 1, COUNT_MAX, "1 to 2**63 - 1, or None for all events")


def check_after(after: int) -> None:
    """Refuse what is no position to go on from."""
    check_int("after", after, 0, VERSION_MAX, "0 (everything) to 2**64 - 1; it is a position")


def check_batch_size(batch_size: int) -> None:
    """Refuse what is no batch size."""
    check_int("batch_size", batch_size, 1, COUNT_MAX, "1 to 2**63 - 1")


def check_ingest_bounds(
    *,
    pending_max: int,
    pending_bytes_max: int,
    in_flight_max: int,
    commit_events_max: int,
    commit_bytes_max: int | None,
    known_ids_max: int,
) -> None:
    """Refuse what are no bounds of a pipeline."""
    check_int("pending_max", pending_max, 1, 1_000_000, "1 to 1,000,000 events")
    check_int("pending_bytes_max", pending_bytes_max, 1, COUNT_MAX, "1 to 2**63 - 1 bytes")
    check_int("in_flight_max", in_flight_max, 1, 65_536, "1 to 65,536 commits")
    check_int("commit_events_max", commit_events_max, 1, COUNT_MAX, "1 to 2**63 - 1 events")
    if commit_bytes_max is not None:
        check_int("commit_bytes_max", commit_bytes_max, 1, COUNT_MAX, "1 to 2**63 - 1 bytes, or None for what the server takes")
    check_int("known_ids_max", known_ids_max, 1, COUNT_MAX, "1 to 2**63 - 1 ids")


def check_ingest_ways(*, linger_s: float, skip_known: object, on_conflict: object) -> None:
    """Refuse what are no ways for a pipeline to go."""
    check_is_seconds("linger_s", linger_s)
    if not 0 <= linger_s <= LINGER_S_MAX:
        raise ValueError(f"linger_s must be 0 to {LINGER_S_MAX} seconds, not {linger_s}")
    if not isinstance(skip_known, bool):
        raise TypeError(f"skip_known must be True or False, not {type(skip_known).__name__}")
    if on_conflict not in ON_CONFLICT:
        raise ValueError(f"on_conflict must be one of {', '.join(map(repr, ON_CONFLICT))}, not {on_conflict!r}")


def check_expected_version(expected_version: int | None) -> None:
    """Refuse what is no expected version."""
    if expected_version is not None:
        meaning = "0 (the actor is new) to 2**64 - 1, or None for any"
        check_int("expected_version", expected_version, 0, VERSION_MAX, meaning)
