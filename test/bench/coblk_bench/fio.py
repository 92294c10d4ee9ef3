# SPDX-License-Identifier: MIT
"""The workloads, and one run of fio.  Always libaio and O_DIRECT."""
import json
import shutil
import subprocess
from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GRACE_S = 30  # beyond --runtime, before a run counts as hung


class FioError(Exception):
    """fio failed or hung; the text is its last complaint."""


@dataclass(frozen=True)
class Workload:
    name: str
    rw: str
    block: int
    depth: int
    jobs: int = 1

    @property
    def in_flight(self):
        """The most bytes that are on their way at one time."""
        return self.block * self.depth * self.jobs

    def describe(self):
        size = (f'{self.block // MIB}M' if self.block >= MIB
                else f'{self.block // KIB}k')
        order = 'random' if self.rw.startswith('rand') else 'sequential'
        verb = 'read' if self.rw.endswith('read') else 'write'
        jobs = f' x {self.jobs} jobs' if self.jobs > 1 else ''
        return f'{size} {order} {verb}, depth {self.depth}{jobs}'


WORKLOADS = {w.name: w for w in (
    Workload('rr1', 'randread', 4 * KIB, 1),
    Workload('rw1', 'randwrite', 4 * KIB, 1),
    Workload('rr32', 'randread', 4 * KIB, 32),
    Workload('rw32', 'randwrite', 4 * KIB, 32),
    Workload('sw32', 'write', 4 * KIB, 32),
    Workload('rr64k16', 'randread', 64 * KIB, 16),
    Workload('sr1m8', 'read', MIB, 8),
    Workload('sw1m8', 'write', MIB, 8),
    Workload('rr32x2', 'randread', 4 * KIB, 32, jobs=2),
)}


@dataclass
class Sample:
    """One run of one workload against one contender."""
    requests: int
    iops: float
    bytes_per_s: float
    p50_us: float
    p99_us: float


def run(workload, path, size, runtime_ms, offset=0):
    """Run @workload for @runtime_ms on @size bytes of @path, from @offset."""
    return _run(workload, path, size, runtime_ms / 1000 + GRACE_S,
                f'--offset={offset}', f'--runtime={runtime_ms}ms',
                '--time_based', '--norandommap')


def run_requests(workload, path, size, requests):
    """Send @requests of @workload, no two to the same block, to the first
    @size bytes of @path."""
    return _run(workload, path, size, 2 * GRACE_S,
                f'--io_size={requests * workload.block}')


def _run(workload, path, size, timeout, *options):
    report = _run_fio([
        'fio', f'--name={workload.name}', f'--filename={path}',
        f'--rw={workload.rw}', f'--bs={workload.block}',
        f'--iodepth={workload.depth}', f'--numjobs={workload.jobs}',
        f'--size={size}', '--ioengine=libaio', '--direct=1',
        '--allow_file_create=0', '--fallocate=none', '--group_reporting',
        '--lat_percentiles=1', '--clat_percentiles=0',
        '--output-format=json', *options], timeout)
    return _sample(report['jobs'][0], workload)


def version():
    if not shutil.which('fio'):
        raise FioError('no fio: apt-get install fio')
    out = subprocess.run(['fio', '--version'], capture_output=True, text=True,
                         check=True)
    return out.stdout.strip()


def _run_fio(argv, timeout):
    fio = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, start_new_session=True)
    try:
        out, complaint = fio.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as e:
        raise FioError(f'no answer within {timeout:.0f} s') from e
    finally:
        _end(fio)
    if fio.returncode != 0:
        raise FioError(_last_line(complaint or out) or
                       f'fio: exit status {fio.returncode}')
    return json.loads(out[out.index('{'):])


def _end(fio):
    """fio's jobs are in sessions of their own; only fio can end them."""
    if fio.poll() is not None:
        return
    fio.terminate()
    try:
        fio.wait(timeout=5)
    except subprocess.TimeoutExpired:
        fio.kill()


def _sample(job, workload):
    side = job['read' if workload.rw.endswith('read') else 'write']
    percentile = side['lat_ns'].get('percentile')
    if job['error'] or not side['total_ios'] or not percentile:
        raise FioError(f'no request was completed (error {job["error"]})')
    return Sample(requests=side['total_ios'], iops=side['iops'],
                  bytes_per_s=side['bw_bytes'],
                  p50_us=percentile['50.000000'] / 1000,
                  p99_us=percentile['99.000000'] / 1000)


def _last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ''
