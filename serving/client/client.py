"""The two clients; which protocol they speak is the address's matter."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator
from types import TracebackType
from typing import Protocol, Self

from serving.client.endpoint import MAX_RETRIES, Endpoint
from serving.client.inputs import Batch, Input, Inputs, batches
from serving.client.tls import Tls
from serving.errors import InputError
from serving.prediction import Prediction

#: Inputs of one request.
BATCH_SIZE = 64


class _Transport(Protocol):
    """Asks a server for the ten probabilities of each value of a batch."""

    def predict(self, batch: Batch) -> list[list[float]]: ...

    def close(self) -> None: ...


class _AsyncTransport(Protocol):
    async def predict(self, batch: Batch) -> list[list[float]]: ...

    async def close(self) -> None: ...


class _Base:
    def __init__(
        self,
        address: str,
        *,
        model: str = "digits",
        version: int | None = None,
        label: str | None = None,
        timeout: float = 10.0,
        retries: int = MAX_RETRIES,
        tls: Tls | None = None,
        round_robin: bool = False,
        batch_size: int = BATCH_SIZE,
        max_message_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        """Checks the options; the connection is made with the first request.

        Args:
            address: grpc://HOST:PORT, grpcs://HOST:PORT, http://HOST:PORT, https://HOST:PORT, or
                a name in gRPC's own syntax, say dns:///HOST:PORT.
            model: its name on the server.
            version: of the model; the server's choice, mostly the latest, if None.
            label: of the version, instead of its number.
            timeout: seconds that one request may take, its retries included; gRPC passes the
                deadline on to the server.
            retries: how often to try again, on UNAVAILABLE only; 0 to 4.
            tls: whom to trust; for grpcs and https the public authorities if None.
            round_robin: spread requests over all addresses of the name (gRPC only).
            batch_size: inputs of one request.
            max_message_bytes: bound of the inputs of one request; one that is larger alone is
                refused.

        Raises:
            InputError: an option makes no sense, or the extra `client` is not installed.
        """
        if batch_size < 1:
            raise InputError(f"batch size {batch_size}; expected 1 or more")
        self._batch_size = batch_size
        self._endpoint = Endpoint(
            address=address,
            model=model,
            version=version,
            label=label,
            timeout=timeout,
            retries=retries,
            tls=tls,
            round_robin=round_robin,
            max_message_bytes=max_message_bytes,
        )
        try:
            self._connect()
        except ModuleNotFoundError as error:
            raise InputError(f"{error.name} is not installed: pip install '.[client]'") from error

    def _connect(self) -> None:
        raise NotImplementedError

    def _batches(self, inputs: Inputs) -> Iterator[Batch]:
        return batches(inputs, size=self._batch_size, max_bytes=self._endpoint.max_message_bytes)


class Client(_Base):
    """Classifies digits on a model server; any number of threads may share it."""

    _transport: _Transport

    def _connect(self) -> None:
        # Each protocol's library takes a tenth of a second to import.
        if self._endpoint.is_grpc:
            from serving.client.grpc_transport import GrpcTransport

            self._transport = GrpcTransport(self._endpoint)
        else:
            from serving.client.rest_transport import RestTransport

            self._transport = RestTransport(self._endpoint)

    def classify(self, inputs: Inputs) -> list[Prediction]:
        """Names the digits in all inputs, which are checked before the first is sent.

        Args:
            inputs: one or many of: the path of a PNG or JPEG file, its bytes, a PIL image, a NumPy
                array of one or several digits of 28x28 pixels, 0 to 255, white on black.

        Returns:
            A prediction for each, in their order; an array of n digits has n.

        Raises:
            InputError: an input is not what it should be.
            ServerError: the server cannot be reached, or refuses.
        """
        checked = list(self._batches(inputs))
        return [prediction for batch in checked for prediction in self._ask(batch)]

    def classify_many(self, inputs: Iterable[Input]) -> Iterator[Prediction]:
        """Does the same a batch at a time, for more inputs than fit into memory.

        An input is read, and checked, when its batch is due.
        """
        for batch in self._batches(inputs):
            yield from self._ask(batch)

    def _ask(self, batch: Batch) -> list[Prediction]:
        return _predictions(batch, self._transport.predict(batch))

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient(_Base):
    """`Client` for asyncio; made, used and closed in one event loop."""

    _transport: _AsyncTransport

    def _connect(self) -> None:
        if self._endpoint.is_grpc:
            from serving.client.grpc_transport import AsyncGrpcTransport

            self._transport = AsyncGrpcTransport(self._endpoint)
        else:
            from serving.client.rest_transport import AsyncRestTransport

            self._transport = AsyncRestTransport(self._endpoint)

    async def classify(self, inputs: Inputs) -> list[Prediction]:
        """See `Client.classify`."""
        # In a thread, for pictures are read and decoded.
        checked = await asyncio.to_thread(lambda: list(self._batches(inputs)))
        return [prediction for batch in checked for prediction in await self._ask(batch)]

    async def classify_many(self, inputs: Iterable[Input]) -> AsyncIterator[Prediction]:
        """See `Client.classify_many`."""
        batches = self._batches(inputs)
        while batch := await asyncio.to_thread(next, batches, None):
            for prediction in await self._ask(batch):
                yield prediction

    async def _ask(self, batch: Batch) -> list[Prediction]:
        return _predictions(batch, await self._transport.predict(batch))

    async def close(self) -> None:
        """Closes the connection."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _predictions(batch: Batch, rows: list[list[float]]) -> list[Prediction]:
    return list(itertools.starmap(Prediction.of, zip(batch.files, rows, strict=True)))
