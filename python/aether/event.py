"""The values: `Event`, `NewEvent` and `Snapshot`.

They are native and frozen: their data is encoded once, when they are made, so nothing the caller changes later is seen,
and `.data` decodes afresh at each access. See `aether._native` for the signatures.
"""

from __future__ import annotations

from aether._native import Event, NewEvent, Snapshot

__all__ = ["Event", "NewEvent", "Snapshot"]
