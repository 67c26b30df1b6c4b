"""`digits release list` and `show`."""

import json
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.config import RunRoot
from pipeline.release.change import Servers
from pipeline.release.history import History
from pipeline.release.versions import Version, pushed_versions, version_of


def describe_versions(root: RunRoot, servers: Servers) -> list[dict[str, Any]]:
    """Returns what is known of each version, oldest first, as JSON values.

    `served` is what the servers say; without any, what the last release said, or before the
    first one the latest version, which is TF Serving's default.

    Raises:
        InputError: there is no version, or a server cannot be reached.
    """
    versions = pushed_versions(root)
    labels = History.read(root.releases).labels
    released = set(labels.values()) or {max(versions)}
    served = servers.available() if servers.services else released
    return [_describe(version, served, labels) for version in versions.values()]


def _describe(version: Version, served: set[int], labels: dict[str, int]) -> dict[str, Any]:
    return {
        "version": version.number,
        "pushed": version.pushed.isoformat(timespec="seconds"),
        "data_sha256": version.data,
        "accuracy": version.accuracy,
        "int8_accuracy": version.int8_accuracy,
        "blessed": version.is_blessed,
        "served": version.number in served,
        "labels": sorted(label for label, number in labels.items() if number == version.number),
    }


def list_versions(root: RunRoot, servers: Servers, console: Console, *, as_json: bool) -> None:
    """Prints all versions.

    Raises:
        InputError: as `describe_versions`.
    """
    described = describe_versions(root, servers)
    if as_json:
        print(json.dumps(described, indent=2))
        return
    table = Table(box=box.SIMPLE, padding=0)
    for heading in ("version", "pushed (UTC)", "data", "accuracy", "int8"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("blessed", "served", "labels"):
        table.add_column(heading, no_wrap=heading != "labels")
    for facts in described:
        table.add_row(
            str(facts["version"]),
            facts["pushed"][:16].replace("T", " "),
            (facts["data_sha256"] or "")[:8],
            _share(facts["accuracy"]),
            _share(facts["int8_accuracy"]),
            "yes" if facts["blessed"] else "no",
            "yes" if facts["served"] else "",
            escape(", ".join(facts["labels"])),
        )
    console.print(table)
    pending = History.read(root.releases).pending
    if pending:
        console.print(
            f"unfinished: {pending.action} to {pending.labels}; give the same command again",
            highlight=False,
        )


def show_version(root: RunRoot, number: int, servers: Servers, *, as_json: bool) -> None:
    """Prints all that is known of a version, and its releases.

    Raises:
        InputError: it is not there, or a server cannot be reached.
    """
    version = version_of(pushed_versions(root), number)
    (facts,) = (f for f in describe_versions(root, servers) if f["version"] == number)
    facts["directory"] = str(version.served)
    facts["releases"] = [
        f"{release.at} {release.action}"
        for release in History.read(root.releases).releases
        if number in release.labels.values()
    ]
    facts["edge_model"] = version.description
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if name != "edge_model":
            print(f"{name:14} {_line(value)}")
    for name in ("recipe", "metrics"):
        for key, value in (version.description.get(name) or {}).items():
            print(f"{name:14} {key}: {_line(value)}")


def _line(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "; ".join(value) or "none"
    return str(value)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"
