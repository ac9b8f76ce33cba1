"""The contract suite of stores, for ours and for third parties'. It needs pytest and pytest-asyncio.

A store passes it in a class of a few lines:

    class TestMine(StoreContract):
        @pytest.fixture
        def make_store(self, tmp_path: Path) -> MakeStore:
            return lambda: MyStore(tmp_path / "store")

The fixture's function returns a store that is not open yet. Within one scenario all that it returns are instances on
one database; a store that cannot be shared sets ``shared = False``. A store whose placeholders are not SQLite's sets
``parameter`` and ``named_parameter``. Scenarios wait for what must happen and measure no time.
"""

import pytest

# Before they are imported: so that a failed scenario shows the values.
pytest.register_assert_rewrite(
    "gemstone_events.testing.store_contract_answers",
    "gemstone_events.testing.store_contract_inbox",
    "gemstone_events.testing.store_contract_log",
    "gemstone_events.testing.store_contract_sql",
)

from gemstone_events.testing.store_contract_answers import AnswersContract
from gemstone_events.testing.store_contract_harness import MakeStore
from gemstone_events.testing.store_contract_inbox import InboxContract
from gemstone_events.testing.store_contract_log import LogContract
from gemstone_events.testing.store_contract_sql import SqlContract

__all__ = ["MakeStore", "StoreContract"]


class StoreContract(LogContract, InboxContract, AnswersContract, SqlContract):
    """What every store keeps: override the fixture ``make_store``."""
