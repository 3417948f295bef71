"""What tests of event-sourced code need: contract suites, a clock that a test moves, and real servers as pytest fixtures.

Installing Aether makes `nats_server`, `fresh_nats_server`, `nats_cluster` and `namespace` known to pytest. The names here are
imported at first use, so that a test run which needs none of them pays for none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aether.testing.servers import NatsCluster

__all__ = ["NatsCluster"]

_HOMES = {"NatsCluster": "servers"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
