"""Which of the addresses that others name are called, and how."""

from gemstone_events.rpc.allow_list import AllowList, is_on_this_machine
from gemstone_events.rpc.discovery.own_brokers import OwnBrokers


class TrustedUrls:
    """Trusts what is on the caller's own brokers and what an operator has allowed.

    Args:
        brokers: the caller's own; addresses on them get his credentials.
        allow: the other addresses that may be called; by default HTTP on this machine.
    """

    def __init__(self, brokers: OwnBrokers, allow: AllowList | None = None) -> None:
        self._brokers = brokers
        self._allow = allow or AllowList()

    def judge(self, url: str, *, is_local: bool) -> tuple[str, str]:
        """Return the URL to call, and why it may not be called; one of the two is empty.

        Args:
            url: what somebody else has written down.
            is_local: he did it on this machine; otherwise its own addresses mean another machine there.
        """
        own = self._brokers.own(url)
        refusal = "" if own is not None else self._allow.refusal(url)
        if not refusal and not is_local and is_on_this_machine(url):
            refusal = "who wrote it down is on another machine, and means that"
        return ("", refusal) if refusal else (own or url, "")
