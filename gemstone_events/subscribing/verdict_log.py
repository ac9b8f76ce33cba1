"""What a log says of the verdicts on attempts."""

import logging

from gemstone_events.subscribing.attempt import Attempt, Kind, Verdict


def log_verdict(logger: logging.Logger, turn: Attempt, verdict: Verdict, attempts: int) -> None:
    """Log how an attempt ended: a failure in one line, and with all that is known when it was the last.

    Args:
        logger: the service's.
        turn: the attempt.
        verdict: what came of it.
        attempts: how many there may be in all.
    """
    handler, event_id = turn.handler.name, turn.key.event_id
    if verdict.kind is Kind.HANDLED:
        logger.debug("%s handled event %s", handler, event_id)
    elif verdict.kind is Kind.RETRY:
        logger.warning(
            "%s failed on event %s (attempt %d of %d, next in %.1f s): %s",
            handler,
            event_id,
            turn.failures + 1,
            attempts,
            verdict.delay,
            verdict.error.strip().rpartition("\n")[2],
        )
    else:
        (letter,) = verdict.changes.dead_letters
        logger.error(
            "%s gave up event %s (%s): see 'gemstone dead-letters show %s'\n%s",
            handler,
            event_id,
            letter.reason,
            letter.id,
            verdict.error,
        )
