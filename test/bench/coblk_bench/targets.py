# SPDX-License-Identifier: MIT
"""The numbers that coblk is to reach, and whether it did."""
from dataclasses import dataclass

from .fio import WORKLOADS

MIB_KIB = 1024        # KiB per MiB: memory is in KiB
IDLE_NOISE_NS = 50_000  # one late timer is not "using CPU"; polling is


@dataclass(frozen=True)
class Share:
    """coblk's IOPS as a multiple of @base's in the same round."""
    image: str
    base: str
    workload: str
    at_least: float


SHARES = (
    Share('ram', 'bare', 'rr1', 0.10),
    Share('ram', 'bare', 'rr32', 0.45),
    Share('ram', 'bare', 'rw32', 0.40),
    Share('ram', 'bare', 'sw32', 0.50),
    Share('ram', 'bare', 'sr1m8', 0.35),
    Share('ram', 'bare', 'rr32x2', 0.28),
    Share('ram', 'qsd', 'rr1', 2.0),
    Share('ram', 'qsd', 'rr32', 1.6),
    Share('ram', 'qsd', 'rw32', 2.0),
    Share('ram', 'qsd', 'sw32', 3.0),
    Share('ram', 'qsd', 'sr1m8', 2.5),
    Share('disk', 'bare', 'rr1', 0.75),
    Share('disk', 'bare', 'rr32', 0.85),
    Share('disk', 'bare', 'rw32', 0.80),
    Share('disk', 'bare', 'sw32', 1.0),
    Share('disk', 'bare', 'sr1m8', 0.9),
)
CPU_US = {'rr32': 7.0, 'rw32': 7.0, 'sw32': 7.0}  # at most, per request
RSS_KIB = 16 * MIB_KIB                            # beside what is in flight
SECOND_IOTHREAD = 0.90                            # of one iothread, at least
ONE_IOTHREAD_NAME = 'coblk-1t'                    # coblk itself has two


@dataclass
class Verdict:
    what: str
    target: str
    measured: str
    reached: bool | None  # None: not measured


def check(results):
    """Compare @results (report.Results, one image) with the targets of the
    workloads that ran."""
    verdicts = [_share(results, s) for s in SHARES
                if s.image == results.image
                and s.workload in results.workloads]
    if results.image == 'ram':
        verdicts += [_cpu(results, w, limit) for w, limit in CPU_US.items()
                     if w in results.workloads]
    verdicts += _second_iothread(results)
    return verdicts + [_rss(results), _idle(results)]


def _share(results, share):
    ratio = results.ratio(share.workload, 'coblk', share.base)
    return Verdict(
        f'{share.workload} as a multiple of {share.base}',
        f'>= {share.at_least:.2f}',
        '-' if ratio is None else f'{ratio:.2f}',
        None if ratio is None else ratio >= share.at_least)


def _cpu(results, workload, limit):
    cpu = results.cpu_us(workload, 'coblk')
    return Verdict(
        f'{workload} daemon CPU per request', f'<= {limit:.1f} us',
        '-' if cpu is None else f'{cpu:.1f} us',
        None if cpu is None else cpu <= limit)


def _second_iothread(results):
    ratios = {w: results.ratio(w, 'coblk', ONE_IOTHREAD_NAME)
              for w in results.workloads}
    ratios = {w: r for w, r in ratios.items() if r is not None}
    worst = min(ratios, key=ratios.get, default=None)
    return [Verdict(
        'a second iothread, worst workload', f'>= {SECOND_IOTHREAD:.2f}',
        f'{ratios[worst]:.2f} ({worst})' if ratios else '-',
        ratios[worst] >= SECOND_IOTHREAD if ratios else None)]


def _rss(results):
    in_flight = max(WORKLOADS[w].in_flight for w in results.workloads) // 1024
    limit = RSS_KIB + in_flight
    memory = results.memory.get('coblk')
    return Verdict(
        f'peak RSS, {in_flight / MIB_KIB:.1f} MiB in flight',
        f'<= {limit / MIB_KIB:.1f} MiB',
        f'{memory.peak / MIB_KIB:.1f} MiB' if memory else '-',
        memory.peak <= limit if memory else None)


def _idle(results):
    idle = results.idle_ns.get('coblk')
    return Verdict(
        'CPU of an idle mount in 1 s', '0 us',
        '-' if idle is None else f'{idle / 1000:.0f} us',
        None if idle is None else idle <= IDLE_NOISE_NS)
