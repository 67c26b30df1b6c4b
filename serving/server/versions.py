"""The version directories of a model: which exist, which to serve, which are still being copied."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tensorflow_serving.config import file_system_storage_path_source_pb2

VersionPolicy: TypeAlias = (
    file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy
)


def find_versions(base_path: str) -> dict[int, str]:
    """Returns the directories whose names are numbers, by number.

    Raises:
        OSError: the base path cannot be read.
    """
    with os.scandir(base_path) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    return {
        int(name): os.path.join(base_path, name)
        for name in names
        if name.isascii() and name.isdecimal() and int(name) < 1 << 63
    }


def choose_versions(policy: VersionPolicy, found: Mapping[int, str]) -> dict[int, str]:
    """Returns the versions that a policy wants served: by default the latest one."""
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        numbers = sorted(found)
    elif choice == "specific":
        numbers = sorted(set(policy.specific.versions) & set(found))
    else:
        numbers = sorted(found)[-max(policy.latest.num_versions, 1) :]
    return {number: found[number] for number in numbers}


@dataclass(frozen=True)
class Snapshot:
    """The state of a directory's files.

    Attributes:
        files: path, size and times of each.
        changed: when the last one changed, in seconds since the epoch.
    """

    files: frozenset[tuple[str, int, int, int]]
    changed: float

    @classmethod
    def take(cls, directory: str) -> "Snapshot":
        """Looks at all files under a directory, or at one file.

        Raises:
            OSError: one cannot be read; it may just have been renamed.
        """
        files = set()
        changed = 0.0
        paths = [
            os.path.join(parent, name) for parent, _, names in os.walk(directory) for name in names
        ]
        for path in paths if os.path.isdir(directory) else [directory]:
            status = os.stat(path)
            files.add((path, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
            # Copying may keep the modification time, never the change time.
            changed = max(changed, status.st_ctime)
        return cls(frozenset(files), changed)

    def is_settled(self, previous: "Snapshot | None", seconds: float) -> bool:
        """Tells whether the copying has ended, by all signs.

        Args:
            previous: the last look, at least `seconds` ago.
            seconds: so long nothing may have changed.
        """
        is_old = bool(self.files) and time.time() - self.changed >= seconds
        return is_old or self == previous
