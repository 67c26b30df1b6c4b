"""Queries a model server over gRPC or REST: TF Serving, or what speaks as it does.

    with Client("grpc://localhost:8500", model="digits") as client:
        for prediction in client.classify(["seven.png", "three.jpg"]):
            print(prediction.file, prediction.label)

Imports no TensorFlow, and NumPy only where the caller has.
"""

from serving.client.client import AsyncClient, Client
from serving.client.tls import Tls
from serving.errors import InputError, ServerError
from serving.prediction import Prediction

__all__ = ["AsyncClient", "Client", "InputError", "Prediction", "ServerError", "Tls"]
