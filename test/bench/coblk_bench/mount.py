# SPDX-License-Identifier: MIT
"""Measure mounts: coblk, its peers and the bare file, in the same rounds.

All contenders are up at once, each on an image of its own.  A round runs
every workload against every contender, in an order that rotates from one run
to the next; ratios are taken inside a round, and their median is printed."""
import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from . import common, contenders, fio, media, proc, report, targets
from .cleanup import Interrupted, undo, undo_stack

WARM_UP_MS = 100
SETTLE_S = 2.5  # daemons give memory back once, then they are idle
IDLE_S = 1.0
QUICK = {'rounds': 1, 'runtime': 200, 'size': 256,
         'workloads': ['rr32', 'rw32']}

CONTENDER_HELP = """one more contender (repeatable); SPEC is
NAME=coblk:OPTIONS (coblk mount -o OPTIONS),
NAME=file:PATH (a file that is mounted already), or
NAME=sh:COMMAND (a daemon that stays in the foreground; {image} is replaced by
its image, {file} by a regular file to mount on or {dir} by a directory in
which it shows `disk`)"""


def add_arguments(parser):
    parser.add_argument('--coblk', metavar='PATH', help='the program '
                        '(default: $COBLK, else build/src/cmd/coblk)')
    parser.add_argument('--contender', metavar='SPEC', action='append',
                        default=[], help=CONTENDER_HELP)
    parser.add_argument('--only', metavar='NAMES', type=_names, help='of all '
                        'contenders run these only, for example bare,coblk')
    parser.add_argument('--image', choices=('ram', 'disk', 'both'),
                        help='where the images lie (default: both)')
    parser.add_argument('--disk-dir', metavar='DIR', type=Path,
                        default=common.default_disk_dir(),
                        help='a directory on the disk (default: %(default)s)')
    parser.add_argument('--workloads', metavar='NAMES', type=_workloads,
                        help='of ' + ','.join(fio.WORKLOADS)
                        + ' (default: all)')
    parser.add_argument('--rounds', metavar='N', type=common.positive,
                        help='rounds to take the median of (default: 5)')
    parser.add_argument('--runtime', metavar='MS', type=common.positive,
                        help='length of one run (default: 400)')
    parser.add_argument('--size', metavar='MIB', type=common.positive,
                        help='size of each image (default: 1024)')
    parser.add_argument('--json', metavar='FILE', type=Path,
                        help='keep every sample and the summary in FILE')
    parser.add_argument('--check', action='store_true', help='compare with '
                        'the targets; exit status 1 if one is not reached')
    parser.add_argument('--quick', action='store_true', help='a smoke test: '
                        '1 round of 200 ms, rr32 and rw32, 256 MiB, RAM only '
                        '(unless said otherwise)')


def main(args):
    _fill_in_defaults(args)
    try:
        roster = _roster(args)
        return _run(args, roster)
    except Interrupted as e:
        print('interrupted; everything was cleaned up', file=sys.stderr)
        return e.status
    except (ValueError, FileNotFoundError, fio.FioError) as e:
        print(f'run: {e}', file=sys.stderr)
        return 2


def _run(args, roster):
    ticks = proc.cpu_ticks()
    environment = common.environment()
    print(f'{environment["fio"]}, Linux {environment["kernel"]}, '
          f'{environment["cpus"]} CPUs, load {environment["load"]:.1f}; '
          f'{args.rounds} rounds of {args.runtime} ms, '
          f'images of {args.size} MiB')
    images = ('ram', 'disk') if args.image == 'both' else (args.image,)
    all_results = []
    bad = 0
    for image in images:
        try:
            results = _measure(args, image, roster)
        except media.Unusable as e:
            print(f'{image} image: skipped: {e}')
            continue
        all_results.append(results)
        report.print_results(results)
        bad += len(results.died)
        if args.check:
            bad += report.print_verdicts(image, targets.check(results))
    environment['steal'] = proc.steal_share(ticks, proc.cpu_ticks())
    common.warn_of_noise(environment)
    if args.json:
        _write_json(args, environment, all_results)
    return 1 if bad or not all_results else 0


def _fill_in_defaults(args):
    full = {'rounds': 5, 'runtime': 400, 'size': 1024, 'image': 'both',
            'workloads': list(fio.WORKLOADS)}
    quick = {**full, **QUICK, 'image': 'ram'}
    for key, value in (quick if args.quick else full).items():
        if getattr(args, key) is None:
            setattr(args, key, value)


def _roster(args):
    """Every contender that was asked for; the bare file always comes first,
    because the others are measured against it."""
    program = common.program(args)
    roster = [contenders.Contender('bare'), contenders.Loop('loop'),
              contenders.qemu_storage_daemon('qsd'),
              contenders.nbdfuse('nbdfuse'),
              contenders.coblk('coblk', program, 'iothreads=2')]
    specs = list(args.contender)
    one = targets.ONE_IOTHREAD_NAME
    if args.check and not any(s.startswith(one + '=') for s in specs):
        specs.append(f'{one}=coblk:iothreads=1')
    roster += [contenders.parse(s, program) for s in specs]
    names = [c.name for c in roster]
    for name in [*names, *(args.only or [])]:
        if names.count(name) != 1:
            raise ValueError(f'contender {name}: ' + (
                'named twice' if name in names else 'there is none'))
    keep = args.only or names
    return [c for c in roster if c.name in keep or c.name == 'bare']


def _measure(args, image, roster):
    results = report.Results(image, args.workloads,
                             [c.name for c in roster])
    for contender in roster:
        if reason := contender.missing():
            results.absent[contender.name] = reason
    present = [c for c in roster if c.name not in results.absent]
    with undo_stack() as stack:
        medium = _open_medium(stack, args, image, present)
        paths = _start_all(stack, args, medium, present, results)
        bench = _Bench(args, paths, results)
        bench.warm_up()
        bench.rounds()
        bench.memory_and_idle()
    results.contenders = [n for n in results.contenders if n in paths]
    return results


def _open_medium(stack, args, image, present):
    need = args.size * media.MIB * sum(c.wants_image for c in present)
    if image == 'ram':
        return media.open_ram(stack, need)
    return media.open_disk(stack, args.disk_dir, need)


def _start_all(stack, args, medium, present, results):
    """Bring all of @present up; {name: (contender, image, path)} of those
    that came."""
    workdir = Path(tempfile.mkdtemp(prefix='coblk-bench-'))
    undo(stack, f'remove {workdir}', common.remove_tree, workdir)
    common.progress(f'{medium.name}: writing images')
    paths = {}
    first = None
    for contender in present:
        image = None
        if contender.wants_image:
            image = medium.directory / f'{contender.name}.img'
            if first:
                media.copy(first, image)
            else:
                media.fill(image, args.size * media.MIB)
            first = first or image
        own = workdir / contender.name
        own.mkdir()
        undo(stack, f'stop {contender.name}', contender.stop)
        try:
            paths[contender.name] = (contender, image,
                                     contender.start(image, own))
        except contenders.StartError as e:
            results.absent[contender.name] = str(e)
    return paths


class _Bench:
    """The contenders that are up, and what is done with them."""

    def __init__(self, args, up, results):
        self._args = args
        self._up = up  # name -> (contender, its image or None, path)
        self._results = results

    def warm_up(self):
        for name in self._up:
            common.progress(f'{self._results.image}: warming up {name}')
            self._one(name, fio.WORKLOADS['rr32'], WARM_UP_MS)

    def rounds(self):
        names = list(self._up)
        turn = 0
        for n in range(self._args.rounds):
            for workload in self._args.workloads:
                common.progress(f'{self._results.image}: round {n + 1} of '
                                f'{self._args.rounds}, {workload}')
                turn += 1
                for name in common.rotated(names, turn):
                    self._results.add(workload, name, *self._one(
                        name, fio.WORKLOADS[workload], self._args.runtime),
                        self._beneath(name, fio.WORKLOADS[workload]))
        common.progress('')

    def memory_and_idle(self):
        pids = {name: proc.session_pids(contender.session())
                for name, (contender, *_) in self._up.items()
                if contender.session() and name not in self._results.died}
        time.sleep(SETTLE_S)
        before = {name: proc.cpu_ns(p) for name, p in pids.items()}
        time.sleep(IDLE_S)
        for name, p in pids.items():
            self._results.idle_ns[name] = proc.cpu_ns(p) - before[name]
            self._results.memory[name] = proc.memory(p)

    def _one(self, name, workload, runtime):
        """One run: (sample, CPU time of the daemon or None)."""
        contender, _, path = self._up[name]
        if name in self._results.died:
            return None, None
        pids = proc.session_pids(contender.session())
        before = proc.cpu_ns(pids)
        try:
            sample = fio.run(workload, path, self._size(contender, path),
                             runtime)
        except (fio.FioError, OSError) as e:
            reason = contender.failed() or e
            self._results.died[name] = f'in {workload.name}: {reason}'
            return None, None
        return sample, proc.cpu_ns(pids) - before if pids else None

    def _beneath(self, name, workload):
        """What the image of @name gives without its daemon, just now; None
        where that is the same as of any other image."""
        contender, image, _ = self._up[name]
        if (self._results.image == 'ram' or name == 'bare'
                or name in self._results.died or not contender.direct):
            return None
        return fio.run(workload, image, self._size(contender, image),
                       self._args.runtime)

    def _size(self, contender, path):
        """The size to use: a file of somebody else may be smaller."""
        size = self._args.size * media.MIB
        if contender.wants_image:
            return size
        with open(path, 'rb') as f:
            return min(size, f.seek(0, os.SEEK_END))


def _write_json(args, environment, all_results):
    document = {
        'environment': environment,
        'arguments': {k: getattr(args, k) for k in (
            'rounds', 'runtime', 'size', 'workloads', 'contender')},
        'images': [report.to_json(r) for r in all_results],
    }
    args.json.write_text(json.dumps(document, indent=1) + '\n',
                         encoding='utf-8')


def _names(text):
    return text.split(',')


def _workloads(text):
    names = _names(text)
    for name in names:
        if name not in fio.WORKLOADS:
            raise argparse.ArgumentTypeError(f'there is no {name}')
    return names
