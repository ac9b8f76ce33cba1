"""What SQLite's errors mean to the users of a store: the one place where they are translated."""

import errno

import apsw

from gemstone_events.errors import (
    StatementError,
    StoreError,
    StoreFullError,
    StoreRefusedError,
    StoreUnavailableError,
)

_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_INFRASTRUCTURE = (
    apsw.FullError,
    apsw.IOError,
    apsw.NoMemError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.CantOpenError,
    apsw.ProtocolError,
    apsw.InterruptError,
)


def translate(error: apsw.Error, path: str, connection: apsw.Connection | None = None) -> StoreError:
    """Return the store's error for one of SQLite's, outside the author's own statements.

    ``connection`` tells why the operating system failed, where it did.
    """
    if isinstance(error, apsw.FullError) or (
        isinstance(error, apsw.IOError) and connection is not None and connection.system_errno in _NO_ROOM
    ):
        return StoreFullError(f"there is no room to write to {path}: free some space; what waits can be committed then")
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return StoreUnavailableError(f"{path} is locked by another process for too long: find out which, and end it")
    if isinstance(error, apsw.NotADBError):
        return StoreRefusedError(f"{path} is not an SQLite database: move it away or name another file")
    if isinstance(error, apsw.CorruptError):
        return StoreRefusedError(f"{path} is damaged ({error}): restore it from a backup, or try sqlite3's .recover")
    if isinstance(error, apsw.ReadOnlyError | apsw.PermissionsError):
        return StoreRefusedError(f"{path} cannot be written: give this user the right to write the file and its folder")
    if isinstance(error, apsw.CantOpenError):
        return StoreUnavailableError(
            f"{path} cannot be opened ({error}): look at the rights of the file and its folder"
        )
    return StoreUnavailableError(f"{path} cannot be used now ({type(error).__name__}: {error})")


def translate_statement(error: Exception, sql: str, path: str, connection: apsw.Connection) -> StoreError:
    """Return the store's error for the failure of one of the author's own statements."""
    if isinstance(error, _INFRASTRUCTURE):
        return translate(error, path, connection)
    if isinstance(error, KeyError):
        reason = f"the parameter :{error.args[0]} has no value"
    elif isinstance(error, apsw.AuthError):
        reason = (
            "it may not control transactions, attach databases, set pragmas, or change the tables named gemstone_*; "
            "the unit of work's own transaction runs it"
        )
    else:
        reason = str(error)
    shown = " ".join(sql.split())
    return StatementError(f"{reason} [in: {shown if len(shown) <= 200 else shown[:197] + '...'}]")
