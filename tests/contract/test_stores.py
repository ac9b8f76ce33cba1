"""All stores behind one contract."""

from pathlib import Path

import pytest

from gemstone_events.adapters import make_store as store_for
from gemstone_events.testing.store_contract import MakeStore, StoreContract


class TestMemory(StoreContract):
    shared = False

    @pytest.fixture
    def make_store(self) -> MakeStore:
        return lambda: store_for("memory:")


class TestSqlite(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> MakeStore:
        return lambda: store_for(f"sqlite:///{tmp_path}/store.db")
