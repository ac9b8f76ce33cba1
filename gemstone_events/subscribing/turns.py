"""Whose turn it is, where only so many attempts may run at once."""

from collections import deque

from gemstone_events.subscribing.attempt import Attempt


class Turns:
    """Attempts that wait for one of a number of places: those of new events, and those that are due again.

    They are taken by turns: a backlog keeps no retry waiting for its end, and many retries do not hold up what is new.
    Among their kind, who came first is first.

    Args:
        places: how many attempts may run at once.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._taken = 0
        self._new: deque[Attempt] = deque()
        self._due: deque[Attempt] = deque()
        self._took_due = False

    @property
    def room(self) -> int:
        """How many attempts that are due may be added: as many as could begin, and one for a place that gets free."""
        free = self._places - self._taken - len(self._new)
        return max(0, max(1, free) - len(self._due))

    @property
    def waiting(self) -> int:
        """How many attempts wait."""
        return len(self._new) + len(self._due)

    def add_new(self, turn: Attempt) -> None:
        """Let the attempt of a new event wait."""
        self._new.append(turn)

    def add_due(self, turn: Attempt) -> None:
        """Let an attempt wait that is due again."""
        self._due.append(turn)

    def take(self) -> Attempt | None:
        """Give a place to who is next; None where nobody waits, or no place is free."""
        if self._taken >= self._places or not self.waiting:
            return None
        self._taken += 1
        self._took_due = bool(self._due) and not (self._new and self._took_due)
        return (self._due if self._took_due else self._new).popleft()

    def leave(self) -> None:
        """Take notice that an attempt has ended: its place is free."""
        self._taken -= 1

    def drop(self) -> list[Attempt]:
        """Forget who waits, and return those that were due. Twice is harmless."""
        due = list(self._due)
        self._due.clear()
        self._new.clear()
        return due
