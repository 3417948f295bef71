"""Names that people give, refused in the same words wherever they are given."""

from __future__ import annotations

import pytest

from aether import InvalidIdError, LeaderElection
from aether.bus.arguments import SubscribeOptions
from aether.cluster.members import check_labels, check_node_id


def group(name: str) -> object:
    """Elect in a group."""
    return LeaderElection("nats://localhost", group=name)


def node_id(name: str) -> object:
    """Name a node."""
    return check_node_id(name)


def label(name: str) -> object:
    """Label a node."""
    return check_labels({name: ""})


def subscription_group(name: str) -> object:
    """Subscribe in a group."""
    return SubscribeOptions(group=name)


@pytest.mark.parametrize("give", [group, node_id, label, subscription_group])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", r"has 0 bytes of UTF-8; 1 to \d+ are allowed"),
        ("\u00e4" * 128, r"has 256 bytes of UTF-8; 1 to \d+ are allowed"),
        ("\ud800", "has a character that UTF-8 cannot write"),
    ],
)
def test_what_is_no_name_is_refused_in_the_same_words(give, name, words):
    """A name that is empty, too long or no UTF-8 is told so in one way, whatever it names."""
    with pytest.raises(InvalidIdError, match=words):
        give(name)
