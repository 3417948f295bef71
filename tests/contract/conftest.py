"""Show what failed inside the contract, as pytest does for tests that are written here."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    *(
        f"aether.testing.contract_{part}"
        for part in ("appending", "concurrency", "ingest", "reading", "replay", "saving", "snapshots", "values")
    )
)
