"""Which addresses can be reached from this machine only."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Tell whether what listens on ``host`` can be reached from this machine only.

    Names other than ``localhost`` are not looked up, and count as reachable from elsewhere.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]").removesuffix(".")).is_loopback
    except ValueError:
        return False
