"""Show what failed inside the contract, as pytest does for tests that are written here."""

from __future__ import annotations

import pytest

PARTS = {
    "contract": ("appending", "arrow", "concurrency", "ingest", "reading", "replay", "saving", "snapshots", "values"),
    "bus_contract": ("base", "bounds", "groups", "handlers", "misuse", "order", "publishing", "reading", "requests"),
}

pytest.register_assert_rewrite(*(f"aether.testing.{suite}_{part}" for suite, parts in PARTS.items() for part in parts))
