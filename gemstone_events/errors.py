"""Every exception of the framework.

GemstoneError
├── ServiceConfigurationError       a service, handler or setting is declared wrongly; found at start-up
│   ├── InvalidNameError            an event, group, service or method name breaks the rules (also ValueError)
│   ├── InvalidPatternError         a pattern can match nothing (also ValueError)
│   ├── UnknownSchemeError          no transport or store is installed for a URL's scheme
│   └── PluginError
│       ├── MissingPluginNameError  a plugin without a name
│       └── PluginDoesNotExistError no plugin of that name is registered
├── EventError
│   ├── InvalidEventError           an event that may not be emitted: not strict JSON, too large (also ValueError)
│   ├── DecodeError                 bytes from outside that are not an event (also ValueError)
│   └── SchemaError                 a body that fails its marshmallow schema; carries ``messages``
├── ServiceNotRunningError          something was asked of a service that is not started, or has stopped
├── UnitOfWorkError                 used outside a unit of work, or after it ended
├── TransportError
│   ├── TransportUnavailableError   the broker cannot be reached now; trying again may help
│   └── TransportRefusedError       the broker refuses: credentials, permissions, a queue declared otherwise
└── StoreError
    ├── StoreUnavailableError       the database cannot be used now (locked, gone); trying again may help
    ├── StoreFullError              the disk, or the database's size limit, is full
    ├── StoreRefusedError           not a database, not ours, not writable
    ├── StatementError              the author's own SQL failed
    ├── AlreadyHandledError         the inbox already holds this event for this consumer
    ├── AlreadyAnsweredError        the store already holds an answer to this call
    └── ConcurrencyConflictError    a stream is not at its expected version; carries both
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

ValidationMessages: TypeAlias = "Mapping[str, object] | Sequence[object]"


class GemstoneError(Exception):
    """The root of every exception that the framework raises."""


class ServiceConfigurationError(GemstoneError):
    """A service, a handler or a setting is declared wrongly."""


class InvalidNameError(ServiceConfigurationError, ValueError):
    """A name breaks the rules of ``gemstone_events.names``."""


class InvalidPatternError(ServiceConfigurationError, ValueError):
    """A pattern can match no event name."""


class UnknownSchemeError(ServiceConfigurationError):
    """No installed transport or store answers to a URL's scheme."""


class PluginError(ServiceConfigurationError):
    """A plugin is declared or used wrongly."""


class MissingPluginNameError(PluginError):
    """A plugin class sets no ``name``."""


class PluginDoesNotExistError(PluginError):
    """No plugin of the requested name is registered."""


class EventError(GemstoneError):
    """Something is wrong with an event itself."""


class InvalidEventError(EventError, ValueError):
    """An event may not be emitted: its body is not strict JSON, or too large."""


class DecodeError(EventError, ValueError):
    """Bytes from outside are not a valid event."""


class SchemaError(EventError):
    """A body fails its schema.

    ``messages`` holds marshmallow's messages by field.
    """

    def __init__(self, summary: str, messages: ValidationMessages) -> None:
        super().__init__(summary)
        self.messages = messages


class ServiceNotRunningError(GemstoneError):
    """Something was asked of a service that is not started yet, or has stopped."""


class UnitOfWorkError(GemstoneError):
    """A unit of work is used outside its life."""


class TransportError(GemstoneError):
    """A transport cannot do what was asked."""


class TransportUnavailableError(TransportError):
    """The broker cannot be reached now; trying again may help."""


class TransportRefusedError(TransportError):
    """The broker refuses, and trying again will not help until somebody mends the cause."""


class StoreError(GemstoneError):
    """A store cannot do what was asked."""


class StoreUnavailableError(StoreError):
    """The database cannot be used now; trying again may help."""


class StoreFullError(StoreError):
    """There is no room to write: the disk or the database's size limit is full."""


class StoreRefusedError(StoreError):
    """The database can not be used as it is: not a database, another program's, or not writable."""


class StatementError(StoreError):
    """An SQL statement of the service's author failed; its unit of work was rolled back."""


class AlreadyHandledError(StoreError):
    """The inbox already holds this event for this consumer: a redelivery, to be acked and forgotten."""


class AlreadyAnsweredError(StoreError):
    """The store already holds an answer under this idempotency key: a repeated call, to be answered with that."""


class ConcurrencyConflictError(StoreError):
    """A stream is not at the version that the writer expected."""

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(f"stream {stream!r} is at version {actual}, not at the expected version {expected}")
        self.stream = stream
        self.expected = expected
        self.actual = actual
