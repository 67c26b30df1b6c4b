"""The object store, one for all tests of the folder."""

from collections.abc import Iterator

import pytest

from tests.kubeflow.object_store import ObjectStore, object_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("store")) as running:
        yield running
