"""Reading answers: those of strict servers, and of old gemstone's, which send ``result`` and ``error`` always."""

from collections.abc import Mapping, Sequence

from gemstone_events import strict_json
from gemstone_events.rpc.call_errors import (
    InvalidAnswerError,
    MethodNotFoundError,
    RemoteServiceError,
    RequestRefusedError,
    called_service_error,
)
from gemstone_events.rpc.client.requests import MethodCall
from gemstone_events.rpc.client.results import BatchResult, Result
from gemstone_events.rpc.protocol import VERSION
from gemstone_events.strict_json import JsonValue

# Requests are held to 32 levels; results come from services that we chose to call.
MAX_DEPTH = 500
# "Invalid Request" and "Parse error". With the id of a call they are a method's own.
_REFUSED = frozenset({-32600, -32700})


def read_single(body: bytes | None, call: MethodCall, where: str = "the service") -> Result:
    """Return the result of a call.

    Args:
        body: the answer.
        call: the call.
        where: what was called, for people.

    Raises:
        RequestRefusedError: the service took it for no request, and did not look at what it asks for.
        CalledServiceError: the service answered with an error.
        InvalidAnswerError: it is no answer to this call.
    """
    answer = _load(body)
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    error = _error(answer)
    if error is not None and isinstance(answer, dict) and _is_for(answer.get("id"), (call.id, None)):
        raise _explained(error, call, where)
    return Result(_result(answer, call), None, call.id, call)


def read_batch(body: bytes | None, calls: Sequence[MethodCall], where: str = "the service") -> BatchResult:
    """Return the results of a batch's calls, in the calls' order, whatever the order of the answers.

    Args:
        body: the answer.
        calls: the batch's calls.
        where: what was called, for people.

    Raises:
        RequestRefusedError: the service took it for no batch, for one because it is too long: nothing was carried out.
        CalledServiceError: the service answered the batch as a whole with an error.
        InvalidAnswerError: it is no answer to a batch.
    """
    if not calls:
        check_silence(body)
        return BatchResult()
    answers = _load(body)
    if not isinstance(answers, list):
        raise _error(answers) or InvalidAnswerError("the answer to a batch is no list")
    by_id: dict[object, list[JsonValue]] = {}
    for answer in answers:
        by_id.setdefault(_key(answer.get("id")) if isinstance(answer, dict) else None, []).append(answer)
    return BatchResult(*(_item(call, by_id.get(_key(call.id), []), where) for call in calls))


def check_silence(body: bytes | None) -> None:
    """Let pass what servers answer to notifications: nothing, or what says nothing.

    Raises:
        CalledServiceError: the service could not even read them.
    """
    if body is None:
        return
    try:
        error = _error(_load(body))
    except InvalidAnswerError:
        return
    if error is not None:
        raise error


def _item(call: MethodCall, answers: Sequence[JsonValue], where: str) -> Result:
    if len(answers) != 1:
        what = "has no answer to it" if not answers else "answers it more than once"
        return Result(None, InvalidAnswerError(f"the answer to the batch {what}: {call.method_name!r}"), call.id, call)
    try:
        error = _error(answers[0])
        if error is not None:
            _explained(error, call, where)
        return Result(None if error else _result(answers[0], call), error, call.id, call)
    except InvalidAnswerError as invalid:
        return Result(None, invalid, call.id, call)


def _load(body: bytes | None) -> JsonValue:
    if body is None:
        raise InvalidAnswerError("the service answered nothing")
    try:
        return strict_json.loads(body, MAX_DEPTH)
    except ValueError as error:
        raise InvalidAnswerError(f"the answer is not strict JSON: {error}") from error


def _explained(error: RemoteServiceError, call: MethodCall, where: str) -> RemoteServiceError:
    """Let an error about a method that is not there say which, and where."""
    if isinstance(error, MethodNotFoundError):
        error.args = (f"{error}: {call.method_name!r} of {where}",)
    return error


def _error(answer: JsonValue) -> RemoteServiceError | None:
    """Return the error that an answer carries, if any (section 5.1)."""
    if not isinstance(answer, dict) or answer.get("jsonrpc") != VERSION:
        raise InvalidAnswerError("the answer is no response object of JSON-RPC 2.0")
    error = answer.get("error")
    if error is None:
        return None
    if not isinstance(error, Mapping) or answer.get("result") is not None:
        raise InvalidAnswerError("the answer carries an error that is none")
    code, message = error.get("code"), error.get("message")
    if isinstance(code, bool) or not isinstance(code, int) or not isinstance(message, str):
        raise InvalidAnswerError("the answer carries an error without a code and a message")
    if code in _REFUSED and answer.get("id") is None:
        return RequestRefusedError(message, code=code, data=error.get("data"))
    return called_service_error(code, message, error.get("data"))


def _result(answer: JsonValue, call: MethodCall) -> JsonValue:
    assert isinstance(answer, dict)
    if not _is_for(answer.get("id"), (call.id,)):
        raise InvalidAnswerError("the answer belongs to another call: its id is not the one that was sent")
    if "result" not in answer:
        raise InvalidAnswerError("the answer has neither a result nor an error")
    result: JsonValue = answer["result"]
    return result


def _is_for(found: JsonValue, wanted: Sequence[object]) -> bool:
    """Tell whether an id is one of those wanted: 1, 1.0 and true are three."""
    return any(found == each and type(found) is type(each) for each in wanted)


def _key(found: object) -> object:
    return (type(found), found) if isinstance(found, str | int) else None
