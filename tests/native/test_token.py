"""Tokens: total, injective, safe in a subject."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether import InvalidIdError
from aether._native import actor_subject, check_actor_id, shard_of, token_decode, token_encode

VECTORS = [
    tuple(one) for one in json.loads((Path(__file__).parents[1] / "data" / "actor_shards.json").read_text(encoding="utf-8"))
]
SAFE = frozenset(string.ascii_letters + string.digits + "_-=")


def test_there_are_1199_vectors():
    """The vectors are all there, each id once."""
    assert len({actor_id for actor_id, _, _ in VECTORS}) == len(VECTORS) == 1199


def test_tokens_of_all_vectors():
    """The token of every vector is the one that is written down, and leads back to its id."""
    for actor_id, token, _ in VECTORS:
        assert token_encode(actor_id) == token
        assert token_decode(token) == actor_id


def test_shards_of_all_vectors():
    """The shard of every vector is the one that a real server's partition() put it into, and its subject says so."""
    for actor_id, token, shard in VECTORS:
        assert shard_of(actor_id) == shard
        assert actor_subject("ns", actor_id) == f"aether.ns.{shard}.{token}"


def test_tokens_are_total_injective_and_safe(size):
    """Every id has a token of safe letters, and the token has that id and no other."""

    @settings(max_examples=size.pick(300, 2000, 50_000), deadline=None)
    @given(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255).filter(lambda text: len(text.encode()) <= 255)
    )
    def holds(actor_id):
        token = token_encode(actor_id)
        assert set(token) <= SAFE
        assert token_decode(token) == actor_id
        assert 0 <= shard_of(actor_id) < 1021

    holds()


def test_a_token_that_decodes_is_the_only_one(size):
    """Whatever text decodes is exactly the token of what it decodes to, so no two tokens mean one id."""

    @settings(max_examples=size.pick(500, 3000, 50_000), deadline=None)
    @given(st.one_of(st.text("ab=0123456789ABCDEFabcdef_-.", max_size=12), st.text(max_size=12)))
    def holds(token):
        actor_id = token_decode(token)
        assert actor_id is None or token_encode(actor_id) == token

    holds()


@pytest.mark.parametrize(
    "token",
    [
        "=epoch",
        "",
        "=",
        "=4",
        "=41",
        "=2e",
        "=2E=",
        "a.b",
        "*",
        ">",
        "a b",
        "=ZZ",
        "=C3",
        "=ED=A0=80",
        "=C0=80",
        "é",
        "\ud800",
        "a" * 256,
    ],
)
def test_tokens_of_no_id(token):
    """Reserved tokens, other spellings of an id and bytes that are no UTF-8 are the token of no id."""
    assert token_decode(token) is None


@pytest.mark.parametrize("actor_id", ["", "a" * 256, "é" * 128, "\ud800"])
def test_what_is_no_id(actor_id):
    """What is no id has no token, no shard and no subject."""
    for use in (token_encode, shard_of, check_actor_id, lambda given: actor_subject("ns", given)):
        with pytest.raises(InvalidIdError):
            use(actor_id)


def test_longest_id():
    """The longest id makes a token of 765 letters, well below the server's limit for a subject."""
    assert len(token_encode("é" * 127)) == 3 * 254
    assert len(actor_subject("n" * 64, "\0" * 255)) < 1000
