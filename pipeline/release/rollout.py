"""Brings servers to the versions and labels of a release, step by step, without a gap.

TF Serving refuses to give a label to a version that does not serve yet. So a server gets the new
versions beside the old ones, with the old labels; and once they serve, the new labels, and with
them leave to unload what has none.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.release.server_config import with_versions, write_config
from serving.client.model_service import ModelService
from serving.server.model_config import ModelServerConfig

POLL_SECONDS = 0.1


class NotLoaded(Exception):
    """A server could not load a version; all servers serve what they did before."""


class NotConfirmed(Exception):
    """A server took the change, and does not show it."""


@dataclass(frozen=True)
class _Observed:
    """What a server serves."""

    versions: frozenset[int]
    labels: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How to change servers.

    Attributes:
        model: its name on the servers.
        config: what the servers are to have beside the versions and labels of the model.
        config_was: the same as they have it, for those that cannot load a version.
        path: of the model configuration file.
        services: the model on each server; none: only the file is written.
        wait_seconds: for versions to load, and for a change to be confirmed.
        report: is told of each step.
    """

    model: str
    config: ModelServerConfig
    config_was: ModelServerConfig
    path: Path
    services: Sequence[ModelService]
    wait_seconds: float
    report: Callable[[str], None]

    def apply(self, labels: Mapping[str, int], *, known_labels: set[str]) -> None:
        """Has every server serve the labelled versions, and no others.

        May be repeated at any time: it starts from what the servers serve.

        Args:
            labels: the version of each label.
            known_labels: labels that the servers may have at present.

        Raises:
            NotLoaded: a version does not load; the servers, not the file, are as before.
            NotConfirmed: a server took the change, and does not show it.
            ServerError: a server cannot be reached, or refuses.
            OSError: the file cannot be written.
        """
        wanted = set(labels.values())
        before = [self._observe(service, known_labels | set(labels)) for service in self.services]
        if any(wanted - observed.versions for observed in before):
            self._load(wanted, before)
        final = with_versions(self.config, self.model, wanted, labels)
        write_config(self.path, final)
        for service in self.services:
            service.reload(final.SerializeToString())
        for service in self.services:
            self._confirm(service, wanted, labels)
            self.report(f"{service.address}: confirmed")

    def _load(self, wanted: set[int], before: list[_Observed]) -> None:
        """Has the wanted versions served beside those that are."""
        everywhere = wanted.union(*(observed.versions for observed in before))
        labels = {
            label: number
            for label, number in before[0].labels.items()
            if all(observed.labels.get(label) == number for observed in before)
        }
        # For servers that poll the file, and for one that starts anew just now.
        write_config(self.path, with_versions(self.config, self.model, everywhere, labels))
        for service, observed in zip(self.services, before, strict=True):
            missing = sorted(wanted - observed.versions)
            self.report(f"{service.address}: loading {', '.join(map(str, missing))}")
            config = with_versions(
                self.config, self.model, wanted | observed.versions, observed.labels
            )
            service.reload(config.SerializeToString())
        try:
            for service in self.services:
                self._wait_until_available(service, wanted)
        except NotLoaded:
            self._restore(before)
            raise

    def _restore(self, before: list[_Observed]) -> None:
        for service, observed in zip(self.services, before, strict=True):
            if observed.versions:
                config = with_versions(
                    self.config_was, self.model, observed.versions, observed.labels
                )
                service.reload(config.SerializeToString())

    def _observe(self, service: ModelService, labels: set[str]) -> _Observed:
        found = {label: service.version_of(label) for label in sorted(labels)}
        return _Observed(
            _available(service),
            {label: number for label, number in found.items() if number is not None},
        )

    def _wait_until_available(self, service: ModelService, wanted: set[int]) -> None:
        def is_available() -> bool:
            statuses = service.statuses()
            for number in sorted(wanted):
                if number in statuses and (error := statuses[number].error):
                    raise NotLoaded(f"{service.address} cannot load version {number}: {error}")
            return wanted <= {n for n, status in statuses.items() if status.is_available}

        if not self._happens(is_available):
            missing = ", ".join(map(str, sorted(wanted - _available(service))))
            (base_path,) = [
                entry.base_path
                for entry in self.config.model_config_list.config
                if entry.name == self.model
            ]
            raise NotLoaded(
                f"{service.address} does not serve version {missing} after "
                f"{self.wait_seconds:g} s; is it in {base_path} there (--base-path), or --wait "
                "too short?"
            )

    def _confirm(self, service: ModelService, wanted: set[int], labels: Mapping[str, int]) -> None:
        def is_as_wanted() -> bool:
            return _available(service) == wanted and all(
                service.version_of(label) == number for label, number in labels.items()
            )

        if not self._happens(is_as_wanted):
            raise NotConfirmed(
                f"{service.address} does not confirm the change after {self.wait_seconds:g} s: it "
                f"serves {sorted(_available(service))}; does another configuration reach it?"
            )

    def _happens(self, condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + self.wait_seconds
        while not condition():
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True


def _available(service: ModelService) -> frozenset[int]:
    return frozenset(n for n, status in service.statuses().items() if status.is_available)
