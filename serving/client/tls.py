"""Transport security of both protocols, from files in PEM form."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serving.errors import InputError

if TYPE_CHECKING:
    import grpc

_Path = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Whom to trust, and who we are.

    Attributes:
        ca: certificates of the authorities to trust; the usual public ones if None.
        cert: our own certificate, for servers that ask for one (mutual TLS).
        key: the certificate's private key.
    """

    ca: _Path | None = None
    cert: _Path | None = None
    key: _Path | None = None

    def ssl_context(self) -> ssl.SSLContext:
        """Returns the context for REST.

        Raises:
            InputError: a file is missing or not what it should be.
        """
        if (self.cert is None) != (self.key is None):
            raise InputError("a TLS certificate and its key go together: give both or neither")
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:  # ssl.SSLError too
            raise InputError(f"{self.ca}: {_fault(error, 'certificate')}") from error
        if self.cert is not None:
            for path in (self.cert, self.key):
                _read(path)  # load_cert_chain does not say which of the two is missing
            try:
                context.load_cert_chain(self.cert, self.key, password=_no_password)
            except OSError as error:
                what = f"certificate with {self.key} its unencrypted key"
                raise InputError(f"{self.cert}: {_fault(error, what)}") from error
        return context

    def grpc_credentials(self) -> "grpc.ChannelCredentials":
        """Returns the credentials for gRPC.

        Raises:
            InputError: a file is missing or not what it should be.
        """
        import grpc

        self.ssl_context()  # gRPC would find faults only on connecting, and not name the file
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.ca),
            private_key=_read(self.key),
            certificate_chain=_read(self.cert),
        )


def _read(path: _Path | None) -> bytes | None:
    try:
        return None if path is None else Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _no_password() -> str:
    raise ssl.SSLError("encrypted")  # else OpenSSL asks on the terminal


def _fault(error: OSError, expected: str) -> str:
    if isinstance(error, ssl.SSLError):
        return f"not a {expected}, in PEM form"
    return str(error.strerror)
