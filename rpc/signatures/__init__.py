"""Type hints of functions as schemas: what goes in, and what comes out."""
