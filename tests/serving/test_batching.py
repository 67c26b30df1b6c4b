"""Requests share runs, and never answers."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest

from serving.server.batching import Batcher, BatchingOptions
from serving.server.status import Code, ServingError


class Model:
    """Doubles `x`; refuses negative values; can be held back; notes who runs how many rows."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def run(
        self, signature: str, inputs: dict[str, np.ndarray], outputs: Sequence[str]
    ) -> list[np.ndarray]:
        self.gate.wait()
        x = inputs["x"]
        self.rows.append(len(x))
        self.threads.add(threading.get_ident())
        if signature == "total":
            return [x.sum()]
        if (x < 0).any():
            raise ServingError(Code.INVALID_ARGUMENT, "negative")
        return [x * 2]


def serve(
    scenario: Callable[[Model, Batcher], Awaitable[None]], **options: int | float | bool
) -> Model:
    """Runs a scenario with a model and its batcher."""
    model = Model()

    async def main() -> None:
        batcher = Batcher(model.run, BatchingOptions(**options), asyncio.get_running_loop())
        try:
            await scenario(model, batcher)
        finally:
            model.gate.set()
            batcher.close()

    asyncio.run(main())
    return model


def submit(
    batcher: Batcher, *values: float, signature: str = "double", **options: float | bool
) -> asyncio.Future[list[np.ndarray]]:
    inputs = {"x": np.array(values, np.float32)}
    return batcher.submit(signature, inputs, ("y",), **{"batch": True, **options})


def test_what_queues_during_a_run_shares_the_next() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        model.gate.clear()
        first = submit(batcher, 1)
        await asyncio.sleep(0.05)
        others = [submit(batcher, n, n + 0.5) for n in range(10)]
        model.gate.set()
        assert (await first)[0].tolist() == [2]
        for n, future in enumerate(others):
            assert (await future)[0].tolist() == [2 * n, 2 * n + 1]
        assert batcher.idle

    assert serve(scenario).rows == [1, 20]


def test_batches_are_bounded() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        model.gate.clear()
        futures = [submit(batcher, 0)]
        await asyncio.sleep(0.05)
        futures += [submit(batcher, n, n) for n in range(5)] + [submit(batcher, *range(9))]
        model.gate.set()
        await asyncio.gather(*futures)

    # Two requests of two rows fill a run of four or five; nine rows of one request stay together.
    assert serve(scenario, max_batch_size=5).rows == [1, 4, 4, 2, 9]


def test_what_comes_in_one_turn_of_the_loop_shares_a_run_in_its_thread() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        for turn in range(2):
            futures = [submit(batcher, n, inline=True) for n in range(turn, 3)]
            results = await asyncio.gather(*futures)
            assert [result[0].tolist() for result in results] == [[2 * n] for n in range(turn, 3)]
        assert batcher.idle

    model = serve(scenario)
    assert model.rows == [3, 2]
    assert model.threads == {threading.get_ident()}


def test_only_the_request_to_blame_fails() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        model.gate.clear()
        futures = [submit(batcher, 0)]
        await asyncio.sleep(0.05)
        futures += [submit(batcher, value) for value in (1, -1, 3)]
        model.gate.set()
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert isinstance(results[2], ServingError)
        assert [results[i][0].tolist() for i in (0, 1, 3)] == [[0], [2], [6]]

    assert serve(scenario).rows == [1, 3, 1, 1, 1]


def test_an_output_that_cannot_be_divided_is_made_for_each() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        model.gate.clear()
        futures = [submit(batcher, 0)]
        await asyncio.sleep(0.05)
        futures += [submit(batcher, value, signature="total") for value in (1, 2)]
        model.gate.set()
        results = await asyncio.gather(*futures)
        assert [result[0].tolist() for result in results] == [[0], 1, 2]

    serve(scenario)


@pytest.mark.parametrize("other", [{"signature": "total"}, {"batch": False}])
def test_different_requests_do_not_share_a_run(other: dict) -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        model.gate.clear()
        futures = [submit(batcher, 0)]
        await asyncio.sleep(0.05)
        futures += [submit(batcher, 1), submit(batcher, 2, **other), submit(batcher, 3)]
        model.gate.set()
        await asyncio.gather(*futures)

    assert sorted(serve(scenario).rows) == [1, 1, 2]


def test_batching_can_be_turned_off() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        await asyncio.gather(*(submit(batcher, n) for n in range(5)))

    assert serve(scenario, enabled=False).rows == [1] * 5


def test_a_full_queue_refuses() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        model.gate.clear()
        futures = [submit(batcher, n) for n in range(3)]
        with pytest.raises(ServingError) as failure:
            submit(batcher, 3)
        assert failure.value.code is Code.RESOURCE_EXHAUSTED
        model.gate.set()
        await asyncio.gather(*futures)
        await submit(batcher, 4)  # there is room again

    serve(scenario, max_enqueued=3)


def test_a_request_past_its_deadline_is_not_run() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        model.gate.clear()
        first = submit(batcher, 0)
        await asyncio.sleep(0.05)
        late = submit(batcher, 1, deadline=time.monotonic() + 0.01)
        await asyncio.sleep(0.05)
        model.gate.set()
        await first
        with pytest.raises(ServingError) as failure:
            await late
        assert failure.value.code is Code.DEADLINE_EXCEEDED

    assert serve(scenario).rows == [1]


def test_a_request_whose_caller_has_gone_is_not_run() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        model.gate.clear()
        first = submit(batcher, 0)
        await asyncio.sleep(0.05)
        submit(batcher, 1).cancel()
        model.gate.set()
        await first
        await submit(batcher, 2, 2)

    assert serve(scenario).rows == [1, 2]


def test_a_timeout_waits_for_more_rows() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        first = submit(batcher, 1)
        await asyncio.sleep(0.05)
        await asyncio.gather(first, submit(batcher, 2))

    assert serve(scenario, timeout=1.0, max_batch_size=2).rows == [2]
