"""`digits predict`: its options, and what answers."""

import argparse
from typing import TYPE_CHECKING, Any

from serving.errors import InputError
from serving.quiet import stderr_to

if TYPE_CHECKING:
    from serving.prediction import Prediction

#: Options of `digits predict --server`, as `Client` and `Tls` name them.
_CLIENT = ("model", "version", "label", "timeout", "round_robin")
_TLS = ("tls_ca", "tls_cert", "tls_key")


def add_predict(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Adds the command.

    Args:
        commands: the sub-parsers.
        parents: `--root` and `--verbose`.
    """
    predict = commands.add_parser(
        "predict", parents=parents, help="classify picture files with the pushed model"
    )
    predict.add_argument("files", nargs="+", metavar="FILE", help="PNG or JPEG, any size")
    where = predict.add_mutually_exclusive_group()
    where.add_argument("--edge", action="store_true", help="use the edge model")
    where.add_argument(
        "--server", metavar="ADDRESS", help="ask a model server, say grpc://localhost:8500"
    )
    predict.add_argument("--json", action="store_true", help="all probabilities, as JSON")
    server = predict.add_argument_group("with --server")
    server.add_argument("--model", metavar="NAME", help="(default: digits)")
    which = server.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="(default: the server's choice)")
    which.add_argument("--label", metavar="NAME", help="of the version, instead of its number")
    server.add_argument(
        "--timeout", type=float, metavar="SECONDS", help="of a request (default: 10)"
    )
    server.add_argument(
        "--round-robin",
        action="store_const",
        const=True,
        help="spread the requests over all addresses of the name (gRPC)",
    )
    server.add_argument("--tls-ca", metavar="PEM", help="authorities to trust, with grpcs, https")
    server.add_argument("--tls-cert", metavar="PEM", help="our certificate (mutual TLS)")
    server.add_argument("--tls-key", metavar="PEM", help="its key")
    predict.set_defaults(command=_predict)


def _predict(options: argparse.Namespace) -> None:
    from serving.prediction import print_predictions

    with stderr_to(None, verbose=options.verbose):
        ask = _predict_locally if options.server is None else _predict_on_server
        predictions = ask(options)
    print_predictions(predictions, as_json=options.json)


def _predict_locally(options: argparse.Namespace) -> "list[Prediction]":
    from pipeline.config import RunRoot
    from pipeline.release.current import current_version
    from serving import predict

    for name in (*_CLIENT, *_TLS):
        if getattr(options, name) is not None:
            raise InputError(f"--{name.replace('_', '-')} goes with --server ADDRESS")
    root = RunRoot(options.root)
    if options.edge:
        classifier = predict.edge_classifier(current_version(root, root.edge))
    else:
        classifier = predict.saved_model_classifier(current_version(root, root.serving))
    return predict.predict(options.files, classifier)


def _predict_on_server(options: argparse.Namespace) -> "list[Prediction]":
    from serving.client import Client, Tls
    from serving.client.command import predict_on_server

    tls = Tls(ca=options.tls_ca, cert=options.tls_cert, key=options.tls_key)
    given = {name: value for name in _CLIENT if (value := getattr(options, name)) is not None}
    client = Client(options.server, tls=None if tls == Tls() else tls, **given)
    return predict_on_server(options.files, client)
