"""The server under test: started here, or anywhere else (`--server`, `--rest`)."""

from collections.abc import Iterator

import grpc
import pytest

from tests.serving.models import HALF_PLUS_TWO, write_models
from tests.serving.servers import Address, Server, running


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--server", metavar="HOST:PORT", help="gRPC address of a server to test")
    parser.addoption("--rest", metavar="HOST:PORT", help="its REST address")


@pytest.fixture(scope="session")
def foreign(pytestconfig: pytest.Config) -> Address | None:
    """The address that the command line names, if it does."""
    # Without --server this file may have been found too late to add its options.
    server, rest = (pytestconfig.getoption(name, default=None) for name in ("--server", "--rest"))
    if bool(server) != bool(rest):
        raise pytest.UsageError("--server and --rest go together")
    return Address(server, rest) if server else None


@pytest.fixture(scope="session")
def local(
    foreign: Address | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server | None]:
    """Our server with the tiny models."""
    if foreign is not None:
        yield None
        return
    root = tmp_path_factory.mktemp("models")
    with running(root, *write_models(root)) as server:
        yield server
        assert server.process.poll() is None, server.log.read_text()


@pytest.fixture(scope="session")
def any_server(foreign: Address | None, local: Server | None) -> Address:
    """The server under test, whatever it serves."""
    if local is not None:
        return local.address
    assert foreign is not None
    return foreign


@pytest.fixture
def is_ours(foreign: Address | None) -> None:
    """Spares other servers what might end them."""
    if foreign is not None:
        pytest.skip("only our server is asked what might end a process")


@pytest.fixture(scope="session")
def server(any_server: Address) -> Address:
    """The server under test, with the tiny models."""
    try:
        any_server.statuses(HALF_PLUS_TWO)
    except grpc.RpcError as error:
        pytest.skip(
            "the server lacks the models of `python -m tests.serving.models DIR`: "
            f"{error.details()}"
        )
    return any_server
