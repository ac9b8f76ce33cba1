"""Telling people of a failure that goes on: when it begins and when it ends, and not each time in between."""

import logging


class Outage:
    """Watches one thing that is tried again and again.

    Args:
        logger: where it is told.
        begun: what to say when it begins to fail; the failure follows.
        ended: what to say when it works again.
    """

    def __init__(self, logger: logging.Logger, begun: str, ended: str) -> None:
        self._logger = logger
        self._begun = begun
        self._ended = ended
        self._fails = False

    def report(self, failure: str) -> None:
        """Take notice of how the last attempt went; ``failure`` is empty where it went well."""
        if failure and not self._fails:
            self._logger.warning("%s: %s", self._begun, failure)
        elif self._fails and not failure:
            self._logger.info("%s", self._ended)
        self._fails = bool(failure)
