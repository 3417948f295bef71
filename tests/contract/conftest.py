"""Show what failed inside the contract, as pytest does for tests that are written here."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(find_spec("aether.testing").origin).parent

pytest.register_assert_rewrite(*(f"aether.testing.{path.stem}" for path in sorted(FOLDER.glob("*contract_*.py"))))
