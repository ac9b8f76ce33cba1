"""What a call can be answered with instead of a result (JSON-RPC 2.0, section 5.1).

GemstoneError
└── RpcError                  raise it, or a class of your own below it, to answer a call with an error object
    ├── ParseError            -32700  the body is not strict JSON
    ├── InvalidRequest        -32600  the JSON is not a request object, or not an acceptable batch
    ├── MethodNotFound        -32601  no method of that name is exposed
    ├── InvalidParams         -32602  the parameters do not fit the method
    ├── InternalError         -32603  the method failed; the answer says nothing of how
    ├── AccessDenied          -32001  the method is private and the caller may not call it
    ├── DeadlineExceeded      -32002  the call took longer than it may; it may still have had its effect
    ├── Overloaded            -32003  too many calls are running; trying again later may help
    └── Interrupted           -32004  the instance that had the call died; it may have had its effect
"""

from gemstone_events.errors import GemstoneError
from gemstone_events.strict_json import JsonValue


class RpcError(GemstoneError):
    """An error object: what a caller gets to see of a failure.

    A method raises it, or a class of the author's own, to answer with ``code``, ``message`` and ``data``:

        class OutOfStock(RpcError):
            code, message = 1001, "Out of stock"

        raise OutOfStock(data={"left": 0})

    The codes from -32768 to -32000 belong to the protocol and to this framework; take others. ``data`` has to be
    strict JSON and is left out of the answer when it is ``None``.
    """

    code: int = -32000
    message: str = "Server error"

    def __init__(self, message: str | None = None, *, code: int | None = None, data: JsonValue = None) -> None:
        if code is not None:
            self.code = code
        if message is not None:
            self.message = message
        self.data = data
        super().__init__(f"{self.message} ({self.code})")

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the error object of JSON-RPC 2.0, section 5.1."""
        members: dict[str, JsonValue] = {"code": self.code, "message": self.message}
        if self.data is not None:
            members["data"] = self.data
        return members


class ParseError(RpcError):
    """The body is not JSON, or not strict JSON: see ``gemstone_events.strict_json``."""

    code, message = -32700, "Parse error"


class InvalidRequest(RpcError):
    """The JSON is not a request object, or a batch that is empty or too long."""

    code, message = -32600, "Invalid Request"


class MethodNotFound(RpcError):
    """No method of that name is exposed."""

    code, message = -32601, "Method not found"


class InvalidParams(RpcError):
    """The parameters do not fit the method's signature or schema; ``data`` says why."""

    code, message = -32602, "Invalid params"


class InternalError(RpcError):
    """The method failed. What happened is in the service's log, and not in the answer."""

    code, message = -32603, "Internal error"


class AccessDenied(RpcError):
    """The method is private and the caller may not call it."""

    code, message = -32001, "Access denied"


class DeadlineExceeded(RpcError):
    """The call took longer than it may. It may still have had its effect."""

    code, message = -32002, "Deadline exceeded"


class Overloaded(RpcError):
    """Too many calls are running. This one was not begun; trying again later may help."""

    code, message = -32003, "Overloaded"


class Interrupted(RpcError):
    """The instance that had the call is gone, and nobody knows how far it came. It may have had its effect."""

    code, message = -32004, "Outcome unknown"
