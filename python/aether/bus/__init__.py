"""Event buses: who publishes reaches whoever is subscribed, within a process or across a NATS cluster."""
