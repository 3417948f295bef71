"""URLs and other words of a store's constructor, judged before anything is connected."""

from __future__ import annotations

from typing import Any

import pytest

from aether import JetStreamEventStore
from aether.nats.urls import parse_urls, redacted


def test_several_urls_are_split() -> None:
    """URLs joined by commas are servers of one cluster."""
    assert parse_urls("nats://a:1, tls://u:p@b,nats://[::1]:4222") == ["nats://a:1", "tls://u:p@b", "nats://[::1]:4222"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:4222",
        "http://a",
        "nats://",
        "nats://:4222",
        "nats://a:abc",
        "nats://a:99999",
        "nats://a:0",
        "nats://[::1",
        "nats://a,",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    """A URL without scheme, host or a port that can be one is a ValueError that says what to type."""
    with pytest.raises(ValueError, match="nats://HOST:PORT"):
        JetStreamEventStore(url)


def test_no_credentials_are_shown() -> None:
    """What an error shows of a URL holds neither user nor password."""
    assert redacted("nats://user:secret@host:4222") == "nats://host:4222"
    with pytest.raises(ValueError, match="nats://host:0") as caught:
        JetStreamEventStore("nats://user:secret@host:0")
    assert "secret" not in str(caught.value)


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("argument", "value"),
    [("timeout_s", 0), ("timeout_s", -1), ("timeout_s", INF), ("timeout_s", NAN), ("replicas", 0), ("replicas", True)],
)
def test_arguments_out_of_range_are_refused(argument: str, value: Any) -> None:
    """A time or a number of replicas that cannot be is a ValueError that names it."""
    with pytest.raises(ValueError, match=argument):
        JetStreamEventStore("nats://localhost", **{argument: value})
