"""Where and how large: what every scenario is given."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import nats

from aether.errors import AetherError
from aether.store.jetstream import JetStreamEventStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from nats.aio.client import Client

__all__ = ["PAYLOAD", "Setting", "check"]

TIMEOUT_S = 30.0
PAYLOAD = {"v": "x" * 123}
"""128 bytes as msgpack."""


@dataclass(frozen=True)
class Setting:
    """What a scenario is given.

    Attributes:
        url: a running server.
        size: how much is done and how often; "full" is what figures in documents are taken with, "once" what tests take.
        say: tells what is being done, for whoever waits.
        nats_command: the official command-line tool, where there is one; it is a further baseline then.
        messages: among how many messages `load` looks; None: as many as the size says.
    """

    url: str
    size: Literal["once", "quick", "ci", "full"]
    say: Callable[[str], None]
    nats_command: str | None = None
    messages: int | None = None

    def count(self, quick: int, ci: int, full: int) -> int:
        """Return how much is done."""
        return {"once": quick // 25, "quick": quick, "ci": ci, "full": full}[self.size]

    def repetitions(self, quick: int, ci: int, full: int) -> int:
        """Return how often."""
        return {"once": 2, "quick": quick, "ci": ci, "full": full}[self.size]

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Yield a stock nats-py client, for the baselines."""
        client = await nats.connect(self.url, pending_size=64 * 2**20)
        try:
            yield client
        finally:
            await client.close()

    @contextlib.asynccontextmanager
    async def store(self) -> AsyncIterator[JetStreamEventStore]:
        """Yield a store on a namespace of its own, whose streams are deleted afterwards."""
        namespace = f"bench-{secrets.token_hex(4)}"
        try:
            async with JetStreamEventStore(self.url, namespace=namespace, timeout_s=TIMEOUT_S) as store:
                yield store
        finally:
            async with self.client() as client:
                for stream in (f"AETHER-EVENTS-{namespace}", f"AETHER-SNAPSHOTS-{namespace}"):
                    await client.jetstream().delete_stream(stream)

    @contextlib.asynccontextmanager
    async def bare_stream(self) -> AsyncIterator[str]:
        """Yield the name of a plain stream, which takes NAME.>, for what does without a store; deleted afterwards."""
        name = f"BENCH-{secrets.token_hex(4)}"
        async with self.client() as client:
            await client.jetstream().add_stream(name=name, subjects=[f"{name}.>"], allow_direct=True)
            try:
                yield name
            finally:
                await client.jetstream().delete_stream(name)


def check(*, holds: bool, what: str) -> None:
    """Refuse a comparison whose sides did not do the same.

    Raises:
        AetherError: it does not hold.
    """
    if not holds:
        raise AetherError(f"the comparison is void: {what}")
