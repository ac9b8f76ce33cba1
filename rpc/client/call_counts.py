"""What became of the calls of one caller, in numbers."""

from dataclasses import dataclass

from gemstone_events.errors import ServiceConfigurationError
from gemstone_events.rpc.call_errors import CalledServiceError, LocalServiceException, ServiceUnreachableError
from gemstone_events.rpc.client.results import BatchResult


@dataclass(slots=True)
class CallCounts:
    """Each call is counted once, when it ends, however often it was tried; each one of a batch for itself.

    Attributes:
        answered: brought a result; a notification, when a service has it.
        failed: brought none, and were surely not carried out, or answered with an error.
        unknown: may have been carried out or not; those whose caller went away among them.
        repeated: attempts beyond the first.
    """

    answered: int = 0
    failed: int = 0
    unknown: int = 0
    repeated: int = 0

    @property
    def calls(self) -> int:
        """All that have ended."""
        return self.answered + self.failed + self.unknown

    def add_results(self, results: BatchResult) -> None:
        """Count the calls of a batch that was answered."""
        for result in results:
            if result.error is None:
                self.answered += 1
            else:
                self.add_failure(result.error)

    def add_failure(self, error: BaseException, calls: int = 1) -> None:
        """Count calls that ended with an exception."""
        if is_outcome_known(error):
            self.failed += calls
        else:
            self.unknown += calls


def is_outcome_known(error: BaseException) -> bool:
    """Tell whether it is certain that a call which ended so had no effect, or has failed in the service."""
    if isinstance(error, CalledServiceError):
        return error.is_outcome_known
    return isinstance(error, ServiceUnreachableError | LocalServiceException | ServiceConfigurationError)
