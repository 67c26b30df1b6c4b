"""An object store, one for all tests of the folder, and a fake of Kubeflow's API for each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubeflow.fake_api import FakeKubeflow, fake_kubeflow
from tests.kubeflow.object_store import ObjectStore, object_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store(tmp_path_factory.mktemp("store")) as running:
        print(f"object store: {running.program}")
        yield running


@pytest.fixture
def kubeflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeKubeflow]:
    import kfp.client

    for name in ("KF_PIPELINES_UI_ENDPOINT", "KF_PIPELINES_ENDPOINT", "DIGITS_KUBEFLOW_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    # What the person who runs the tests has told kfp is not read.
    monkeypatch.setattr(kfp.client.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "none.json"))
    with fake_kubeflow() as fake:
        yield fake
