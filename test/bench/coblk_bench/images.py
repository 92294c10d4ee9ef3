# SPDX-License-Identifier: MIT
"""Measure the image commands beside qemu-img, and mounted qcow2.

A round runs every case with every contender, in an order that rotates from
one case to the next; ratios of speed are taken inside a round, and their
median is printed."""
import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

from . import common, corpus, media, proc, report
from .cleanup import Interrupted, undo_stack
from .cases import CASES, CaseError, Place
from .contenders import StartError
from .fio import FioError

QUICK = {'rounds': 1, 'size': 64, 'image': 'ram'}
FULL = {'rounds': 5, 'size': 1024, 'image': 'both'}


def add_arguments(parser):
    parser.add_argument('--coblk', metavar='PATH', help='the program '
                        '(default: $COBLK, else build/src/cmd/coblk)')
    parser.add_argument('--also', metavar='NAME=PATH', action='append',
                        default=[], type=_named, help='one more coblk, say an '
                        'older one, for the image commands (repeatable)')
    parser.add_argument('--cases', metavar='NAMES', type=_cases,
                        help='of ' + ','.join(CASES) + ' (default: all)')
    parser.add_argument('--image', choices=('ram', 'disk', 'both'),
                        help='where the images lie (default: both)')
    parser.add_argument('--disk-dir', metavar='DIR', type=Path,
                        default=common.default_disk_dir(),
                        help='a directory on the disk (default: %(default)s)')
    parser.add_argument('--rounds', metavar='N', type=common.positive,
                        help='rounds to take the median of (default: 5)')
    parser.add_argument('--size', metavar='MIB', type=common.positive,
                        help='size of the full images (default: 1024)')
    parser.add_argument('--json', metavar='FILE', type=Path,
                        help='keep every sample and the summary in FILE')
    parser.add_argument('--check', action='store_true', help='compare with '
                        'the targets; exit status 1 if one is not reached')
    parser.add_argument('--quick', action='store_true', help='a smoke test: '
                        '1 round, 64 MiB, RAM only (unless said otherwise)')


def main(args):
    for key, value in ({**FULL, **QUICK} if args.quick else FULL).items():
        if getattr(args, key) is None:
            setattr(args, key, value)
    args.cases = args.cases or list(CASES)
    try:
        return _run(args)
    except Interrupted as e:
        print('interrupted; everything was cleaned up', file=sys.stderr)
        return e.status
    except (CaseError, FioError, StartError, FileNotFoundError) as e:
        print(f'run: {e}', file=sys.stderr)
        return 2


def _run(args):
    programs = _programs(args)
    ticks = proc.cpu_ticks()
    environment = {**common.environment(), 'qemu-img': _qemu_version()}
    print(f'{environment["qemu-img"]}, {environment["fio"]}, Linux '
          f'{environment["kernel"]}, {environment["cpus"]} CPUs, load '
          f'{environment["load"]:.1f}; {args.rounds} rounds, full images of '
          f'{args.size} MiB')
    media_names = ('ram', 'disk') if args.image == 'both' else (args.image,)
    results = []
    for name in media_names:
        try:
            results.append(_measure(args, name, programs))
        except media.Unusable as e:
            print(f'{name}: skipped: {e}')
            continue
        _print(results[-1])
    environment['steal'] = proc.steal_share(ticks, proc.cpu_ticks())
    common.warn_of_noise(environment)
    if args.json:
        args.json.write_text(json.dumps({
            'environment': environment,
            'arguments': {'rounds': args.rounds, 'size': args.size},
            'media': [r.to_json() for r in results]}, indent=1) + '\n',
            encoding='utf-8')
    missed = sum(len(r.missed()) for r in results) if args.check else 0
    if args.check:
        print(f'\n{missed} targets were not reached' if missed
              else '\nall targets were reached')
    return 1 if missed or not results else 0


def _programs(args):
    """What runs the image commands: {name: path}."""
    programs = {'coblk': common.program(args), **dict(args.also),
                'qemu-img': 'qemu-img'}
    for path in (*programs.values(), 'qemu-storage-daemon'):
        if not shutil.which(path):
            raise CaseError(f'no {path}; see test/bench/README.md')
    return programs


def _qemu_version():
    out = subprocess.run(['qemu-img', '--version'], capture_output=True,
                         text=True, check=True).stdout
    return ' '.join(out.split()[:3])


class Results:
    """samples[case][contender]: one cases.Sample per round."""

    def __init__(self, medium):
        self.medium = medium
        self.samples = {}

    def add(self, case, contender, sample):
        self.samples.setdefault(case, {}).setdefault(contender, []).append(
            sample)

    def ratios(self, case, contender):
        """Its speed over that of the case's base, for each round."""
        ours = self.samples[case][contender]
        base = self.samples[case][CASES[case].base]
        return [o.speed / b.speed for o, b in zip(ours, base)]

    def ratio(self, case, contender='coblk'):
        return median(self.ratios(case, contender))

    def missed(self):
        return [c for c in self.samples if self.ratio(c) < CASES[c].at_least]

    def to_json(self):
        return {'medium': self.medium, 'cases': {
            name: {'what': CASES[name].what, 'unit': CASES[name].unit,
                   'base': CASES[name].base, 'ratio': self.ratio(name),
                   'at_least': CASES[name].at_least,
                   'samples': {c: [vars(s) for s in samples]
                               for c, samples in by.items()}}
            for name, by in self.samples.items()}}


def _measure(args, medium_name, programs):
    results = Results(medium_name)
    size = args.size * media.MIB
    with undo_stack() as stack:
        need = corpus.room(size)
        medium = (media.open_ram(stack, need) if medium_name == 'ram' else
                  media.open_disk(stack, args.disk_dir, need))
        place = Place(medium.directory, corpus.Corpus(medium.directory, size),
                      size, medium_name == 'ram', programs)
        turn = 0
        for name in args.cases:
            with undo_stack() as own:
                common.progress(f'{medium_name}: preparing {name}')
                runs = CASES[name].prepare(own, place)
                for n in range(args.rounds):
                    common.progress(f'{medium_name}: {name}, round {n + 1} of '
                                    f'{args.rounds}')
                    turn += 1
                    for c in common.rotated(list(runs), turn):
                        results.add(name, c, runs[c]())
        common.progress('')
    return results


def _print(results):
    print(f'\n== {results.medium} ==')
    rows = [_row(results, name, contender, by[contender])
            for name, by in results.samples.items()
            for contender in sorted(by, key=lambda c: c == CASES[name].base)]
    report.print_table(('', '', 'speed', '', 'CPU s', 'ratio', 'min-max',
                        'target', ''), rows)


def _row(results, name, contender, samples):
    case = CASES[name]
    middle = median(s.value for s in samples)
    cpu = median(s.cpu_s for s in samples)
    head = (name, contender, report.number(middle, case.digits), case.unit,
            report.number(cpu, 3))
    if contender == case.base:
        return (*head, '', '', '', '')
    ratios = results.ratios(name, contender)
    row = (*head, f'{median(ratios):.2f}',
           f'{min(ratios):.2f}-{max(ratios):.2f}')
    if contender != 'coblk':
        return (*row, '', '')
    reached = results.ratio(name) >= case.at_least
    return (*row, f'>= {case.at_least:.2f}',
            'reached' if reached else 'NOT REACHED')


def _named(text):
    name, equals, path = text.partition('=')
    if not name or not equals or not os.access(path, os.X_OK):
        raise argparse.ArgumentTypeError(f'{text}: want NAME=PATH')
    return name, path


def _cases(text):
    names = text.split(',')
    for name in names:
        if name not in CASES:
            raise argparse.ArgumentTypeError(f'there is no {name}')
    return names
