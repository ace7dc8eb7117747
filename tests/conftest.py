"""Fixtures that several test files share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray cluster for the whole session: 16 logical CPUs and 8 pretended GPUs."""
    from sweeps.executors.ray import cluster

    with cluster(num_cpus=16, num_gpus=8):
        yield
