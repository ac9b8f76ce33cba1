"""Who calls: how credentials are read from a request and checked, and how a client sends them."""
