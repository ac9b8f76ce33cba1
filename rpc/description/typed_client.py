"""What the clients that ``gemstone generate-client`` writes are built on."""

import copy
import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar, Unpack, cast
from uuid import UUID

from marshmallow import EXCLUDE, ValidationError

from gemstone_events.rpc.call_errors import InvalidAnswerError
from gemstone_events.rpc.client.async_call import AsyncMethodCall
from gemstone_events.rpc.client.remote_service import RemoteService
from gemstone_events.rpc.client.requests import CallOptions
from gemstone_events.rpc.client.results import Result
from gemstone_events.rpc.protocol import Params as WireParams
from gemstone_events.rpc.signatures.strict_fields import AnyField
from gemstone_events.rpc.signatures.typed_fields import field_for
from gemstone_events.strict_json import JsonValue

T = TypeVar("T")
Params: TypeAlias = "Sequence[object] | Mapping[str, object]"
"""Parameters by place, or by name; by name there may be more of them."""


class Record:
    """The base of generated dataclasses. Members that a newer service adds are ignored."""

    __slots__ = ()

    class Meta:
        """Options of the marshmallow schema."""

        unknown = EXCLUDE


class TypedMethod(Generic[T]):
    """A method of a service, and what it returns.

    Args:
        name: its name on the wire.
        returns: the type hint of its result.
        idempotent: carrying it out twice does no harm.
    """

    def __init__(self, name: str, returns: object, *, idempotent: bool = False) -> None:
        self.name = name
        self.idempotent = idempotent
        self._returns = returns

    def read(self, result: JsonValue) -> T:
        """Return what a result stands for.

        Raises:
            InvalidAnswerError: it is not what the service was described to return.
        """
        try:
            return cast(T, self._field.deserialize(result))
        except ValidationError as error:
            messages = cast(JsonValue, error.messages)
            raise InvalidAnswerError(f"the result of {self.name!r} is not what was described", data=messages) from error

    @cached_property
    def _field(self) -> AnyField:
        return field_for(self._returns)  # when it is first needed: dataclasses may name each other before they exist


class TypedClient:
    """What blocking and asynchronous generated clients share.

    Args:
        service: the service's URL, or a ``RemoteService`` that somebody else closes.
        settings: how the ``RemoteService`` is made: timeout, authentication, retry...
    """

    def __init__(self, service: str | RemoteService, **settings: Any) -> None:
        self._is_lent = isinstance(service, RemoteService)
        self._service = service if isinstance(service, RemoteService) else RemoteService(service, **settings)
        self._options = CallOptions()

    def with_options(self, **options: Unpack[CallOptions]) -> Self:
        """Return a client over the same connections whose calls have these options: timeout, idempotency key..."""
        made = copy.copy(self)
        merged: CallOptions = {**self._options, **options}
        made._options = merged
        made._is_lent = True
        return made

    def _begin(
        self, method: TypedMethod[T], params: Params, more: Sequence[Mapping[str, object]]
    ) -> AsyncMethodCall[Result]:
        options: CallOptions = {"idempotent": method.idempotent, **self._options}
        sent: WireParams
        if isinstance(params, Mapping):
            sent = {name: to_json(value) for part in (params, *more) for name, value in part.items()}
        else:
            sent = [to_json(value) for value in params]
        return self._service.call_method_async(method.name, sent, **options)


class BlockingClient(TypedClient):
    """The base of generated clients for threads and scripts."""

    def close(self) -> None:
        """Close the connections. Twice is harmless."""
        if not self._is_lent:
            self._service.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: TypedMethod[T], params: Params, *more: Mapping[str, object]) -> T:
        return method.read(self._begin(method, params, more).result(wait=True).result)


class AsyncClient(TypedClient):
    """The base of generated clients for event loops."""

    async def aclose(self) -> None:
        """Close the connections. Twice is harmless."""
        if not self._is_lent:
            await self._service.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _call(self, method: TypedMethod[T], params: Params, *more: Mapping[str, object]) -> T:
        return method.read((await self._begin(method, params, more)).result)


def given(params: Mapping[str, object]) -> dict[str, object]:
    """Return the parameters that are not None: the service has its own defaults for the others."""
    return {name: value for name, value in params.items() if value is not None}


def leading(*params: object) -> list[object]:
    """Return the parameters before the first None.

    Raises:
        TypeError: others follow it: by position, nothing can be left out in the middle.
    """
    count = params.index(None) if None in params else len(params)
    if any(param is not None for param in params[count:]):
        raise TypeError(
            "this method takes its parameters by position: give all those before the last one that is given"
        )
    return list(params[:count])


def to_json(value: object) -> JsonValue:
    """Return a value as it travels. Members of a dataclass that are None and may be left out are left out.

    Raises:
        TypeError: JSON has nothing of the kind.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Record():
            return {name: to_json(member) for name, member in _members(value)}
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case UUID() | Decimal():
            return str(value)
        case Mapping():
            return {str(name): to_json(member) for name, member in value.items()}
        case list() | tuple() | set() | frozenset():
            return [to_json(member) for member in value]
        case _:
            raise TypeError(f"{value!r:.100} cannot be sent as JSON")


def _members(record: Record) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for field in dataclasses.fields(cast("Any", record)):
        value = getattr(record, field.name)
        if value is not None or field.default is not None:
            found.append((str(field.metadata.get("data_key", field.name)), value))
    return found
