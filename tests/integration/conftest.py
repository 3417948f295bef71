"""Where tests are quick, commands start fast, and shards move without a rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Size


@pytest.fixture(scope="session", autouse=True)
def _commands_start_fast(size: Size) -> Iterator[None]:
    """Fork commands from a process that has imported what they need, but only where tests are quick."""
    if size.name != "quick":
        yield
        return
    from warm_commands import warm_commands

    with warm_commands():
        yield


@pytest.fixture(autouse=True)
def _shards_move_fast(size: Size) -> Iterator[None]:
    """Let nodes move shards without a rest, but only where tests are quick, and only these: unit tests look at the pace."""
    if size.name != "quick":
        yield
        return
    from moving import without_a_rest

    with without_a_rest():
        yield
