"""A trouble that lasts is told when it comes, and now and then while it stays, not with each attempt."""

from __future__ import annotations

import math

__all__ = ["TELL_AGAIN_S", "Trouble"]

TELL_AGAIN_S = 10.0
"""How often one trouble is told while it lasts, in seconds."""


class Trouble:
    """The last trouble that was told of something that is tried again and again. Pure: times are given."""

    def __init__(self) -> None:
        self._text, self._told_at = "", -math.inf

    def is_news(self, text: str, now: float) -> bool:
        """Say whether this is to be told: it is another trouble, or the last time is long ago."""
        if text == self._text and now < self._told_at + TELL_AGAIN_S:
            return False
        self._text, self._told_at = text, now
        return True
