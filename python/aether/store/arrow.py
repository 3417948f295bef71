"""Events as Arrow record batches: what `store.arrow` of each store returns."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from aether._native import ArrowRows, ArrowTable, batch_schema
from aether.errors import AetherError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from aether._native import ArrowBatch

__all__ = ["ARROW_BATCH_SIZE", "EventColumns"]

ARROW_BATCH_SIZE = 65_536

TAKE_EVENTS = 4_096
"""So many events become rows at once, and nothing else runs meanwhile: about 4 ms."""


class EventColumns:
    """An `ArrowStream`.

    Args:
        fill: a read, from its beginning: puts events into rows, at most so many at once, and yields after each time.
        batch_size: how many rows a batch has at most.
    """

    def __init__(self, fill: Callable[[ArrowRows, int], AsyncGenerator[None]], batch_size: int) -> None:
        self._fill, self._batch_size = fill, batch_size

    async def __aiter__(self) -> AsyncIterator[ArrowBatch]:
        rows, failure = ArrowRows(self._batch_size), None
        try:
            async with aclosing(self._fill(rows, min(self._batch_size, TAKE_EVENTS))) as filling:
                async for _ in filling:
                    while (batch := rows.full()) is not None:
                        yield batch
        except AetherError as error:
            failure = error
        # Also before an error: what was read before it is given out, as `read_all` does.
        while (batch := rows.rest()) is not None:
            yield batch
        if failure is not None:
            raise failure

    async def collect(self) -> ArrowTable:
        """Read everything into memory; see `ArrowStream.collect`."""
        return ArrowTable([batch async for batch in self])

    def __arrow_c_schema__(self) -> object:
        """Return the columns, as an "arrow_schema" capsule."""
        return batch_schema()
