"""The store that a command works on, opened so that looking never makes anything."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aether.errors import AetherError
from aether.nats.connection import Connection
from aether.nats.server import EmbeddedServer, parse_embedded_url
from aether.nats.streams import namespace_mode
from aether.store.jetstream import JetStreamEventStore
from aether.store.sole_owner import SoleOwnerStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether.cli.options import Settings

__all__ = ["START_S", "existing_namespace", "existing_store", "new_store", "running_server", "sole_owner"]

START_S = 10.0
"""What an embedded server may take to start, at least."""


@contextlib.asynccontextmanager
async def running_server(settings: Settings, *, may_create: bool) -> AsyncIterator[str]:
    """Yield the server's URL; an embedded one runs as long as this is entered.

    Args:
        settings: the shared options.
        may_create: whether an embedded server's directory may be made.

    Raises:
        AetherError: it may not, and is not there.
    """
    url = settings.url or ""
    directory = parse_embedded_url(url)
    if directory is None:
        yield url
        return
    if not may_create and not directory.is_dir():
        raise AetherError(f"{url}: there is no such directory; to fill one: aether import FILE --url {url}")
    async with EmbeddedServer(directory, timeout_s=max(START_S, settings.timeout_s)) as server:
        yield server.url


@contextlib.asynccontextmanager
async def new_store(settings: Settings, *, is_sharded: bool = False) -> AsyncIterator[JetStreamEventStore]:
    """Yield the store; its namespace is made if it is not there.

    Args:
        settings: the shared options.
        is_sharded: it is a namespace of cluster nodes, to be filled by the owner of whatever shard is written to.
    """
    opened = sole_owner if is_sharded else _store
    async with running_server(settings, may_create=True) as url, opened(settings, url) as store:
        yield store


@contextlib.asynccontextmanager
async def existing_store(settings: Settings) -> AsyncIterator[JetStreamEventStore]:
    """Yield the store of a namespace that is there; errors as `existing_namespace`."""
    async with existing_namespace(settings) as (url, _), _store(settings, url) as store:
        yield store


@contextlib.asynccontextmanager
async def existing_namespace(settings: Settings) -> AsyncIterator[tuple[str, str]]:
    """Yield the URL of a server where the namespace is there, and the namespace's mode.

    Raises:
        AetherError: it is not.
    """
    async with running_server(settings, may_create=False) as url:
        mode, _ = await look(settings, url)
        if mode is None:
            raise AetherError(
                f"{settings.url}: there is no namespace {settings.namespace!r}; name another with --namespace, "
                "or fill this one: aether import FILE"
            )
        yield url, mode


def _store(settings: Settings, url: str) -> JetStreamEventStore:
    return JetStreamEventStore(url, namespace=settings.namespace, timeout_s=settings.timeout_s, options=settings.options)


def sole_owner(settings: Settings, url: str) -> JetStreamEventStore:
    """Return a store of a sharded namespace that takes each shard that it writes to, from whoever has it."""
    return SoleOwnerStore(url, namespace=settings.namespace, timeout_s=settings.timeout_s, options=settings.options)


async def look(settings: Settings, url: str) -> tuple[str | None, int]:
    """Return the namespace's mode, None where it is not there, and the largest commit in bytes, without making anything."""
    connection = Connection(url, settings.timeout_s, settings.options)
    try:
        deadline = asyncio.get_running_loop().time() + settings.timeout_s
        mode = await namespace_mode(connection, settings.namespace, deadline, settings.timeout_s)
        return mode, connection.max_payload
    finally:
        await connection.aclose()
