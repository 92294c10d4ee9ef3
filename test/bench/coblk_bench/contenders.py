# SPDX-License-Identifier: MIT
"""What is measured: how each contender starts, where its file is, how it ends.

A contender gets an image of its own and an empty directory to work in, and
answers with the path that fio is to use.  All of them are up at the same time.
"""
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

from .cleanup import uninterrupted

START_S = 10  # until a daemon's file must be there
STOP_S = 10   # until a daemon must have ended after SIGTERM


class StartError(Exception):
    """A contender cannot run here; the text says why."""


class Contender:
    """The bare backing file; the others differ from it."""
    wants_image = True
    direct = True  # its image is not read through the page cache

    def __init__(self, name):
        self.name = name

    def missing(self):
        """Why it cannot run at all, or None."""
        return None

    def start(self, image, _workdir):
        """Bring it up on @image and return the path to measure."""
        return image

    def session(self):
        """The session id of its processes, or None if it has none."""
        return None

    def failed(self):
        """How it has died, or None while it is up."""
        return None

    def stop(self):
        pass


class Loop(Contender):
    """The kernel's loop device."""

    def __init__(self, name):
        super().__init__(name)
        self._device = None

    def missing(self):
        if os.geteuid() != 0:
            return 'needs root'
        return _not_installed({'losetup': 'util-linux'})

    def start(self, image, _workdir):
        with uninterrupted():
            losetup = subprocess.run(
                ['losetup', '--direct-io=on', '--find', '--show', image],
                capture_output=True, text=True, check=False)
            if losetup.returncode != 0:
                raise StartError(losetup.stderr.strip())
            self._device = Path(losetup.stdout.strip())
        return self._device

    def stop(self):
        if self._device:
            subprocess.run(['losetup', '--detach', self._device], check=True)


class Mounted(Contender):
    """A file that somebody else has mounted already."""
    wants_image = False
    direct = False

    def __init__(self, name, path):
        super().__init__(name)
        self._path = Path(path)

    def missing(self):
        return None if self._path.exists() else f'no file {self._path}'

    def start(self, _image, _workdir):
        return self._path


class Daemon(Contender):
    """A program that shows its image as a file through FUSE.

    @argv(image, mountpoint) is its command line; it must stay in the
    foreground.  @inside names the file below a mounted directory; None when
    the mountpoint is itself a regular file.  @size is that of the file; None
    when it is the size of the image.
    """

    def __init__(self, name, argv, inside=None, needs=None, size=None,
                 direct=True):
        super().__init__(name)
        self.direct = direct
        self._argv = argv
        self._inside = inside
        self._size = size
        self._needs = {'fusermount3': 'fuse3', **(needs or {})}
        self._process = None
        self._mountpoint = None
        self._log = None

    def missing(self):
        if not os.access('/dev/fuse', os.R_OK | os.W_OK):
            return 'no access to /dev/fuse'
        return _not_installed(self._needs)

    def start(self, image, workdir):
        self._mountpoint = workdir / 'mnt'
        self._log = workdir / 'log'
        if self._inside:
            self._mountpoint.mkdir()
            target = self._mountpoint / self._inside
        else:
            self._mountpoint.touch()
            target = self._mountpoint
        with uninterrupted(), open(self._log, 'wb') as log:
            self._process = subprocess.Popen(
                self._argv(image, self._mountpoint), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)
        self._wait_for(target, self._size or image.stat().st_size)
        return target

    def session(self):
        return self._process.pid

    def failed(self):
        status = self._process.poll()
        if status is None:
            return None
        how = (f'killed by {signal.Signals(-status).name}' if status < 0
               else f'exit status {status}')
        return f'{how}: {self._last_words()}'

    def stop(self):
        if not self._process:
            return
        _unmount(self._mountpoint)
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired as e:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            raise StartError(
                f'{self.name} ignored SIGTERM for {STOP_S} s') from e
        finally:
            _unmount(self._mountpoint, lazy=True)

    def _wait_for(self, target, size):
        deadline = time.monotonic() + START_S
        while not _has_size(target, size):
            if self.failed():
                raise StartError(self.failed())
            if time.monotonic() > deadline:
                raise StartError(f'no file of {size} bytes within {START_S} '
                                 f's: {self._last_words()}')
            time.sleep(0.02)

    def _last_words(self):
        lines = self._log.read_text(errors='replace').strip().splitlines()
        return lines[-1] if lines else 'it said nothing'


def qemu_storage_daemon(name, image_format='raw', size=None):
    def argv(image, mountpoint):
        return ['qemu-storage-daemon',
                '--blockdev', 'driver=file,node-name=file,cache.direct=on,'
                f'aio=native,filename={image}',
                '--blockdev',
                f'driver={image_format},node-name=disk,file=file',
                '--export', 'type=fuse,id=export,node-name=disk,writable=on,'
                f'mountpoint={mountpoint}']

    return Daemon(name, argv, size=size,
                  needs={'qemu-storage-daemon': 'qemu-system-common'})


def nbdfuse(name):
    def argv(image, mountpoint):
        return ['nbdfuse', mountpoint, '[', 'nbdkit', 'file', image, ']']

    return Daemon(name, argv, direct=False,
                  needs={'nbdkit': 'nbdkit', 'nbdfuse': 'libnbd-bin'})


def coblk(name, program, options='', size=None):
    def argv(image, mountpoint):
        return [program, 'mount', '-f', *(['-o', options] if options else []),
                image, mountpoint]

    return Daemon(name, argv, inside='disk', needs={program: None}, size=size)


def shell(name, template):
    """@template says {image} and either {file} (a regular file to mount on)
    or {dir} (a directory; its `disk` is measured)."""
    if '{image}' not in template or not (
            ('{file}' in template) ^ ('{dir}' in template)):
        raise ValueError(f'{name}: the command needs {{image}} and one of '
                         '{file} and {dir}')

    def argv(image, mountpoint):
        place = shlex.quote(str(mountpoint))
        command = (template.replace('{image}', shlex.quote(str(image)))
                   .replace('{file}', place).replace('{dir}', place))
        return ['sh', '-c', 'exec ' + command]

    return Daemon(name, argv, inside='disk' if '{dir}' in template else None)


def parse(spec, program):
    """Make the contender that a --contender argument describes."""
    name, equals, what = spec.partition('=')
    kind, _, rest = what.partition(':')
    if not name or not equals:
        raise ValueError(f'{spec}: want NAME=KIND[:ARGUMENT]')
    if kind == 'coblk':
        return coblk(name, program, rest)
    if kind == 'file':
        return Mounted(name, rest)
    if kind == 'sh':
        return shell(name, rest)
    raise ValueError(f'{spec}: a kind is coblk, file or sh, not {kind}')


def _not_installed(needs):
    """@needs: program -> Debian package, None for one that we build."""
    for program, package in needs.items():
        if not shutil.which(program):
            return (f'no {program}: apt-get install {package}' if package
                    else f'no {program}: build it, or name it with --coblk')
    return None


def _has_size(path, size):
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _unmount(mountpoint, lazy=False):
    """Unmount if something is mounted there."""
    if not _is_mounted(mountpoint):
        return
    command = ['fusermount3', '-u', *(['-z'] if lazy else []), mountpoint]
    try:
        subprocess.run(command, check=False, capture_output=True,
                       timeout=STOP_S)
    except subprocess.TimeoutExpired:
        pass  # a daemon that hangs; stop() is about to kill it


def _is_mounted(mountpoint):
    with open('/proc/self/mounts', encoding='utf-8',
              errors='replace') as mounts:
        return any(line.split()[1] == str(mountpoint) for line in mounts)
