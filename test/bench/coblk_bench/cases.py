# SPDX-License-Identifier: MIT
"""The cases of `images`: what is run, against whom, and what is to be reached.

A case has prepare(stack, place), which returns {contender: function}; each
call of the function is one run and returns its Sample.
"""
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import contenders, corpus, fio, media, proc
from .cleanup import undo

RUNTIME_MS = 400
ALLOCATING = 16384  # requests of a run that allocates


class CaseError(Exception):
    """A contender failed; the text says at what."""


@dataclass(frozen=True)
class Place:
    """Where cases run, and with what."""
    directory: Path
    corpus: corpus.Corpus
    size: int       # of the full images
    alike: bool     # any two files here are equally fast
    programs: dict  # what runs image commands: name -> path


@dataclass
class Sample:
    value: float  # in the unit of the case
    speed: float  # more is better
    cpu_s: float  # of the contender's processes


@dataclass(frozen=True)
class Command:
    """An image command; coblk's syntax is qemu-img's.  In @argv, {NAME} is an
    image of the corpus, and {out} the target, which each run creates anew and
    deletes, so that no run waits for what another one has left to be written.

    Everything is in the page cache before the first run, and no cache mode is
    given: all contenders read through the page cache, and wait for the disk
    neither at the end nor on the way (cache=unsafe)."""
    name: str
    what: str
    argv: str
    at_least: float
    base: str = 'qemu-img'
    unit: str = 'ms'
    digits: int = 1

    def prepare(self, stack, place):
        out = place.directory / 'out'
        undo(stack, f'remove {out}', out.unlink, True)
        images = [place.corpus.get(word[1:-1]) for word in self.argv.split()
                  if word[0] == '{' and word != '{out}']
        found = iter(images)
        argv = [out if word == '{out}' else
                next(found) if word[0] == '{' else word
                for word in self.argv.split()]
        for name, program in place.programs.items():
            _execute([program, *argv])  # the first run fills the page cache
            if out in argv:
                _execute(['qemu-img', 'compare', '-q', images[0], out])
        return {name: partial(self._run, [program, *argv], out)
                for name, program in place.programs.items()}

    @staticmethod
    def _run(argv, out):
        out.unlink(missing_ok=True)
        begin = time.perf_counter()
        cpu_s = _execute(argv)
        seconds = time.perf_counter() - begin
        out.unlink(missing_ok=True)
        return Sample(1000 * seconds, 1 / seconds, cpu_s)


@dataclass(frozen=True)
class Mounted:
    """A workload on a qcow2 image with no hole, mounted by coblk, beside the
    same on a raw image.  Both are up at the same time.  All I/O bypasses the
    page cache (O_DIRECT, cache=none); nobody flushes.

    The workload covers what lies in one piece in both images.  Where files
    differ in speed (a disk), each run is followed by the same one on the image
    itself, and its speed is its share of that."""
    name: str
    what: str
    workload: str
    at_least: float
    base: str = 'raw'
    unit: str = 'kIOPS'
    digits: int = 1

    def prepare(self, stack, place):
        runs = {}
        offset, size = place.corpus.first_run('full.qcow2')
        for name, source, start in (('coblk', 'full.qcow2', offset),
                                    ('raw', 'full.raw', 0)):
            work = _workdir(stack, place, f'{self.name}-{name}')
            image = work / 'image'
            media.copy(place.corpus.get(source), image)
            daemon = contenders.coblk(name, place.programs['coblk'],
                                      size=place.size)
            undo(stack, f'stop {name}', daemon.stop)
            path = daemon.start(image, work)
            beneath = (image, start) if not place.alike else None
            runs[name] = partial(self._run, daemon, path, size, beneath)
            runs[name]()  # reads the tables, and sets the poller's pace
        return runs

    def _run(self, daemon, path, size, beneath):
        workload = fio.WORKLOADS[self.workload]
        sample = _measure(daemon, fio.run, workload, path, size, RUNTIME_MS)
        if beneath:
            image, start = beneath
            bare = fio.run(workload, image, size, RUNTIME_MS, start)
            sample.speed /= bare.iops
        return sample


@dataclass(frozen=True)
class Allocating:
    """Random writes to a qcow2 image in which nothing is allocated, a new one
    for each run, shown by coblk and by qemu-storage-daemon.  A part of the
    writes hit a cluster that one before them has allocated.  All I/O bypasses
    the page cache (O_DIRECT, cache=none); nobody flushes."""
    name: str
    what: str
    workload: str
    at_least: float
    base: str = 'qsd'
    unit: str = 'kIOPS'
    digits: int = 1

    def prepare(self, stack, place):
        daemons = {
            'coblk': partial(contenders.coblk, 'coblk',
                             place.programs['coblk'], size=corpus.WIDE),
            'qsd': partial(contenders.qemu_storage_daemon, 'qsd', 'qcow2',
                           size=corpus.WIDE),
        }
        return {name: partial(self._run, stack, make,
                              place.directory / f'{self.name}-{name}')
                for name, make in daemons.items()}

    def _run(self, stack, make, work):
        work.mkdir()
        image = work / 'image'
        corpus.create_empty(image, corpus.WIDE)
        daemon = make()
        undo(stack, f'stop {daemon.name}', daemon.stop)
        path = daemon.start(image, work)
        sample = _measure(daemon, fio.run_requests,
                          fio.WORKLOADS[self.workload], path, corpus.WIDE,
                          ALLOCATING)
        daemon.stop()
        shutil.rmtree(work)
        return sample


CASES = {c.name: c for c in (
    Command('raw-raw', 'convert raw to raw, full',
            'convert -O raw {full.raw} {out}', 1.0),
    Command('sparse', 'convert raw to raw, sparse',
            'convert -O raw {sparse.raw} {out}', 1.3),
    Command('raw-qcow2', 'convert raw to qcow2',
            'convert -O qcow2 {full.raw} {out}', 1.0),
    Command('qcow2-raw', 'convert qcow2 to raw',
            'convert -O raw {full.qcow2} {out}', 1.0),
    Command('pack', 'convert qcow2 to compressed qcow2',
            'convert -c -O qcow2 {packable.qcow2} {out}', 1.3),
    Command('unpack', 'convert compressed qcow2 to raw',
            'convert -O raw {packed.qcow2} {out}', 1.3),
    Command('compare', 'compare raw and qcow2 that are alike',
            'compare {full.raw} {full.qcow2}', 1.0),
    Command('map', 'map of a fragmented qcow2 of 8 GiB',
            'map --output=json {fragmented.qcow2}', 1.0),
    Command('check', 'check of the same',
            'check {fragmented.qcow2}', 1.0),
    Mounted('rr32', 'mounted qcow2, 4k random reads, depth 32', 'rr32', 0.85),
    Mounted('rw32', 'mounted qcow2, 4k random writes, depth 32', 'rw32', 0.85),
    Allocating('alloc', 'mounted qcow2, 4k random writes that allocate, '
               'depth 32', 'rw32', 1.5),
)}


def _execute(argv):
    """Run it to its end; the CPU time that it used, in seconds."""
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)
    try:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            process.terminate()
            process.wait()
    if process.returncode:
        words = ' '.join(str(word) for word in argv)
        raise CaseError(f'status {process.returncode}: {words}')
    return usage.ru_utime + usage.ru_stime


def _measure(daemon, run, *args):
    """A run of fio on the file of @daemon."""
    pids = proc.session_pids(daemon.session())
    before = proc.cpu_ns(pids)
    try:
        sample = run(*args)
    except (fio.FioError, OSError) as e:
        raise CaseError(f'{daemon.name}: {daemon.failed() or e}') from e
    return Sample(sample.iops / 1000, sample.iops,
                  (proc.cpu_ns(pids) - before) / 1e9)


def _workdir(stack, place, name):
    work = place.directory / name
    work.mkdir()
    undo(stack, f'remove {work}', shutil.rmtree, work)
    return work
