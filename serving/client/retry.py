"""When to try again: on UNAVAILABLE only, later each time, alike over gRPC and REST."""

import random
import time

from serving.errors import ServerError

#: Seconds before the second attempt, before any at most, and the factor between.
INITIAL, MAXIMUM, MULTIPLIER = 0.1, 1.0, 2.0
#: Keeps many clients from coming back at once; gRPC's own.
JITTER = 0.2
CODE = "UNAVAILABLE"


def grpc_policy(retries: int) -> dict[str, object]:
    """The `retryPolicy` of a gRPC service config."""
    return {
        "maxAttempts": retries + 1,
        "initialBackoff": f"{INITIAL}s",
        "maxBackoff": f"{MAXIMUM}s",
        "backoffMultiplier": MULTIPLIER,
        "retryableStatusCodes": [CODE],
    }


class Budget:
    """What one REST request may still spend."""

    def __init__(self, *, timeout: float, retries: int) -> None:
        """Starts the clock.

        Args:
            timeout: seconds for all attempts.
            retries: how many after the first.
        """
        self._deadline = time.monotonic() + timeout
        self._retries = retries
        self._delay = INITIAL

    @property
    def seconds(self) -> float:
        """The time left; negative after the deadline."""
        return self._deadline - time.monotonic()

    def delay_after(self, error: ServerError) -> float:
        """Returns the seconds to wait before the next attempt.

        Raises:
            ServerError: the error itself, where there is no use or no time for another attempt.
        """
        delay = self._delay * random.uniform(1 - JITTER, 1 + JITTER)
        if error.code != CODE or not self._retries or delay >= self.seconds:
            raise error
        self._retries -= 1
        self._delay = min(self._delay * MULTIPLIER, MAXIMUM)
        return delay
