"""JSON-RPC 2.0: the dispatcher, the wires that bring bodies to it, clients, discovery, authentication, descriptions."""
