"""The place of a SQLite file on the disk, on machines that have trouble with it."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from gemstone_events.cli import check_store
from gemstone_events.cli.check_store import FULL_BYTES, TIGHT_BYTES, check_place
from gemstone_events.cli.findings import Level

FILE = Path("/no-such-folder/shop.db")


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine whose disk is local, writable and empty."""
    monkeypatch.setattr(os, "access", lambda *_: True)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=TIGHT_BYTES))
    monkeypatch.setattr(check_store, "_file_system", lambda _: "ext4")
    return monkeypatch


def levels() -> list[Level]:
    """Return how bad the place is, finding by finding."""
    return [finding.level for finding in check_place(FILE, "store")]


def test_a_local_disk_with_room_is_fine(healthy: pytest.MonkeyPatch) -> None:
    assert levels() == [Level.OK]


def test_a_folder_that_may_not_be_written_is_a_problem(healthy: pytest.MonkeyPatch) -> None:
    healthy.setattr(os, "access", lambda *_: False)
    assert levels() == [Level.PROBLEM, Level.OK]


@pytest.mark.parametrize(("free", "level"), [(TIGHT_BYTES - 1, Level.WARNING), (FULL_BYTES - 1, Level.PROBLEM)])
def test_a_disk_that_runs_full_is_told_before_it_is(healthy: pytest.MonkeyPatch, free: int, level: Level) -> None:
    healthy.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert levels() == [level]


@pytest.mark.parametrize(("kind", "level"), [("nfs4", Level.PROBLEM), ("tmpfs", Level.WARNING)])
def test_a_file_system_that_keeps_nothing_safe_is_told(healthy: pytest.MonkeyPatch, kind: str, level: Level) -> None:
    healthy.setattr(check_store, "_file_system", lambda _: kind)
    assert levels() == [Level.OK, level]
