"""Nodes that are quick to settle where tests are quick: the pace that spares writers of large clusters costs each test seconds.

Unit tests hold the planner to its pace, and where tests are not quick all nodes move shards as those of users do.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING
from unittest.mock import patch

from aether.cluster import ClusterNode, planner

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "AETHER_TEST_MOVES"

TOGETHER = 64
"""How many shards begin to move together."""

DEFAULTS = {"moves_max": TOGETHER, "settle_s": 0.2}
"""What nodes are made with that do not say otherwise."""


@contextlib.contextmanager
def without_a_rest() -> Iterator[None]:
    """Let nodes of this process, and of workers that it starts, begin many moves at a time, and the next ones at once."""
    with (
        patch.object(planner, "BATCH", TOGETHER),
        patch.object(planner, "PACE_S", 0.0),
        patch.dict(ClusterNode.join.__func__.__kwdefaults__, DEFAULTS),
        patch.dict(os.environ, {VARIABLE: "fast"}),
    ):
        yield


def as_told() -> contextlib.AbstractContextManager[None]:
    """Move shards in a worker as in the process that started it."""
    return without_a_rest() if os.environ.get(VARIABLE) else contextlib.nullcontext()
