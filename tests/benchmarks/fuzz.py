"""Malformed requests, by the hundred thousand.

    make bench-fuzz [ARGS="--requests 100000 --seed 1"]

Half of them go over gRPC, half over REST; some are arbitrary bytes, most are valid requests with
something changed. Exit code 0: the process lives and still answers right, every answer was a
proper one, and memory stayed bounded.
"""

import argparse
import asyncio
import gzip
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import uvloop
from rich.console import Console

from tests.benchmarks.soak import mebibytes
from tests.serving.models import IDENTITY_TYPES, write_models
from tests.serving.servers import Address, Server, floats, predict_request, running

console = Console(width=100)

SERVICES = {
    "PredictionService": ("Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata"),
    "ModelService": ("GetModelStatus", "HandleReloadConfigRequest"),
}
SIGNATURES = (
    *("", "sum", "words", "constant", "convolution", "pool", "regress", "classify_labels", "S"),
    *(f"identity_{name}" for name in IDENTITY_TYPES),
)
NAMES = ("x", "first", "second", "words", "image", "inputs", "", "q")
LEAVES = (
    *(0, 1, 2.5, -1, 1 << 40, 1 << 70, float("nan"), float("inf"), True, None),
    *("x", "/wA=", "", "9" * 50, {"b64": "/w=="}, {"b64": 1}),
)
PARALLEL = 32
MAX_GROWTH_MIB = 300
#: What a malformed request may be told. gRPC itself answers bytes that are no message so.
PROPER = {
    *(grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND),
    *(grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.RESOURCE_EXHAUSTED),
    *(grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.ABORTED),
}
NOT_A_MESSAGE = "Error parsing message with type "


def main() -> int:
    """Runs the fuzzer; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        with running(root, *write_models(root)) as server:
            return _fuzz(server, options)


def _fuzz(server: Server, options: argparse.Namespace) -> int:
    answers: Counter[str] = Counter()
    improper: list[str] = []
    uvloop.run(_send(server.address, options.seed, options.requests // 20, answers, improper))
    before = mebibytes(server)
    uvloop.run(_send(server.address, options.seed + 1, options.requests, answers, improper))
    growth = mebibytes(server) - before
    for answer, count in answers.most_common():
        console.print(f"{count:8,}  {answer}")
    for text in improper[:10]:
        console.print(f"[red]{text}", markup=True)
    alive = server.process.poll() is None
    right = alive and server.address.predict("times", x=floats(3)).outputs["y"].float_val == [6.0]
    console.print(
        f"{answers.total():,} requests; {len(improper)} improper answers; "
        f"memory {growth:+,.0f} MiB; {'alive' if right else 'dead'}"
    )
    return int(bool(improper) or not right or growth > MAX_GROWTH_MIB)


async def _send(
    address: Address, seed: int, count: int, answers: Counter[str], improper: list[str]
) -> None:
    channel = grpc.aio.insecure_channel(address.grpc)
    per_caller = max(1, count // PARALLEL)

    async def caller(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        for _ in range(per_caller):
            if number % 2:
                await _grpc(channel, rng, answers, improper)
            else:
                await _rest(address.rest, rng, answers, improper)

    await asyncio.gather(*(caller(number) for number in range(PARALLEL)))
    await channel.close()


async def _grpc(
    channel: grpc.aio.Channel, rng: random.Random, answers: Counter[str], improper: list[str]
) -> None:
    service = rng.choice(list(SERVICES))
    method = rng.choice(SERVICES[service])
    if rng.random() < 0.6:
        service, method = "PredictionService", "Predict"
    data = _message(rng)
    try:
        call = channel.unary_unary(f"/tensorflow.serving.{service}/{method}")
        await call(data, timeout=60)
        answers["gRPC OK"] += 1
    except grpc.aio.AioRpcError as error:
        answers[f"gRPC {error.code().name}"] += 1
        if error.code() not in PROPER and not error.details().startswith(NOT_A_MESSAGE):
            improper.append(f"{method}({data[:100]!r}): {error.code()}: {error.details()}")


def _message(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.15:
        return rng.randbytes(rng.randrange(200))
    request = predict_request(
        rng.choice(["half_plus_two", "times", "nobody", ""]), signature=rng.choice(SIGNATURES)
    )
    if rng.random() < 0.1:
        request.model_spec.version.value = rng.choice([1, 2, 123, -1, 1 << 62])
    for _ in range(rng.choice([0, 1, 1, 1, 2])):
        _fill_tensor(request.inputs[rng.choice(NAMES)], rng)
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        request.output_filter.append(rng.choice(["y", "sum", "q", ""]))
    data = request.SerializeToString()
    if kind < 0.4 and data:
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        data = bytes(changed[: rng.randrange(1, len(changed) + 1)])
    return data


def _fill_tensor(tensor: Any, rng: random.Random) -> None:
    tensor.dtype = rng.choice([1, 1, 1, 2, 3, 4, 7, 9, 10, 19, 22, 23, 0, 101, 14, 8, 20, 21])
    for _ in range(rng.choice([0, 1, 1, 2, 3, 4, 5, 8, 70, 300])):
        size = rng.choice([0, 1, 1, 2, 3, 28, -1, 1 << 20, 1 << 40, (1 << 63) - 1])
        tensor.tensor_shape.dim.add().size = size if rng.random() < 0.3 else min(abs(size), 3)
    if rng.random() < 0.05:
        tensor.tensor_shape.unknown_rank = True
    if rng.random() < 0.5:
        tensor.tensor_content = rng.randbytes(rng.choice([0, 1, 4, 8, 12, 3136]))
    else:
        for _ in range(rng.randrange(4)):
            tensor.float_val.append(rng.choice([0.0, 1.5, float("nan"), float("inf"), -1e38]))
            tensor.int_val.append(rng.randrange(-(1 << 31), 1 << 31))
            tensor.string_val.append(rng.randbytes(3))
    if rng.random() < 0.1:
        tensor.half_val.append(rng.randrange(1 << 31))
        tensor.bool_val.append(True)
        tensor.int64_val.append(-(1 << 63))
        tensor.uint64_val.append((1 << 64) - 1)


async def _rest(
    address: str, rng: random.Random, answers: Counter[str], improper: list[str]
) -> None:
    data, is_http = _http_request(rng)
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        if not is_http:  # the server may wait for more
            writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 60)
    except OSError as error:
        answer = repr(error).encode()
    except TimeoutError:
        answer = b"time-out"
    finally:
        writer.close()
    status = answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/1.1 ") else ""
    answers[f"REST {status or 'closed'}"] += 1
    # What is not HTTP may be answered by hanging up.
    if status.startswith("5") or (is_http and not status) or answer == b"time-out":
        improper.append(f"{data[:200]!r}: {answer[:300]!r}")


def _http_request(rng: random.Random) -> tuple[bytes, bool]:
    """Returns bytes to send, and whether they are HTTP that must be answered."""
    if rng.random() < 0.05:
        return rng.randbytes(rng.randrange(1, 100)), False
    method = rng.choice(["POST"] * 12 + ["GET", "PUT", "OPTIONS", "DELETE", "HEAD"])
    model = rng.choice(["half_plus_two"] * 6 + ["times", "nobody", "%ff", "a" * 500, ""])
    middle = rng.choice([""] * 6 + ["/versions/2", "/versions/9", "/labels/stable", "/labels/%00"])
    end = rng.choice([":predict"] * 5 + [":classify", ":regress", "", "/metadata", ":guess"])
    body = _body(rng)
    headers = ["connection: close", f"content-length: {len(body)}"]
    if rng.random() < 0.1:
        headers.append("content-encoding: gzip")
        body = gzip.compress(body) if rng.random() < 0.7 else body
        headers[1] = f"content-length: {len(body)}"
    head = f"{method} /v1/models/{model}{middle}{end} HTTP/1.1\r\nhost: x\r\n"
    data = (head + "\r\n".join(headers) + "\r\n\r\n").encode("latin-1") + body
    return data, True


def _body(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.1:
        return rng.randbytes(rng.randrange(100))
    if kind < 0.13:
        depth = rng.choice([10, 70, 2000, 100_000])
        return b'{"instances": ' + b"[" * depth
    value: dict[str, Any] = {}
    if rng.random() < 0.7:
        value["signature_name"] = rng.choice([*SIGNATURES, 1, None])
    for _ in range(rng.choice([1, 1, 1, 2])):
        value[rng.choice(["instances", "instances", "inputs", "examples", "context"])] = _value(
            rng, 0
        )
    body = json.dumps(value).encode()
    if kind < 0.3:
        changed = bytearray(body)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        return bytes(changed[: rng.randrange(1, len(changed) + 1)])
    return body


def _value(rng: random.Random, depth: int) -> Any:
    if depth < 4 and rng.random() < 0.7:
        items = [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
        if rng.random() < 0.3:
            return {rng.choice([*NAMES, "b64"]): item for item in items}
        return items
    return rng.choice(LEAVES)


if __name__ == "__main__":
    sys.exit(main())
