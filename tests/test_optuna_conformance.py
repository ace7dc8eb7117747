"""Optuna's own conformance suite for storages, on the storages as we open them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.testing.pytest_storages import StorageTestCase

from sweeps.storages.behind import Behind
from sweeps.storages.known_trials import KnownTrials
from sweeps.storages.storage import open_storage


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without a study: to copy it is quicker than to make one for each test."""
    path = tmp_path_factory.mktemp("empty") / "sweeps.db"
    open_storage(f"sqlite:///{path}").engine.dispose()
    return path


class TestSqlite(StorageTestCase):
    """SQLite with a write-ahead log."""

    @pytest.fixture
    def storage(self, empty_database: Path, tmp_path: Path) -> Iterator[RDBStorage]:
        path = tmp_path / "sweeps.db"
        shutil.copyfile(empty_database, path)
        opened = open_storage(f"sqlite:///{path}")
        yield opened
        assert opened.engine.connect().exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        opened.engine.dispose()


class TestKnownTrials(StorageTestCase):
    """The same as a driver uses it, which reads trials from memory."""

    @pytest.fixture
    def storage(self, empty_database: Path, tmp_path: Path) -> Iterator[BaseStorage]:
        path = tmp_path / "sweeps.db"
        shutil.copyfile(empty_database, path)
        opened = open_storage(f"sqlite:///{path}")
        yield KnownTrials(get_storage(opened))
        opened.engine.dispose()


class TestBehind(StorageTestCase):
    """The same where threads write, as to a server."""

    @pytest.fixture
    def storage(self, empty_database: Path, tmp_path: Path) -> Iterator[BaseStorage]:
        path = tmp_path / "sweeps.db"
        shutil.copyfile(empty_database, path)
        opened, behind = open_storage(f"sqlite:///{path}"), Behind()
        yield KnownTrials(get_storage(opened), behind)
        behind.settle()
        opened.engine.dispose()
