#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Clients of a mount that are killed in the middle of what they do.

usage: crowd.py MOUNTPOINT CONTROL

CONTROL is a mount of another such image, which is left alone.

Prints "ok - WHAT" or "not ok - WHAT" for each check.
"""
import json
import mmap
import os
import random
import signal
import sys
import time

N_CLIENTS = 200
MIB = 1 << 20


def report(good, what, detail=''):
    print(f'{"ok" if good else "not ok"} - {what}')
    if not good:
        print(f'# {detail}')
    sys.stdout.flush()


class Mount:
    def __init__(self, mnt):
        self.mnt, self.path = mnt, f'{mnt}/disk'
        self.size = os.stat(self.path).st_size
        with open(f'{mnt}/.coblk/info.json') as f:
            self.pid = json.load(f)['pid']
        self.waiting = '/sys/fs/fuse/connections/' \
            f'{os.minor(os.stat(mnt).st_dev)}/waiting'

    def stats(self):
        with open(f'{self.mnt}/.coblk/stats.json') as f:
            return json.load(f)

    def n_waiting(self):
        with open(self.waiting) as f:
            return int(f.read())

    def daemon(self):
        """Threads, open files, KiB of memory."""
        with open(f'/proc/{self.pid}/status') as f:
            status = dict(line.split(':', 1) for line in f)
        return (int(status['Threads']),
                len(os.listdir(f'/proc/{self.pid}/fd')),
                int(status['VmRSS'].split()[0]))


def client(mount, kind):
    """Reads or writes for ever."""
    flags = os.O_DIRECT if kind < 3 else 0
    fd = os.open(mount.path, os.O_RDWR | flags)
    n = (MIB, 4096, 65536, 131072)[kind]
    memory = mmap.mmap(-1, n)
    random.seed(os.getpid())
    while True:
        at = random.randrange(mount.size // n) * n
        if kind == 2:
            os.pwritev(fd, [memory], at)
        else:
            os.preadv(fd, [memory], at)


def fork_clients(mount, n_kinds):
    children = []
    for i in range(N_CLIENTS):
        child = os.fork()
        if child == 0:
            try:
                client(mount, i % n_kinds)
            finally:
                os._exit(1)
        children.append(child)
    return children


def kill(children):
    """Returns how many were killed in time; reaps those."""
    for child in children:
        os.kill(child, signal.SIGKILL)
    left = set(children)
    end = time.monotonic() + 60
    while left and time.monotonic() < end:
        left -= {child for child in left
                 if os.waitpid(child, os.WNOHANG)[0] == child}
        time.sleep(0.01)
    return len(children) - len(left)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def reads(mount, seconds):
    """How many reads of 4 KiB are possible, one after the other."""
    fd = os.open(mount.path, os.O_RDONLY | os.O_DIRECT)
    memory = mmap.mmap(-1, 4096)
    n, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        os.preadv(fd, [memory], n % 1000 * 4096)
        n += 1
    os.close(fd)
    return n


def is_as_fast(mount, control):
    """In turns, since the machine may be busy with something else, too."""
    pairs = [(reads(mount, 0.1), reads(control, 0.1)) for _ in range(8)]
    return max(p[0] for p in pairs) > max(p[1] for p in pairs) / 2


def crowd(mount, name, stopped):
    """Kills clients while the daemon works, or while it is stopped and many
    requests wait for it (those of direct readers; others wait for each
    other)."""
    children = fork_clients(mount, 2 if stopped else 4)
    before = mount.stats()['read']['requests']
    time.sleep(0.4)

    def served():
        return mount.stats()['read']['requests'] - before

    report(wait_for(lambda: served() > N_CLIENTS), f'{name}: all are busy',
           f'{served()} requests')
    if stopped:
        os.kill(mount.pid, signal.SIGSTOP)
        try:
            busy = wait_for(lambda: mount.n_waiting() >= N_CLIENTS // 2)
            for child in children:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.2)
        finally:
            os.kill(mount.pid, signal.SIGCONT)
        report(busy, f'{name}: many wait', f'{mount.n_waiting()} do')
    died = kill(children)
    report(died == N_CLIENTS, f'{name}: all die at once',
           f'{N_CLIENTS - died} have not')
    report(wait_for(lambda: mount.n_waiting() == 0),
           f'{name}: the kernel waits for no answer',
           f'it waits for {mount.n_waiting()}')
    report(wait_for(lambda: mount.stats()['queue_depth'] == 0),
           f'{name}: no request is left')


def main(mnt, control):
    mount = Mount(mnt)
    crowd(mount, 'first', False)  # now the daemon has what it will need
    before = mount.daemon()
    for i in range(2):
        crowd(mount, f'round {i + 1}', False)
        crowd(mount, f'round {i + 1}, stopped', True)
    after = mount.daemon()
    report(after[1] <= before[1], 'no more open files', f'{before} {after}')
    report(after[2] < before[2] * 1.5 + 8192, 'no more memory',
           f'{before} {after}')
    report(wait_for(lambda: is_as_fast(mount, Mount(control))),
           'as fast as a mount without such clients')
    # Idle threads of the pool leave after some seconds.
    print(f'# threads, files, memory: before {before}, after {after}')


if __name__ == '__main__':
    main(*sys.argv[1:])
