"""Calls beside the embedded bus, through Unix sockets."""
