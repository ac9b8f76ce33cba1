"""The author's own SQL: run inside the store's transactions, and kept from ending or escaping them."""

from collections.abc import Sequence

import apsw

from gemstone_events.store.port import SqlValue, Statement
from gemstone_events.store.sqlite_errors import translate_statement

_FORBIDDEN = frozenset(
    (apsw.SQLITE_TRANSACTION, apsw.SQLITE_SAVEPOINT, apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH),
)
_CHANGES = frozenset(
    (
        apsw.SQLITE_INSERT,
        apsw.SQLITE_UPDATE,
        apsw.SQLITE_DELETE,
        apsw.SQLITE_DROP_TABLE,
        apsw.SQLITE_DROP_INDEX,
        apsw.SQLITE_ALTER_TABLE,
        apsw.SQLITE_CREATE_TRIGGER,
        apsw.SQLITE_CREATE_INDEX,
    )
)
_HARMLESS_PRAGMAS = frozenset(
    (
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "table_info",
        "table_list",
        "table_xinfo",
        "user_version",
    )
)


class AuthorSql:
    """Runs the author's statements on one connection, under an authorizer that is strict with them alone.

    SQLite asks the authorizer when a statement is compiled; see ``sqlite_transaction`` for what follows from that.
    """

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._authors_turn = False
        connection.authorizer = self._authorize

    def execute(self, statement: Statement) -> Sequence[tuple[SqlValue, ...]]:
        """Run one statement to its end, and return its rows.

        Raises:
            StatementError: it failed, or does what only the store may do.
            StoreError: the database failed.
        """
        self._authors_turn = True
        try:
            rows: Sequence[tuple[SqlValue, ...]] = self._connection.execute(
                statement.sql, statement.parameters
            ).fetchall()
            return rows
        except Exception as error:  # of whatever type: a parameter of the author's may be anything
            raise translate_statement(error, statement.sql, self._path, self._connection) from error
        finally:
            self._authors_turn = False

    def _authorize(
        self, action: int, first: str | None, second: str | None, database: str | None, trigger: str | None
    ) -> int:
        if not self._authors_turn:
            return apsw.SQLITE_OK
        if action in _FORBIDDEN or (action == apsw.SQLITE_PRAGMA and first not in _HARMLESS_PRAGMAS):
            return apsw.SQLITE_DENY
        if action in _CHANGES and any(name is not None and name.startswith("gemstone_") for name in (first, second)):
            return apsw.SQLITE_DENY
        return apsw.SQLITE_OK
