"""Optuna's own conformance suite for storages, on PostgreSQL; `tests/test_postgres.py` is the short part."""

from collections.abc import Iterator

import pytest
from optuna.storages import RDBStorage
from optuna.testing.pytest_storages import StorageTestCase

from sweeps.storages.storage import open_storage
from sweeps.storages.uris import study_url
from tests.postgres import Server


class TestPostgres(StorageTestCase):
    """PostgreSQL: one database, emptied before each test, since making the tables takes longest."""

    @pytest.fixture(scope="class")
    def opened(self, postgres: Server) -> Iterator[RDBStorage]:
        storage = open_storage(study_url(postgres.database("conformance")))
        yield storage
        storage.engine.dispose()

    @pytest.fixture
    def storage(self, opened: RDBStorage) -> RDBStorage:
        with opened.engine.begin() as connection:
            connection.exec_driver_sql("TRUNCATE studies RESTART IDENTITY CASCADE")
        return opened
