"""Event stores: the protocols, the in-memory store and the one on JetStream."""
