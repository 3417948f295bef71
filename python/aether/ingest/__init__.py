"""Ways into a store for many events at once."""
