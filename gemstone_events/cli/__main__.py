"""``python -m gemstone_events.cli``: the same as ``gemstone``."""

from gemstone_events.cli import main

if __name__ == "__main__":
    main()
