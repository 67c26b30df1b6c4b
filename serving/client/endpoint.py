"""Which model to ask, where, and how long to try."""

from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

from serving.client.tls import Tls
from serving.errors import InputError

#: gRPC allows no more.
MAX_RETRIES = 4
#: Bound of a server's answer: 64 predictions take 3 kB.
MAX_ANSWER_BYTES = 4 * 1024 * 1024

#: Names in gRPC's own syntax, taken as they are.
_GRPC_NAMES = ("dns", "ipv4", "ipv6", "unix")
_FORMS = "grpc://HOST:PORT, grpcs://HOST:PORT, http://HOST:PORT or https://HOST:PORT"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A model on a server, and how to ask it; `Client` says what the fields mean.

    Raises:
        InputError: a field's value makes no sense.
    """

    address: str
    model: str
    version: int | None
    label: str | None
    timeout: float
    retries: int
    tls: Tls | None
    round_robin: bool
    max_message_bytes: int

    def __post_init__(self) -> None:
        url = self._url
        if url.scheme not in _GRPC_NAMES:
            if url.scheme not in ("grpc", "grpcs", "http", "https") or not url.hostname:
                raise InputError(f"{self.address}: expected {_FORMS}")
            if url.query or url.fragment or (self.is_grpc and url.path):
                raise InputError(f"{self.address}: more than an address; expected {_FORMS}")
            if self.is_grpc and not url.port:
                raise InputError(f"{self.address}: no port; TF Serving's for gRPC is 8500")
        if self.tls and url.scheme in ("grpc", "http"):
            raise InputError(f"{self.address}: is without TLS; use {url.scheme}s://")
        if self.round_robin and not self.is_grpc:
            raise InputError(f"{self.address}: round_robin is for gRPC")
        if self.version is not None and self.label is not None:
            raise InputError("a version and a label exclude each other: give one")
        if self.version is not None and not 0 <= self.version < 2**63:
            raise InputError(f"version {self.version}; expected a number, 0 or greater")
        if not self.model or self.label == "":
            raise InputError("the name of the model, or of the version's label, is empty")
        if not 0 < self.timeout < float("inf"):
            raise InputError(f"time-out {self.timeout}; expected seconds, more than 0")
        if not 0 <= self.retries <= MAX_RETRIES:
            raise InputError(f"{self.retries} retries; expected 0 to {MAX_RETRIES}")

    @property
    def is_grpc(self) -> bool:
        """Whether to speak gRPC; else REST."""
        return self._url.scheme in ("grpc", "grpcs", *_GRPC_NAMES)

    @property
    def is_secure(self) -> bool:
        """Whether to use TLS."""
        return self._url.scheme in ("grpcs", "https") or self.tls is not None

    @property
    def grpc_target(self) -> str:
        """The address as gRPC names it."""
        if self._url.scheme in _GRPC_NAMES:
            return self.address
        return f"dns:///{self._url.netloc}"

    @property
    def predict_url(self) -> str:
        """The address of the model's REST `:predict` method."""
        path = f"/v1/models/{quote(self.model, safe='')}"
        if self.version is not None:
            path += f"/versions/{self.version}"
        if self.label is not None:
            path += f"/labels/{quote(self.label, safe='')}"
        return f"{self.address.rstrip('/')}{path}:predict"

    @property
    def _url(self) -> SplitResult:
        try:
            url = urlsplit(self.address)
            _ = url.port  # raises where it is no number
        except ValueError as error:
            raise InputError(f"{self.address}: expected {_FORMS}") from error
        return url
