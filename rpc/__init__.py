"""JSON-RPC 2.0: protocol, dispatcher and HTTP."""
