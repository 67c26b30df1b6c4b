"""Directories of versions, as servers poll them: each has a positive integer for a name."""

import os
import shutil
import tempfile

from pyarrow import fs

from components.object_store import copy_out, is_remote, open_directory

#: The file without which a directory is no served model.
SAVED_MODEL_FILE = "saved_model.pb"


def publish(source: str, base_directory: str, version: str, *, last: str) -> str:
    """Makes a version appear in one step: copies it beside, then renames it.

    An object store renames nothing: there, a version is whole when its last file has come.

    Args:
        source: the directory to publish.
        base_directory: the directory of all versions, which servers poll.
        version: a positive integer; if it is there already, nothing is done.
        last: the file without which nobody takes a directory for a version.

    Returns:
        The version's path.
    """
    path = os.path.join(base_directory, version)
    if is_remote(base_directory):
        if int(version) not in versions(base_directory, holding=last):
            copy_out(source, path, last=last)
        return path
    if os.path.exists(path):
        return path
    os.makedirs(base_directory, exist_ok=True)
    # Servers take only directories with numbers for names: a rest of a crash is never one.
    beside = tempfile.mkdtemp(prefix=f".{version}-", dir=base_directory)
    try:
        shutil.copytree(source, beside, dirs_exist_ok=True)
        os.chmod(beside, 0o755)
        os.rename(beside, path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return path


def versions(base_directory: str, *, holding: str) -> list[int]:
    """Returns the versions that are there, lowest first; none where there is no directory.

    Args:
        base_directory: the directory of all versions.
        holding: the file that makes a directory a version.
    """
    system, path = open_directory(base_directory)
    found = system.get_file_info(fs.FileSelector(path, allow_not_found=True))
    named = [info.base_name for info in found if info.base_name.isdecimal()]
    files = system.get_file_info([f"{path}/{name}/{holding}" for name in named])
    return sorted(int(name) for name, file in zip(named, files, strict=True) if file.is_file)
