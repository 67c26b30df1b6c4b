"""An S3-compatible store that really runs, on loopback, and a client for it."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from serving.errors import InputError
from tests.ports import free_port

USER, PASSWORD, BUCKET = "digits", "digits-secret", "digits"
#: Names MinIO's binary, where it is not on the path: `make minio` fetches it into `.engines`.
MINIO_VARIABLE = "DIGITS_MINIO"


@dataclass(frozen=True)
class ObjectStore:
    """A client, by the URIs that Kubeflow has: `s3://BUCKET/KEY` or `minio://BUCKET/KEY`.

    Attributes:
        system: the client.
        address: host and port.
        program: what serves it.
    """

    system: fs.S3FileSystem
    address: str
    program: str

    @property
    def secret(self) -> dict[str, str]:
        """The way to it, as a secret of the cluster has it."""
        return {
            "accesskey": USER,
            "secretkey": PASSWORD,
            "endpoint": f"http://{self.address}",
        }

    def download(self, uri: str, path: Path) -> None:
        """Copies an object, or all below a prefix; none is no error, as for the launcher."""
        key = _key(uri)
        info = self.system.get_file_info(key)
        found = [info] if info.is_file else self.list(uri)
        for entry in found:
            target = path / os.path.relpath(entry.path, key)
            target.parent.mkdir(parents=True, exist_ok=True)
            fs.copy_files(entry.path, str(target), source_filesystem=self.system)

    def upload(self, path: Path, uri: str) -> None:
        """Copies a file, or all files below a directory."""
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file():
                key = os.path.normpath(os.path.join(_key(uri), file.relative_to(path)))
                fs.copy_files(str(file), key, destination_filesystem=self.system)

    def list(self, uri: str) -> list[fs.FileInfo]:
        """All objects below a prefix."""
        selector = fs.FileSelector(_key(uri), recursive=True, allow_not_found=True)
        return [info for info in self.system.get_file_info(selector) if info.is_file]


def _key(uri: str) -> str:
    return uri.partition("://")[2]


@contextlib.contextmanager
def object_store(directory: Path) -> Iterator[ObjectStore]:
    """Runs MinIO where `find_minio` finds it, else moto's S3; with one bucket, `digits`."""
    minio = find_minio()
    with _minio(minio, directory) if minio else _moto() as address:
        system = fs.S3FileSystem(
            endpoint_override=address,
            scheme="http",
            access_key=USER,
            secret_key=PASSWORD,
            region="us-east-1",
            allow_bucket_creation=True,
        )
        system.create_dir(BUCKET)
        yield ObjectStore(system, address, minio or "moto")


def find_minio() -> str | None:
    """The path of MinIO's binary; None where there is none.

    Raises:
        InputError: `DIGITS_MINIO` names no program.
    """
    named = os.environ.get(MINIO_VARIABLE)
    found = shutil.which(named or "minio")
    if named and not found:
        raise InputError(f"{MINIO_VARIABLE}={named}: no such program; unset it to run without")
    return found


@contextlib.contextmanager
def _minio(binary: str, directory: Path) -> Iterator[str]:
    address = f"127.0.0.1:{free_port()}"
    with (directory / "minio.log").open("w") as log:
        process = subprocess.Popen(
            [binary, "server", "--quiet", "--address", address, str(directory / "minio")],
            env={**os.environ, "MINIO_ROOT_USER": USER, "MINIO_ROOT_PASSWORD": PASSWORD},
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until_up(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def _wait_until_up(address: str, process: subprocess.Popen[bytes]) -> None:
    import httpx

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://{address}/minio/health/ready").status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"minio does not answer at {address}")


@contextlib.contextmanager
def _moto() -> Iterator[str]:
    import logging

    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"{host}:{port}"
    finally:
        server.stop()
