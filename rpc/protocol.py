"""JSON-RPC 2.0 on the wire: requests, responses and batches, without I/O (https://www.jsonrpc.org/specification)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from gemstone_events import strict_json
from gemstone_events.rpc.errors import InvalidRequest, ParseError, RpcError
from gemstone_events.strict_json import DEFAULT_MAX_DEPTH, JsonValue

VERSION = "2.0"

RequestId: TypeAlias = "str | int | None"
Params: TypeAlias = "Sequence[JsonValue] | Mapping[str, JsonValue]"

_MEMBERS = frozenset({"jsonrpc", "method", "params", "id"})
_NO_EXTRA: Mapping[str, JsonValue] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class JsonRpcRequest:
    """A request object (section 4).

    ``params`` is empty where the member is absent. ``extra`` holds top-level members that the specification does not
    know, for plugins to use. ``is_notification``: the object has no ``id`` member; an ``id`` of null is a request.
    """

    method: str
    params: Params = ()
    id: RequestId = None
    extra: Mapping[str, JsonValue] = field(default_factory=dict)
    is_notification: bool = False

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the request object's members."""
        members: dict[str, JsonValue] = {"jsonrpc": VERSION, "method": self.method}
        if self.params:
            members["params"] = self.params
        if not self.is_notification:
            members["id"] = self.id
        return {**self.extra, **members}


@dataclass(frozen=True, slots=True)
class JsonRpcResponse:
    """A response object (section 5). ``result`` counts only where ``error`` is ``None``."""

    id: RequestId
    result: object = None
    error: RpcError | None = None


def read_body(body: bytes, max_depth: int = DEFAULT_MAX_DEPTH) -> JsonValue:
    """Return the JSON value of a body: an array is a batch, everything else should be a request object.

    Raises:
        ParseError: it is not strict JSON, or nested deeper than ``max_depth`` levels.
    """
    try:
        return strict_json.loads(body, max_depth)
    except ValueError as error:
        raise ParseError from error


def read_request(value: JsonValue, *, legacy: bool = False) -> JsonRpcRequest:
    """Return the request that a JSON value is.

    An ``id`` is a string, an integer or null; a fraction is refused, for it would not come back as it was
    (section 4: "SHOULD NOT"). ``legacy`` also takes ``"params": null``, which old gemstone clients send.

    Raises:
        InvalidRequest: it is not a request object.
    """
    if type(value) is not dict or value.get("jsonrpc") != VERSION:
        raise InvalidRequest
    method = value.get("method")
    params = value.get("params", ())
    if params is None and legacy:
        params = ()
    request_id = value.get("id")
    if (
        type(method) is not str
        or not isinstance(params, (list, dict, tuple))
        or not (request_id is None or type(request_id) in (int, str))
    ):
        raise InvalidRequest
    extra = _NO_EXTRA if value.keys() <= _MEMBERS else {key: value[key] for key in value if key not in _MEMBERS}
    return JsonRpcRequest(method, params, request_id, extra, "id" not in value)


def write_response(response: JsonRpcResponse, *, legacy: bool = False) -> bytes:
    """Encode a response. ``legacy`` writes both ``result`` and ``error``, one of them null, as old gemstone did.

    Raises:
        ValueError: the result, or the error's ``data``, is not strict JSON.
    """
    identity = b"%d" % response.id if isinstance(response.id, int) else strict_json.dumps(response.id)
    if response.error is None:
        outcome = b'"result":%b' % strict_json.dumps(response.result)
        padding = b',"error":null' if legacy else b""
    else:
        outcome = b'"error":%b' % strict_json.dumps(response.error.to_dict())
        padding = b',"result":null' if legacy else b""
    return b'{"jsonrpc":"2.0",%b%b,"id":%b}' % (outcome, padding, identity)


LEGACY_NOTIFICATION_ANSWER = b'{"jsonrpc":"2.0","result":null,"error":null}'
"""What old gemstone servers answered to a notification."""


def write_batch(responses: Sequence[bytes]) -> bytes:
    """Join encoded responses to a batch (section 6)."""
    return b"[%b]" % b",".join(responses)
