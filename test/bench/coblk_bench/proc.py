# SPDX-License-Identifier: MIT
"""CPU time and memory of a daemon: all processes of one session.

Each daemon is started as the leader of a session of its own, so its session
id finds its children too (nbdfuse starts nbdkit), whoever their parent is.
"""
import os
import time
from dataclasses import dataclass

CPUCLOCK_SCHED = 2  # of the kernel's process clock ids: nanoseconds that ran


@dataclass
class Memory:
    """KiB, summed over the processes."""
    rss: int
    peak: int


def session_pids(sid):
    """The pids of session @sid; none when @sid is None."""
    if sid is None:
        return []
    return [pid for pid in _all_pids() if _session_of(pid) == sid]


def cpu_ns(pids):
    """CPU time (user and system) that @pids have used, threads that have
    ended included."""
    return sum(_cpu_ns(pid) for pid in pids)


def memory(pids):
    fields = [_status_kib(pid) for pid in pids]
    return Memory(rss=sum(f.get('VmRSS', 0) for f in fields),
                  peak=sum(f.get('VmHWM', 0) for f in fields))


def steal_share(before, after):
    """The share of CPU time that the hypervisor gave to others."""
    total = sum(after) - sum(before)
    return (after[7] - before[7]) / total if total else 0.0


def cpu_ticks():
    """The first line of /proc/stat; [7] is stolen time."""
    with open('/proc/stat', encoding='ascii') as f:
        return [int(n) for n in f.readline().split()[1:9]]


def _all_pids():
    return [int(name) for name in os.listdir('/proc') if name.isdigit()]


def _session_of(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8',
                  errors='replace') as f:
            stat = f.read()
    except OSError:
        return None
    state, _ppid, _pgrp, session = stat[stat.rindex(')') + 1:].split()[:4]
    return None if state == 'Z' else int(session)


def _cpu_ns(pid):
    try:
        return time.clock_gettime_ns((~pid << 3) | CPUCLOCK_SCHED)
    except OSError:
        return 0


def _status_kib(pid):
    try:
        with open(f'/proc/{pid}/status', encoding='utf-8',
                  errors='replace') as f:
            lines = f.readlines()
    except OSError:
        return {}
    return {key: int(value.split()[0])
            for key, _, value in (line.partition(':') for line in lines)
            if value.strip().endswith('kB')}
