"""Troubles that last."""

from __future__ import annotations

from aether.cluster.telling import TELL_AGAIN_S, Trouble


def test_a_trouble_is_told_when_it_comes_and_now_and_then():
    """The same trouble is told once in a while, another one at once."""
    trouble = Trouble()
    assert [trouble.is_news("full", now) for now in (0.0, 0.1, TELL_AGAIN_S - 0.1)] == [True, False, False]
    assert trouble.is_news("full", TELL_AGAIN_S)
    assert trouble.is_news("denied", TELL_AGAIN_S + 0.1)
    assert not trouble.is_news("denied", TELL_AGAIN_S + 0.2)
