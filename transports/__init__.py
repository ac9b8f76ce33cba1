"""Event transports: one module per kind of broker, each behind the port of ``gemstone_events.transport``."""
