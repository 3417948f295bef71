"""Run by the gate beside an installed wheel, without the source tree: what a user has works."""

import asyncio
import importlib.metadata
import pathlib
import sys
import tempfile

import aether
import aether.sync


async def order(store: aether.EventStore) -> str:
    """Place and ship an order, and derive its state by replay."""
    await store.append("order-1", aether.NewEvent("OrderPlaced", {"total": 99.99}), expected_version=0)
    await store.append("order-1", aether.NewEvent("OrderShipped", {"tracking": "FS123456"}), expected_version=1)
    events = await store.get_events("order-1")
    assert [event.version for event in events] == [1, 2]
    return events[-1].data["tracking"]


async def main() -> None:
    """Use both stores."""
    assert await order(aether.InMemoryEventStore()) == "FS123456"
    with tempfile.TemporaryDirectory() as directory:
        async with aether.JetStreamEventStore(f"embedded:{directory}") as store:
            assert await order(store) == "FS123456"


asyncio.run(main())
with aether.sync.InMemoryEventStore() as store:
    assert store.append("a", aether.NewEvent("Made")).version == 1
files = {str(file) for file in importlib.metadata.files("aether-events") or ()}
for needed in ("aether/py.typed", "aether/_native.pyi", "aether/data/flights-sample.ndjson.gz"):
    assert needed in files, f"the wheel lacks {needed}"
assert not [file for file in files if file.startswith(("tests", "benches", "docs"))], "the wheel holds what is no part of it"
assert "site-packages" in str(pathlib.Path(aether.__file__)), f"this tested {aether.__file__}, not the wheel"
sys.stdout.write(f"the wheel of aether-events {importlib.metadata.version('aether-events')} works\n")
