"""Event-sourced, pub/sub-centric messaging for Python services."""
