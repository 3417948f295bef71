"""Several processes that share a namespace: who leads, who is there, and who owns what."""

from __future__ import annotations

__all__: list[str] = []
