"""What tests of event-sourced code need: contract suites, a clock that a test moves, and real servers as pytest fixtures.

Installing Aether makes `nats_server`, `fresh_nats_server`, `nats_cluster` and `namespace` known to pytest. The names here are
imported at first use, so that a test run which needs none of them pays for none.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aether.testing.bus_contract import BusContract
    from aether.testing.clock import Clock
    from aether.testing.contract import StoreContract
    from aether.testing.contract_arrow import ArrowContract
    from aether.testing.contract_ids import HOSTILE_IDS
    from aether.testing.faces import as_async
    from aether.testing.servers import NatsCluster

__all__ = ["HOSTILE_IDS", "ArrowContract", "BusContract", "Clock", "NatsCluster", "StoreContract", "as_async"]

_HOMES = {
    "HOSTILE_IDS": "contract_ids",
    "ArrowContract": "contract_arrow",
    "BusContract": "bus_contract",
    "Clock": "clock",
    "NatsCluster": "servers",
    "StoreContract": "contract",
    "as_async": "faces",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
