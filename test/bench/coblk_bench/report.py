# SPDX-License-Identifier: MIT
"""From samples to medians, ratios and the tables a person reads."""
from dataclasses import asdict, dataclass, field
from statistics import median

from .fio import WORKLOADS


@dataclass
class Results:
    """All that was measured on one image.

    samples[workload][contender] has one entry per round: a fio.Sample with
    the daemon's CPU time and the IOPS of its own image without the daemon (or
    None: those of the bare file), or None where the contender had failed.
    """
    image: str
    workloads: list
    contenders: list
    samples: dict = field(default_factory=dict)
    memory: dict = field(default_factory=dict)     # after the last round
    idle_ns: dict = field(default_factory=dict)    # CPU in 1 s of no requests
    absent: dict = field(default_factory=dict)     # contender -> reason
    died: dict = field(default_factory=dict)       # contender -> how

    def add(self, workload, contender, sample, cpu_ns, beneath):
        entry = None
        if sample:
            entry = {**asdict(sample), 'cpu_ns': cpu_ns,
                     'beneath_iops': beneath and beneath.iops}
        self.samples.setdefault(workload, {}).setdefault(
            contender, []).append(entry)

    def median(self, workload, contender, key):
        values = [s[key] for s in self._rounds(workload, contender) if s]
        return median(values) if values else None

    def ratios(self, workload, contender, base):
        """IOPS of @contender over @base, one for each round they share; each
        as a share of what its image gives."""
        return [c / b for c, b in zip(self._shares(workload, contender),
                                      self._shares(workload, base))
                if c and b]

    def ratio(self, workload, contender, base):
        values = self.ratios(workload, contender, base)
        return median(values) if values else None

    def cpu_us(self, workload, contender):
        """The daemon's CPU time per request; None without a daemon."""
        values = [s['cpu_ns'] / s['requests'] / 1000
                  for s in self._rounds(workload, contender)
                  if s and s['cpu_ns'] is not None]
        return median(values) if values else None

    def _shares(self, workload, contender):
        """For each round: IOPS over those of the bare file."""
        return [s and bare and s['iops'] / (s['beneath_iops'] or bare['iops'])
                for s, bare in zip(self._rounds(workload, contender),
                                   self._rounds(workload, 'bare'))]

    def _rounds(self, workload, contender):
        return self.samples.get(workload, {}).get(contender, [])


def print_results(results):
    print(f'\n== {results.image} image ==')
    for workload in results.workloads:
        _print_workload(results, workload)
    _print_daemons(results)
    for name, reason in results.absent.items():
        print(f'{name}: left out: {reason}')
    for name, how in results.died.items():
        print(f'{name}: FAILED {how}')


def print_verdicts(image, verdicts):
    """Print one line per target; return how many were not reached,
    those that could not be measured included."""
    words = {True: 'reached', False: 'NOT REACHED', None: 'not measured'}
    print(f'\n== {image} image: targets ==')
    print_table(
        ('', 'target', 'measured', ''),
        [(v.what, v.target, v.measured, words[v.reached]) for v in verdicts])
    return sum(not v.reached for v in verdicts)


def to_json(results):
    return {
        'image': results.image,
        'samples': results.samples,
        'summary': {w: {c: _summary(results, w, c)
                        for c in results.contenders}
                    for w in results.workloads},
        'memory_kib': {c: asdict(m) for c, m in results.memory.items()},
        'idle_cpu_ns_per_s': results.idle_ns,
        'absent': results.absent,
        'died': results.died,
    }


def _summary(results, workload, contender):
    keys = ('iops', 'bytes_per_s', 'p50_us', 'p99_us')
    return {**{k: results.median(workload, contender, k) for k in keys},
            'cpu_us': results.cpu_us(workload, contender),
            'of_bare': results.ratio(workload, contender, 'bare'),
            'of_qsd': results.ratio(workload, contender, 'qsd')}


def _print_workload(results, workload):
    print(f'\n{workload}: {WORKLOADS[workload].describe()}')
    print_table(
        ('', 'kIOPS', 'MB/s', 'p50 us', 'p99 us', 'CPU us/req', 'of bare',
         'min-max', 'of qsd'),
        [_row(results, workload, c) for c in results.contenders])


def _row(results, workload, contender):
    s = _summary(results, workload, contender)
    if s['iops'] is None:
        return (contender, 'failed', *[''] * 7)
    ratios = results.ratios(workload, contender, 'bare')
    spread = f'{min(ratios):.2f}-{max(ratios):.2f}' if ratios else '-'
    return (contender, number(s['iops'] / 1000, 1),
            number(s['bytes_per_s'] / 1e6, 0), number(s['p50_us'], 0),
            number(s['p99_us'], 0), number(s['cpu_us'], 1),
            number(s['of_bare'], 2), spread, number(s['of_qsd'], 2))


def _print_daemons(results):
    if not results.memory:
        return
    print('\ndaemons, idle after the last round')
    print_table(
        ('', 'RSS MiB', 'peak MiB', 'idle us/s'),
        [(c, number(m.rss / 1024, 1), number(m.peak / 1024, 1),
          number(results.idle_ns[c] / 1000, 0))
         for c, m in results.memory.items()])


def number(value, digits):
    return '-' if value is None else f'{value:.{digits}f}'


def print_table(head, rows):
    widths = [max(len(r[i]) for r in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:])]
        print('  ' + '  '.join(cells).rstrip())
