"""Everything that knows how NATS and JetStream really work: connections, streams, error codes, the embedded server."""
