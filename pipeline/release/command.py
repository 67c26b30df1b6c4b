"""The arguments of `digits release`. Nothing here imports a library that is slow to load."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from serving.argument_types import path
from serving.errors import InputError
from serving.quiet import stderr_to

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.config import RunRoot
    from pipeline.release.change import Servers


def add_release(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Adds the command.

    Args:
        commands: the sub-parsers.
        parents: of every sub-command: `--root` and `--verbose`.
    """
    release = commands.add_parser(
        "release",
        help="choose which pushed versions are served",
        description="Without --server only the files of the run root change; `digits serve`, and "
        "TF Serving with --model_config_file, start from them.",
    )
    actions = release.add_subparsers(required=True, metavar="ACTION")
    servers = argparse.ArgumentParser(add_help=False)
    where = servers.add_argument_group("servers")
    where.add_argument(
        "--server",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="grpc://HOST:PORT of a server; again for each replica",
    )
    where.add_argument("--model", default="digits", metavar="NAME", help="(default: digits)")
    where.add_argument(
        "--config",
        type=path,
        metavar="FILE",
        help="the model configuration that the servers have (default: ROOT/serving/model.config)",
    )
    where.add_argument(
        "--base-path",
        metavar="DIR",
        help="where the servers find the versions (default: as the file says; else that of ROOT)",
    )
    where.add_argument(
        "--wait", type=float, default=60, metavar="SECONDS", help="for a change (default: 60)"
    )
    where.add_argument("--tls-ca", metavar="PEM", help="authorities to trust, with grpcs")
    where.add_argument("--tls-cert", metavar="PEM", help="our certificate (mutual TLS)")
    where.add_argument("--tls-key", metavar="PEM", help="its key")

    def add(
        name: str, text: str, function: Any, *, asks_servers: bool = True
    ) -> argparse.ArgumentParser:
        shared = [*parents, servers] if asks_servers else parents
        action = actions.add_parser(name, parents=shared, help=text, description=text)
        action.set_defaults(command=function)
        return action

    listing = add("list", "all versions", _list)
    showing = add("show", "all that is known of a version", _show)
    showing.add_argument("version", type=int, metavar="VERSION")
    for action in (listing, showing):
        action.add_argument("--json", action="store_true", help="as JSON")
    diff = add("diff", "two versions on the same test digits", _diff, asks_servers=False)
    diff.add_argument("old", type=int, metavar="OLD")
    diff.add_argument("new", type=int, metavar="NEW")
    diff.add_argument("--data", metavar="WHAT", help="(default: what the last run read)")
    diff.add_argument(
        "--out", type=path, metavar="DIR", help="of the pictures (default: ROOT/diff)"
    )
    promote = add("promote", "serve a version as the stable one", _promote)
    promote.add_argument("version", type=int, metavar="VERSION")
    rollback = add("rollback", "serve the version that was stable before", _rollback)
    rollback.add_argument(
        "version",
        type=int,
        nargs="?",
        metavar="VERSION",
        help="to leave: a repetition then leaves no other (default: the stable one)",
    )
    canary = add("canary", "serve a version beside the stable one, by its label", _canary)
    which = canary.add_mutually_exclusive_group(required=True)
    which.add_argument("version", type=int, nargs="?", metavar="VERSION")
    which.add_argument("--end", action="store_true", help="take the label away again")
    canary.add_argument("--label", default="canary", metavar="NAME", help="(default: canary)")
    prune = add("prune", "remove old versions that are not in use", _prune)
    prune.add_argument("--keep", type=int, required=True, metavar="N", help="of the latest")


def _root(options: argparse.Namespace) -> "RunRoot":
    from pipeline.config import RunRoot

    return RunRoot(options.root)


@contextmanager
def _servers(options: argparse.Namespace) -> "Iterator[Servers]":
    from pipeline.release.change import Servers
    from serving.client.model_service import ModelService
    from serving.client.tls import Tls

    if not 0 < options.wait < float("inf"):
        raise InputError(f"--wait {options.wait}; expected seconds, more than 0")
    tls = Tls(ca=options.tls_ca, cert=options.tls_cert, key=options.tls_key)
    services = [
        ModelService(
            address,
            model=options.model,
            timeout=options.wait,
            tls=None if tls == Tls() else tls,
        )
        for address in options.server
    ]
    try:
        yield Servers(
            model=options.model,
            services=services,
            config=options.config or _root(options).server_config,
            base_path=options.base_path,
            wait_seconds=options.wait,
        )
    finally:
        for service in services:
            service.close()


def _console() -> "Console":
    from rich.console import Console

    return Console()


def _list(options: argparse.Namespace) -> None:
    from pipeline.release.show import list_versions

    with _servers(options) as servers:
        list_versions(_root(options), servers, _console(), as_json=options.json)


def _show(options: argparse.Namespace) -> None:
    from pipeline.release.show import show_version

    with _servers(options) as servers:
        show_version(_root(options), options.version, servers, as_json=options.json)


def _diff(options: argparse.Namespace) -> None:
    from pipeline.release.versions import pushed_versions, version_of

    root = _root(options)
    versions = pushed_versions(root)
    old, new = (version_of(versions, number) for number in (options.old, options.new))
    with stderr_to(None, verbose=options.verbose):
        from pipeline.release.diff import diff_versions

        diff_versions(root, old, new, options.data, options.out or root.path / "diff", _console())


def _promote(options: argparse.Namespace) -> None:
    from pipeline.release.change import promote

    with _servers(options) as servers:
        promote(_root(options), options.version, servers, print)


def _rollback(options: argparse.Namespace) -> None:
    from pipeline.release.change import rollback

    with _servers(options) as servers:
        rollback(_root(options), options.version, servers, print)


def _canary(options: argparse.Namespace) -> None:
    from pipeline.release.change import canary, end_canary

    with _servers(options) as servers:
        if options.end:
            end_canary(_root(options), options.label, servers, print)
        else:
            canary(_root(options), options.version, options.label, servers, print)


def _prune(options: argparse.Namespace) -> None:
    from pipeline.release.prune import prune

    if options.keep < 1:
        raise InputError(f"--keep {options.keep}; expected 1 or more")
    with _servers(options) as servers:
        prune(_root(options), options.keep, servers, print)
