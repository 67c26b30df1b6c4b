"""What a model server serves, and the change of it, over gRPC and without TensorFlow."""

from dataclasses import dataclass
from typing import Any

import grpc

from serving.client import messages
from serving.client.endpoint import Endpoint
from serving.client.grpc_transport import open_channel, server_error
from serving.client.tls import Tls
from serving.errors import InputError, ServerError

#: Of gRPC, beside the canonical names that `ServerError` has.
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


@dataclass(frozen=True)
class VersionStatus:
    """What a server says of a version.

    Attributes:
        is_available: it answers requests.
        error: why it could not be loaded, if it could not.
    """

    is_available: bool
    error: str | None


class ModelService:
    """One model on one server: TF Serving, or what speaks as it does."""

    def __init__(self, address: str, *, model: str, timeout: float, tls: Tls | None = None):
        """Checks the options; the connection is made with the first request.

        Args:
            address: grpc://HOST:PORT, grpcs://HOST:PORT, or a name in gRPC's own syntax.
            model: its name on the server.
            timeout: seconds that one request may take.
            tls: whom to trust; for grpcs the public authorities if None.

        Raises:
            InputError: an option makes no sense.
        """
        self._endpoint = Endpoint(
            address=address,
            model=model,
            version=None,
            label=None,
            timeout=timeout,
            retries=0,
            tls=tls,
            round_robin=False,
            max_message_bytes=1024 * 1024,
        )
        if not self._endpoint.is_grpc:
            raise InputError(f"{address}: configurations are changed over gRPC: grpc://HOST:8500")
        self._channel = open_channel(grpc, self._endpoint)
        self.address = address

    def reload(self, config: bytes) -> None:
        """Has the server change to a serialised `ModelServerConfig`, of all its models.

        Raises:
            ServerError: it cannot be reached, or refuses.
        """
        request = messages.ReloadConfigRequest(config=config)
        answer = self._ask(messages.RELOAD_CONFIG, request, messages.ReloadConfigResponse)
        if answer.status.error_code:
            code = _CODES.get(answer.status.error_code, "UNKNOWN")
            raise ServerError(self.address, code, answer.status.error_message)

    def statuses(self) -> dict[int, VersionStatus]:
        """Returns what the server says of each version of the model; empty where it knows none.

        Raises:
            ServerError: the server cannot be reached, or refuses.
        """
        request = messages.GetModelStatusRequest()
        request.model_spec.name = self._endpoint.model
        try:
            answer = self._ask(messages.GET_MODEL_STATUS, request, messages.GetModelStatusResponse)
        except ServerError as error:
            if error.code == "NOT_FOUND":
                return {}
            raise
        return {
            status.version: VersionStatus(
                is_available=status.state == messages.AVAILABLE,
                error=status.status.error_message or "no reason given"
                if status.state == messages.END and status.status.error_code
                else None,
            )
            for status in answer.model_version_status
        }

    def version_of(self, label: str) -> int | None:
        """Returns the version that a label leads to; None where the server knows no such label.

        Raises:
            ServerError: the server cannot be reached, or refuses.
        """
        request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self._endpoint.model
        request.model_spec.version_label = label
        try:
            answer = self._ask(
                messages.GET_MODEL_METADATA, request, messages.GetModelMetadataResponse
            )
        except ServerError as error:
            if error.code in ("INVALID_ARGUMENT", "NOT_FOUND"):
                return None
            raise
        return answer.model_spec.version.value

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def _ask(self, method: str, request: Any, answer: Any) -> Any:
        call = self._channel.unary_unary(
            method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            return call(request, timeout=self._endpoint.timeout)
        except grpc.RpcError as error:
            raise server_error(self._endpoint, error) from error
