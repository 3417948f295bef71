"""A register of stores and buses with one planted bug each, and the contract's tests that have to catch it.

The bugs, in the modules broken_*.py, are those that stores and buses have had: a lost check, a falsy zero, an await in the wrong
place, a shared list, a cache. pytest does not collect them; test_planted_bugs.py has them run, to see them fail.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from plain_bus import PlainBus

from aether.testing import ArrowContract, BusContract, StoreContract, bus_contract_base

if TYPE_CHECKING:
    from collections.abc import Callable

    from third_store import ListStore

    from aether import InMemoryEventStore

WAIT_S = 0.3
"""What a test waits for what a broken bus never does, in seconds."""

CAUGHT_BY: dict[type[ListStore | InMemoryEventStore | PlainBus], tuple[str, ...]] = {}


def caught_by(*tests: str) -> Callable[[type[ListStore]], type[ListStore]]:
    """Name the tests of the contract that must fail on this store."""

    def register(store: type[ListStore]) -> type[ListStore]:
        _add(store, tests, StoreContract, {"store": pytest.fixture(lambda self: store())})
        return store

    return register


def arrow_caught_by(*tests: str) -> Callable[[type[InMemoryEventStore]], type[InMemoryEventStore]]:
    """Name the tests of the contract of columns that must fail on this store."""

    def register(store: type[InMemoryEventStore]) -> type[InMemoryEventStore]:
        _add(store, tests, ArrowContract, {"store": pytest.fixture(lambda self: store())})
        return store

    return register


def bus_caught_by(*tests: str) -> Callable[[type[PlainBus]], type[PlainBus]]:
    """Name the tests of the bus contract that must fail on this bus."""

    def register(broken: type[PlainBus]) -> type[PlainBus]:
        async def bus(self: object, monkeypatch: pytest.MonkeyPatch) -> Any:
            monkeypatch.setattr(bus_contract_base, "WAIT_S", WAIT_S)
            made = broken()
            yield made
            await PlainBus.aclose(made)

        _add(broken, tests, BusContract, {"bus": pytest.fixture(bus), "has_block": True})
        return broken

    return register


def _add(broken: type, tests: tuple[str, ...], contract: type, members: dict[str, Any]) -> None:
    CAUGHT_BY[broken] = tests
    # Only those run: pytest collects no None, and takes long to find hundreds of tests by their names.
    members |= dict.fromkeys(name for name in dir(contract) if name.startswith("test_") and name not in tests)
    made = type(f"Test{broken.__name__}", (contract,), members)
    setattr(sys.modules[broken.__module__], made.__name__, made)
