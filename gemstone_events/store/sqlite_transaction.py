"""The store's own transaction control.

Compiled statements are kept by their text, and the author's are held to rules when they are compiled. So the store's
own ``COMMIT`` is spelled as no author spells it: else the author's would be found compiled already.
"""

import apsw

BEGIN = "BEGIN IMMEDIATE /* of the store */"
COMMIT = "COMMIT /* of the store */"
ROLLBACK = "ROLLBACK /* of the store */"
SAVEPOINT = "SAVEPOINT gemstone /* of the store */"
ROLLBACK_TO_SAVEPOINT = "ROLLBACK TO gemstone /* of the store */"
RELEASE_SAVEPOINT = "RELEASE gemstone /* of the store */"


class Transaction:
    """A block in one transaction, rolled back where it raises.

    It holds the write lock from its beginning: SQLite refuses to begin with reading and go over to writing once another
    process has written, and does not wait for that.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute(BEGIN)

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        try:
            if kind is None:
                self._connection.execute(COMMIT)
        finally:
            if self._connection.in_transaction:
                self._connection.execute(ROLLBACK)
