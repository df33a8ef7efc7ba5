"""A small disk for the database, which a test can fill and free."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.external_programs import missing

MEGABYTES = 192


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mounts a file system of MEGABYTES in memory at this folder. Skips the test if that isn't possible."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=700,uid={os.getuid()},gid={os.getgid()}", "tmpfs"]
    if _as_root(*mount, str(folder)) != 0:
        missing("a file system can't be mounted here: this requires root, or sudo without a password")
    try:
        yield folder
    finally:
        _as_root("umount", "--lazy", str(folder))


def fill(folder: Path) -> None:
    """Fills the disk of this folder to the last byte."""
    descriptor = os.open(folder / "filler", os.O_WRONLY | os.O_CREAT)
    try:
        size = 0
        for step in (1 << 20, 4096):
            while True:
                try:
                    os.posix_fallocate(descriptor, size, step)
                except OSError:  # ENOSPC
                    break
                size += step
    finally:
        os.close(descriptor)


def free(folder: Path) -> None:
    """Frees the space again."""
    (folder / "filler").unlink(missing_ok=True)


def _as_root(*command: str) -> int:
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which((sudo or command)[0]) is None:
        return 127
    return subprocess.run([*sudo, *command], capture_output=True, check=False).returncode
