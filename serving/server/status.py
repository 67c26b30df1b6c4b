"""Errors as both protocols report them: TensorFlow's codes, which are gRPC's, and HTTP's."""

import enum

import grpc

#: TensorFlow Serving cuts longer messages, which would overrun gRPC's trailers.
MESSAGE_LIMIT = 1024


class Code(enum.Enum):
    """A status code: TensorFlow's and gRPC's number, and the HTTP status."""

    OK = 0, 200
    CANCELLED = 1, 499
    UNKNOWN = 2, 500
    INVALID_ARGUMENT = 3, 400
    DEADLINE_EXCEEDED = 4, 504
    NOT_FOUND = 5, 404
    ALREADY_EXISTS = 6, 409
    PERMISSION_DENIED = 7, 403
    RESOURCE_EXHAUSTED = 8, 429
    FAILED_PRECONDITION = 9, 400
    ABORTED = 10, 409
    OUT_OF_RANGE = 11, 400
    UNIMPLEMENTED = 12, 501
    INTERNAL = 13, 500
    UNAVAILABLE = 14, 503
    DATA_LOSS = 15, 500
    UNAUTHENTICATED = 16, 401

    def __init__(self, number: int, http: int):
        self.number = number
        self.http = http

    @property
    def grpc(self) -> grpc.StatusCode:
        """The same code of gRPC."""
        return grpc.StatusCode[self.name]

    @classmethod
    def from_number(cls, number: int) -> "Code":
        """Returns the code of TensorFlow's number; UNKNOWN if there is none."""
        return _BY_NUMBER.get(number, cls.UNKNOWN)


_BY_NUMBER = {code.number: code for code in Code}


class ServingError(Exception):
    """A request that fails, with what the client is told."""

    def __init__(self, code: Code, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"

    @property
    def details(self) -> str:
        """The message as gRPC carries it."""
        if len(self.message) > MESSAGE_LIMIT:
            return self.message[:MESSAGE_LIMIT] + "...TRUNCATED"
        return self.message


def invalid(message: str) -> ServingError:
    """Returns an INVALID_ARGUMENT error."""
    return ServingError(Code.INVALID_ARGUMENT, message)
