"""What a client gets back."""

from collections.abc import Iterator
from dataclasses import dataclass

from gemstone_events.rpc.call_errors import RemoteServiceError
from gemstone_events.rpc.client.requests import MethodCall
from gemstone_events.strict_json import JsonValue


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one call.

    Attributes:
        result: what the method returned; None where it failed.
        error: why there is no result: the service's error, or ``OutcomeUnknownError`` where a batch brought none. Only
            results of a batch carry one; a single call that fails raises it.
        id: the call's.
        method_call: the call.
    """

    result: JsonValue
    error: RemoteServiceError | None
    id: str | int | None
    method_call: MethodCall

    @property
    def successful(self) -> bool:
        """Whether there is a result."""
        return self.error is None

    def unwrap(self) -> JsonValue:
        """Return the result.

        Raises:
            RemoteServiceError: there is none: ``error``.
        """
        if self.error is not None:
            raise self.error
        return self.result


class BatchResult:
    """What became of the calls of a batch, in the order in which they were given; notifications have no result."""

    def __init__(self, *responses: Result) -> None:
        self._responses = {response.id: response for response in responses}

    def add_response(self, response: Result) -> None:
        """Add a result, or replace the one of the same call."""
        self._responses[response.id] = response

    def __iter__(self) -> Iterator[Result]:
        return iter(self._responses.values())

    def __getitem__(self, place: int) -> Result:
        """Return the result of the call at a place; notifications do not count."""
        return list(self)[place]

    def __len__(self) -> int:
        return len(self._responses)

    def __repr__(self) -> str:
        return f"BatchResult({', '.join(map(repr, self))})"

    def get_response_for_call(self, call: MethodCall) -> Result:
        """Return the result of a call.

        Raises:
            KeyError: the call was none of the batch.
        """
        return self._responses[call.id]
