# SPDX-License-Identifier: MIT
"""Where images lie: a private tmpfs (RAM) or a directory on disk.

Each contender has an image of its own on the same medium, of the same size
and bytes: none finds its blocks warmed or its extents split by another.
"""
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .cleanup import undo, uninterrupted

MIB = 1 << 20
HEADROOM = 256 * MIB  # what stays free on the medium


class Unusable(Exception):
    """A medium cannot be used here; the text says why, and what helps."""


@dataclass
class Medium:
    name: str  # 'ram' or 'disk'
    directory: Path


def open_ram(stack, need):
    """A tmpfs of our own when root, else a directory in /dev/shm."""
    if _mem_available() < need + HEADROOM:
        raise Unusable(f'{need // MIB} MiB of images do not fit into the free '
                       'memory: give a smaller --size')
    if os.geteuid() == 0:
        return _own_tmpfs(stack, need)
    directory = _own_directory(stack, Path('/dev/shm'), 'ram')
    return _usable('ram', directory, need)


def open_disk(stack, parent, need):
    parent.mkdir(parents=True, exist_ok=True)
    directory = _own_directory(stack, parent, 'disk')
    kind = _fs_type(directory)
    if kind in ('tmpfs', 'overlay'):
        raise Unusable(f'{parent} lies on {kind}, not on a disk: '
                       'name another with --disk-dir')
    return _usable('disk', directory, need + HEADROOM)


def fill(path, size):
    """Write @size incompressible bytes, so that no block is a hole."""
    with open(path, 'wb') as f:
        for offset in range(0, size, MIB):
            f.write(os.urandom(min(MIB, size - offset)))
    _settle(path)


def copy(source, path):
    shutil.copyfile(source, path)
    _settle(path)


def _own_tmpfs(stack, need):
    directory = Path(tempfile.mkdtemp(prefix='coblk-bench-ram-'))
    undo(stack, f'rmdir {directory}', os.rmdir, directory)
    # Pages are charged for what is written only, so a bit more costs nothing.
    with uninterrupted():
        subprocess.run(['mount', '-t', 'tmpfs', '-o',
                        f'size={need + HEADROOM},mode=700', 'coblk-bench',
                        directory], check=True)
        undo(stack, f'umount {directory}', _umount, directory)
    return _usable('ram', directory, need)


def _umount(directory):
    subprocess.run(['umount', directory], check=True)


def _own_directory(stack, parent, name):
    directory = Path(tempfile.mkdtemp(prefix=f'coblk-bench-{name}-',
                                      dir=parent))
    undo(stack, f'remove {directory}', shutil.rmtree, directory)
    return directory


def _usable(name, directory, need):
    free = shutil.disk_usage(directory).free
    if free < need:
        raise Unusable(f'{directory} has {free // MIB} MiB free, '
                       f'{need // MIB} MiB are needed: give a smaller --size')
    probe = directory / 'probe'
    probe.touch()
    try:
        os.close(os.open(probe, os.O_RDWR | os.O_DIRECT))
    except OSError as e:
        raise Unusable(f'{directory}: no O_DIRECT ({e.strerror}); '
                       'tmpfs has it since Linux 6.6') from e
    finally:
        probe.unlink()
    return Medium(name, directory)


def _settle(path):
    """Have the bytes on the medium and out of the page cache."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def _fs_type(path):
    return subprocess.run(['stat', '-f', '-c', '%T', path], check=True,
                          capture_output=True, text=True).stdout.strip()


def _mem_available():
    with open('/proc/meminfo', encoding='ascii') as f:
        for line in f:
            if line.startswith('MemAvailable:'):
                return int(line.split()[1]) * 1024
    return 0
