"""The other servers of a cluster: where they are, as our own server names them, and as whom they are spoken to."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from aether.errors import ServersUnreachableError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from urllib.parse import ParseResult

    from aether.nats.lane import Lane
    from aether.nats.login import Server

__all__ = ["check_alone", "named_servers", "neighbour"]


def named_servers(source: Lane, own: str) -> dict[str, ParseResult]:
    """Return the addresses that a server names, each with its URL, but its own; none: it is alone, or no server advertises any.

    Args:
        source: a lane to the server.
        own: the server that has our subscriptions.

    Raises:
        ServersUnreachableError: by these addresses not every server can be found.
    """
    urls, info = [_parsed(url) for url in source.info.connect_urls], source.info
    named = {url.netloc: url for url in urls}
    shared = [f"nats://{netloc}" for netloc in named if sum(url.netloc == netloc for url in urls) > 1]
    if shared:
        raise ServersUnreachableError(tuple(f"{url}, which several servers give as their address" for url in shared))
    if info.server_id == own:
        here = source.server
        named = {netloc: url for netloc, url in named.items() if (url.hostname, url.port) != (here.host, here.port)}
    return named


def _parsed(url: str) -> ParseResult:
    return urlparse(f"nats://{url}")


def check_alone(own: ParseResult, named: Sequence[str]) -> None:
    """Raise where there are other servers: a witness speaks NATS's own protocol, and these are WebSocket's addresses."""
    if len(named) > 1:
        others = [url for url in named if url != own.netloc]
        raise ServersUnreachableError(tuple(f"{own.scheme}://{url}, over WebSocket" for url in others))


def neighbour(own: Server, url: ParseResult) -> Server:
    """Return another server of the cluster: an address has no name of its own for a certificate, so it has our server's."""
    try:
        ipaddress.ip_address(url.hostname or "")
    except ValueError:
        return own.login.server(url)
    return own.login.server(url, own.tls_hostname)
