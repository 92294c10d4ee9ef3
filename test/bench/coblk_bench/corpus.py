# SPDX-License-Identifier: MIT
"""The images that the cases of `images` read; the same bytes in every run."""
import json
import random
import struct
import subprocess

MIB = 1 << 20
GIB = 1 << 30
WIDE = 8 * GIB  # size of the sparse and of the fragmented image
CLUSTER = 64 * 1024
COPIED = 1 << 63  # of a qcow2 table entry: the cluster has one user


class Corpus:
    """Images in @directory, made when they are asked for; the larger ones
    have @size bytes."""

    def __init__(self, directory, size):
        self._directory = directory
        self._size = size
        self._makers = {
            'full.raw': self._full,
            'full.qcow2': lambda path: self._qemu_convert('full.raw', path),
            'packable.raw': self._packable,
            'packable.qcow2':
                lambda path: self._qemu_convert('packable.raw', path),
            'packed.qcow2':
                lambda path: self._qemu_convert('packable.raw', path, '-c'),
            'sparse.raw': _sparse,
            'fragmented.qcow2': _fragmented,
        }

    def get(self, name):
        path = self._directory / name
        if not path.exists():
            self._makers[name](path)
        return path

    def first_run(self, name):
        """Where the beginning of the qcow2 image's disk lies in its file, and
        how many bytes lie there in one piece."""
        out = subprocess.run(['qemu-img', 'map', '--output=json',
                              self.get(name)], capture_output=True,
                             text=True, check=True).stdout
        extent = json.loads(out)[0]
        return extent['offset'], extent['length']

    def _full(self, path):
        """No zeroes, no two clusters alike."""
        rng = random.Random(1)
        with open(path, 'wb') as f:
            for _ in range(0, self._size, MIB):
                f.write(rng.randbytes(MIB))

    def _packable(self, path):
        """Clusters of prose and clusters of noise, in turn: what compresses
        well, and what does not at all.  A quarter of the size."""
        rng = random.Random(2)
        prose = _prose(rng, 8 * MIB)
        with open(path, 'wb') as f:
            for _ in range(0, self._size // 4, 2 * CLUSTER):
                start = rng.randrange(len(prose) - CLUSTER)
                f.write(prose[start:start + CLUSTER] + rng.randbytes(CLUSTER))

    def _qemu_convert(self, source, path, *options):
        subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2',
                        *options, self.get(source), path], check=True)


def _prose(rng, size):
    letters = 'etaoinshrdlucmfw'
    words = [''.join(rng.choices(letters, k=rng.randint(2, 9)))
             for _ in range(4000)]
    text = ' '.join(rng.choices(words, k=size // 4))
    return text.encode()[:size]


def _sparse(path):
    """Some hundred islands of data in a sea of holes."""
    rng = random.Random(3)
    with open(path, 'wb') as f:
        f.truncate(WIDE)
        for _ in range(400):
            f.seek(rng.randrange((WIDE - MIB) // 4096) * 4096)
            f.write(rng.randbytes(rng.choice((4096, 65536, 262144))))


def _fragmented(path):
    """A qcow2 image, written by nobody: two thirds of its clusters are
    allocated, each at a place that has nothing to do with its neighbours'.

    Laid out as header, refcount table, refcount blocks, L1 table, L2 tables,
    data (which are holes of the host's file)."""
    rng = random.Random(4)
    guests = WIDE // CLUSTER
    n_l2 = guests * 8 // CLUSTER
    used = sorted(rng.sample(range(guests), guests * 2 // 3))
    n_blocks = (len(used) + n_l2 + 64) * 2 // CLUSTER + 1
    l1 = 2 + n_blocks
    l2 = l1 + 1
    data = l2 + n_l2
    hosts = list(range(data, data + len(used)))
    rng.shuffle(hosts)

    entries = [0] * guests
    for guest, host in zip(used, hosts):
        entries[guest] = host * CLUSTER | COPIED
    end = data + len(used)
    with open(path, 'wb') as f:
        f.write(_header(l1, n_l2))
        _table(f, 1, [(2 + i) * CLUSTER for i in range(n_blocks)])
        f.seek(2 * CLUSTER)
        f.write(struct.pack('>H', 1) * end)
        _table(f, l1, [(l2 + i) * CLUSTER | COPIED for i in range(n_l2)])
        _table(f, l2, entries)
        f.truncate(end * CLUSTER)


def _header(l1, n_l2):
    """Of version 3: no backing file, refcounts of 16 bits, no features."""
    return struct.pack('>4sIQIIQIIQQIIQQQQII', b'QFI\xfb', 3, 0, 0, 16, WIDE,
                       0, n_l2, l1 * CLUSTER, CLUSTER, 1, 0, 0, 0, 0, 0, 4,
                       104)


def _table(f, cluster, entries):
    f.seek(cluster * CLUSTER)
    f.write(struct.pack(f'>{len(entries)}Q', *entries))


def room(size):
    """How many bytes all of it takes at most, with what the cases write."""
    return 5 * size + 2 * GIB


def create_empty(path, size):
    """A qcow2 image in which nothing is allocated."""
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', path,
                    str(size)], check=True)
