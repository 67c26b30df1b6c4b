"""`digits demo`: its options."""

import argparse
from typing import Any

from serving.argument_types import path, port
from serving.quiet import stderr_to


def add_demo(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Adds the command.

    Args:
        commands: the sub-parsers.
        parents: `--root` and `--verbose`.
    """
    demo = commands.add_parser(
        "demo",
        parents=parents,
        help="a web page that runs the edge model: draw a digit",
    )
    demo.add_argument("--host", default="127.0.0.1", help="to bind (default: 127.0.0.1)")
    demo.add_argument(
        "--port", type=port, default=0, metavar="N", help="(default: any that is free)"
    )
    demo.add_argument("--server", metavar="ADDRESS", help="show this model server's answers too")
    demo.add_argument(
        "--no-open", dest="open", action="store_false", help="do not open a web browser"
    )
    demo.add_argument(
        "--export", type=path, metavar="DIR", help="write the page for a static web host instead"
    )
    demo.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> None:
    from export.web_page import page_files, write_page
    from export.web_server import PageServer, serve_page
    from pipeline.config import RunRoot
    from pipeline.release.current import current_version
    from serving.client import Client

    root = RunRoot(options.root)
    with stderr_to(None, verbose=options.verbose):
        files = page_files(current_version(root, root.edge), server=options.server)
    if options.export:
        write_page(files, options.export)
        return
    client = Client(options.server, timeout=3) if options.server else None
    server = PageServer(files, host=options.host, port=options.port, client=client)
    serve_page(server, open_browser=options.open)
