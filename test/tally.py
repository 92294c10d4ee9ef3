#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Count the tests of meson's JSON logs.

usage: tally.py LOG.json...

Every line of TAP counts as a test of its own; a test program that speaks no
TAP counts as one.  Names begin with the log's.  Prints each failure, and each
skip with its reason, and ends with the line `N passed, N failed, N skipped`.
Exit status 1 when a test has failed or nothing has run.
"""
import json
import re
import sys
from pathlib import Path

TAP_PLAN = re.compile(r'^1\.\.(\d+)', re.MULTILINE)
TAP_LINE = re.compile(
    r'^(?P<not>not )?ok\b *\d* *-? *(?P<name>[^#\n]*)'
    r'(?:# *(?P<directive>SKIP|TODO)\b:? *(?P<reason>.*))?$',
    re.MULTILINE | re.IGNORECASE)
GOOD = ('OK', 'EXPECTEDFAIL')


class Tally:
    def __init__(self):
        self.passed = 0
        self.failed = []    # names
        self.skipped = []   # (name, reason)

    def add(self, test):
        """Count one entry of a log."""
        output = test.get('stdout', '')
        if test['result'] == 'SKIP':
            self._skip(test['name'], _last_line(output)
                       or _last_line(test.get('stderr', '')))
        elif TAP_PLAN.search(output):
            self._add_tap(test, output)
        elif test['result'] in GOOD:
            self.passed += 1
        else:
            self.failed.append(_failure(test))

    def _add_tap(self, test, output):
        failed_before = len(self.failed)
        for line in TAP_LINE.finditer(output):
            name = f'{test["name"]} {line["name"].strip()}'
            directive = (line['directive'] or '').upper()
            if directive == 'SKIP':
                self._skip(name, line['reason'])
            elif line['not'] and directive != 'TODO':
                self.failed.append(name)
            else:
                self.passed += 1
        if test['result'] not in GOOD and len(self.failed) == failed_before:
            # It died, hung or left its plan unfinished.
            self.failed.append(_failure(test))

    def _skip(self, name, reason):
        self.skipped.append((name, reason or 'no reason given'))

    def summary(self):
        return (f'{self.passed} passed, {len(self.failed)} failed, '
                f'{len(self.skipped)} skipped')


def _failure(test):
    return f'{test["name"]} ({test["result"].lower()})'


def _last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else ''


def main(paths):
    tally = Tally()
    for path in map(Path, paths):
        for line in path.read_text(encoding='utf-8').splitlines():
            test = json.loads(line)
            test['name'] = f'{path.stem}: {test["name"].split(" / ")[-1]}'
            tally.add(test)
    for name, reason in tally.skipped:
        print(f'skipped: {name}: {reason.removeprefix("skipped: ")}')
    for name in tally.failed:
        print(f'FAILED:  {name}')
    print(tally.summary())
    return 1 if tally.failed or not tally.passed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
