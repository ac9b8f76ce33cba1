"""The event store: its port, and one module per database."""
