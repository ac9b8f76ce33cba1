"""What a call to another service can end with instead of a result.

GemstoneError
└── ServiceException                        code, message and data
    ├── LocalServiceException               nothing was called: what was asked for is not declared, or not here
    └── RemoteServiceError                  a call brought no result
        ├── CalledServiceError              the service answered with an error (alias ``RemoteServiceException``)
        │   ├── MethodNotFoundError         -32601
        │   ├── InvalidParamsError          -32602
        │   ├── InternalErrorError          -32603
        │   ├── AccessDeniedError           -32001
        │   ├── DeadlineExceededError       -32002  it may have been carried out
        │   ├── OverloadedError             -32003  it was not begun
        │   ├── InterruptedCallError        -32004  an instance died while it may have been carrying it out
        │   └── UnknownError                any other code, the service's own among them
        └── ServiceCommunicationException   the way there or back failed
            ├── ServiceUnreachableError     it was not carried out
            │   ├── ServiceNotFoundError    there is no such service, or no instance of it runs
            │   │   └── ServiceNotLocatedError  discovery knows none that may be called (also ValueError)
            │   └── RequestRefusedError     the service is there, and takes no such request
            └── OutcomeUnknownError         it may have been carried out, or not
                ├── CallTimeoutError        no answer came in time
                └── InvalidAnswerError      what came is no answer to it

None of these is an ``RpcError``: a method that lets one pass answers its own caller with "Internal error", for the
failure of a third party is nothing that its caller can be told of as his own.
"""

from gemstone_events.errors import GemstoneError
from gemstone_events.strict_json import JsonValue


class ServiceException(GemstoneError):
    """The root of all that can go wrong with a call to another service.

    Attributes:
        code: the error's code (JSON-RPC 2.0, section 5.1); 0 where no service answered.
        message: what happened.
        data: what the service added, or None.
    """

    code: int = 0

    def __init__(self, message: str, *, code: int | None = None, data: JsonValue = None) -> None:
        if code is not None:
            self.code = code
        self.message = message
        self.data = data
        super().__init__(message if data is None else f"{message}: {data}")


class LocalServiceException(ServiceException):
    """Nothing was called: what was asked for is not declared, or not here."""


class RemoteServiceError(ServiceException):
    """A call to another service brought no result."""


class CalledServiceError(RemoteServiceError):
    """The service answered with an error."""

    @property
    def is_outcome_known(self) -> bool:
        """False where the service itself cannot tell whether the call had its effect."""
        return self.code not in (DeadlineExceededError.code, InterruptedCallError.code)


RemoteServiceException = CalledServiceError


class MethodNotFoundError(CalledServiceError):
    """The service exposes no method of that name."""

    code = -32601


class InvalidParamsError(CalledServiceError):
    """The parameters do not fit the method; ``data`` says why."""

    code = -32602


class InternalErrorError(CalledServiceError):
    """The method failed; its service's log says how."""

    code = -32603


class AccessDeniedError(CalledServiceError):
    """The method is private and the caller may not call it."""

    code = -32001


class DeadlineExceededError(CalledServiceError):
    """The service gave the call up because it took too long. It may have had its effect."""

    code = -32002


class OverloadedError(CalledServiceError):
    """The service runs too many calls. This one was not begun; trying again later may help."""

    code = -32003


class InterruptedCallError(CalledServiceError):
    """The instance that had the call is gone, and nobody knows how far it came. It may have had its effect."""

    code = -32004


class UnknownError(CalledServiceError):
    """The service answered with an error of its own."""


class ServiceCommunicationException(RemoteServiceError):
    """The way to the service, or back, failed."""


class ServiceUnreachableError(ServiceCommunicationException):
    """There is no way to the service now. The call was certainly not carried out; calling again is safe."""


class ServiceNotFoundError(ServiceUnreachableError):
    """There is no such service, or no instance of it runs. The call was certainly not carried out."""


class ServiceNotLocatedError(ServiceNotFoundError, ValueError):
    """No strategy knows a service of that name that may be called; the message says what was found instead."""


class RequestRefusedError(ServiceUnreachableError):
    """The service is there, and takes no such request: it is too long, or a batch of too many.

    It was not carried out, and never will be: calling again is in vain.
    """


class OutcomeUnknownError(ServiceCommunicationException):
    """The call, or an earlier attempt at it, may have been carried out, and may still be.

    Call again only what may happen twice.
    """


class CallTimeoutError(OutcomeUnknownError, TimeoutError):
    """No answer came in time. The call may have been carried out, and may still be."""


class InvalidAnswerError(OutcomeUnknownError):
    """What came back is no JSON-RPC answer to the call."""


_BY_CODE: dict[int, type[CalledServiceError]] = {
    kind.code: kind
    for kind in (
        MethodNotFoundError,
        InvalidParamsError,
        InternalErrorError,
        AccessDeniedError,
        DeadlineExceededError,
        OverloadedError,
        InterruptedCallError,
    )
}


def called_service_error(code: int, message: str, data: JsonValue = None) -> CalledServiceError:
    """Return the exception for an error object of a service (JSON-RPC 2.0, section 5.1)."""
    return _BY_CODE.get(code, UnknownError)(message, code=code, data=data)
