"""Finding services by name: strategies, their cache, and the list of places that may be called."""
