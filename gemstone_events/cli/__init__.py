"""The ``gemstone`` command."""
