"""What a server answered, checked: it may be anything."""

import math

from serving.client.endpoint import Endpoint
from serving.client.inputs import Batch
from serving.errors import ServerError

DIGITS = 10


def checked(endpoint: Endpoint, batch: Batch, probabilities: object) -> list[list[float]]:
    """Returns the probabilities, if they are ten numbers for each value of a batch.

    Raises:
        ServerError: they are not.
    """
    if (
        isinstance(probabilities, list)
        and len(probabilities) == len(batch.values)
        and all(
            isinstance(row, list) and len(row) == DIGITS and all(map(_is_finite, row))
            for row in probabilities
        )
    ):
        return probabilities
    raise ServerError(
        endpoint.address,
        "INTERNAL",
        f"model {endpoint.model} answered something else than probabilities, "
        f"[{len(batch.values)}, {DIGITS}]: is it a model of digits?",
    )


def _is_finite(value: object) -> bool:
    # JSON may write 0 and 1 as integers, and others that no float can hold.
    return math.isfinite(value) if isinstance(value, float) else value in (0, 1)
