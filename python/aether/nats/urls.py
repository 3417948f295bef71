"""NATS URLs: taken apart, judged, and shown without credentials."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["parse_urls", "redacted"]

SCHEMES = ("nats", "tls", "ws", "wss")


def parse_urls(urls: str) -> list[str]:
    """Split URLs joined by commas.

    Raises:
        ValueError: one of them is no NATS URL.
    """
    servers = [url.strip() for url in urls.split(",")]
    for url in servers:
        scheme, separator, rest = url.partition("://")
        if not rest or not separator or scheme not in SCHEMES:
            raise ValueError(f"{redacted(url)!r} is no NATS URL; type nats://HOST:PORT, or embedded:DIR for a server of its own")
        try:
            whole = urlsplit(url)
            sound = bool(whole.hostname) and whole.port != 0
        except ValueError:
            sound = False
        if not sound:
            raise ValueError(f"{redacted(url)!r} has no host, or a port that is none (1 to 65535); type nats://HOST:PORT")
    return servers


def redacted(url: str) -> str:
    """Return the URL without credentials."""
    scheme, separator, rest = url.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    return f"{scheme}{separator}{host}" if separator else url.rpartition("@")[2]
