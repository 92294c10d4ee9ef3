# SPDX-License-Identifier: MIT
"""What the subcommands share: their surroundings, and small things."""
import argparse
import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

from . import fio

REPOSITORY = Path(__file__).resolve().parents[3]


def program(args):
    """The coblk to measure."""
    return args.coblk or os.environ.get('COBLK') or str(
        REPOSITORY / 'build/src/cmd/coblk')


def default_disk_dir():
    build = REPOSITORY / 'build'
    return build if build.is_dir() else Path('/var/tmp')


def rotated(names, turn):
    shift = turn % len(names)
    return names[shift:] + names[:shift]


def environment():
    return {'date': datetime.datetime.now().astimezone().isoformat(),
            'kernel': platform.release(), 'cpus': os.cpu_count(),
            'load': os.getloadavg()[0], 'fio': fio.version()}


def warn_of_noise(environment):
    if environment['load'] > environment['cpus'] / 2:
        print(f'\nnoise: the load was {environment["load"]:.1f} at the '
              'start; other programs share the CPUs')
    if environment['steal'] > 0.02:
        print(f'\nnoise: the hypervisor took {environment["steal"]:.0%} of '
              'the CPU time')


def progress(text):
    if sys.stderr.isatty():
        print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)


def remove_tree(directory):
    # --one-file-system: were a mount left, its files would not be touched.
    subprocess.run(['rm', '-rf', '--one-file-system', directory], check=True)


def positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'want a number >= 1, not {text}')
    return int(text)
