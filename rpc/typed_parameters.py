"""Arguments and results by type hints: what a function's hints say is checked and converted both ways."""

from gemstone_events.rpc.typed_fields import TypeHintError, field_for

__all__ = ["TypeHintError", "field_for"]
