"""A register of stores with one planted bug each, and the contract's tests that have to catch it.

The bugs, in the modules broken_*.py, are those that stores have had: a lost check, a falsy zero, an await in the wrong place,
a shared list, a cache. pytest does not collect them; test_planted_bugs.py has them run, to see them fail.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from aether.testing import StoreContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from third_store import ListStore

CAUGHT_BY: dict[type[ListStore], tuple[str, ...]] = {}


def caught_by(*tests: str) -> Callable[[type[ListStore]], type[ListStore]]:
    """Name the tests of the contract that must fail on this store."""

    def register(store: type[ListStore]) -> type[ListStore]:
        CAUGHT_BY[store] = tests
        contract = type(f"Test{store.__name__}", (StoreContract,), {"store": pytest.fixture(lambda self: store())})
        setattr(sys.modules[store.__module__], contract.__name__, contract)
        return store

    return register
