"""Asking the running instances who they are, and answering: presence over the broker itself."""

import asyncio
from collections import deque
from collections.abc import Callable

from gemstone_events import strict_json
from gemstone_events.rpc.presence import MAX_PRESENCE_BYTES, Presence
from gemstone_events.rpc.wire import WireCounts

MAX_QUESTION_BYTES = 4096
MAX_PATTERN = 200
_MAX_ANSWERS = 10_000
_REMEMBERED = 100


class Question:
    """What is asked of all instances.

    Attributes:
        pattern: the name, or the glob pattern, of the services whose instances should answer.
        even_stopping: those too that take no more calls and finish what they have begun.
    """

    __slots__ = ("even_stopping", "pattern")

    def __init__(self, pattern: str, *, even_stopping: bool = False) -> None:
        self.pattern = pattern
        self.even_stopping = even_stopping

    def encode(self) -> bytes:
        """Return it as a JSON object."""
        return strict_json.dumps({"pattern": self.pattern, "even_stopping": self.even_stopping})

    @classmethod
    def decode(cls, raw: bytes) -> "Question":
        """Read what ``encode`` wrote.

        Raises:
            ValueError: it is nothing of the kind.
        """
        if len(raw) > MAX_QUESTION_BYTES:
            raise ValueError(f"a question of {len(raw)} bytes is longer than {MAX_QUESTION_BYTES}")
        members = strict_json.loads(raw)
        pattern = members.get("pattern") if isinstance(members, dict) else None
        if not isinstance(members, dict) or not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
            raise ValueError(f"a question is a JSON object with a 'pattern' of {MAX_PATTERN} characters at most")
        return cls(pattern, even_stopping=members.get("even_stopping") is True)

    def concerns(self, presence: Presence, *, stopping: bool) -> bool:
        """Tell whether an instance should answer."""
        return (self.even_stopping or not stopping) and presence.matches(self.pattern)


class Answers:
    """What comes back to the questions of one connection.

    Args:
        counts: where what cannot be read is counted, as unexpected.
    """

    def __init__(self, counts: WireCounts) -> None:
        self._counts = counts
        self._open: dict[str, tuple[Question, dict[str, Presence], asyncio.Event]] = {}
        self._closed: deque[str] = deque(maxlen=_REMEMBERED)

    async def collect(self, identity: str, question: Question, patience: float, *, all_of_them: bool) -> list[Presence]:
        """Return who answers within ``patience`` seconds; the first one where ``all_of_them`` is False."""
        found: dict[str, Presence] = {}
        answered = asyncio.Event()
        self._open[identity] = question, found, answered
        try:
            async with asyncio.timeout(patience):
                await (asyncio.Event() if all_of_them else answered).wait()
        except TimeoutError:
            pass
        finally:
            del self._open[identity]
            self._closed.append(identity)
        return sorted(found.values(), key=lambda presence: (presence.service, presence.since, presence.instance))

    def take(self, identity: str, body: bytes | None) -> bool:
        """Take a message, if it answers a question; what comes too late for one is dropped."""
        if identity not in self._open:
            return identity in self._closed
        question, found, answered = self._open[identity]
        try:
            presence = Presence.decode(body or b"")
        except ValueError:
            self._counts.unexpected += 1
            return True
        if presence.matches(question.pattern) and len(found) < _MAX_ANSWERS:
            found[presence.instance] = presence
            answered.set()
        return True


def answer(body: bytes | None, who: Callable[[], Presence], *, stopping: bool) -> bytes | None:
    """Return what an instance says to a question, or None where it is not asked, or cannot read it."""
    try:
        question = Question.decode(body or b"")
        presence = who()
        encoded = presence.encode() if question.concerns(presence, stopping=stopping) else None
    except ValueError:
        return None
    return encoded if encoded is None or len(encoded) <= MAX_PRESENCE_BYTES else None
