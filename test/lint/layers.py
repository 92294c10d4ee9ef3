#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Check that each layer includes only what layers.txt allows.

usage: layers.py [SOURCE_ROOT]

Prints one line per offence, as FILE:LINE: why; exit status 1 if there is one.
Checked are src/ (against the table), include/coblk/ (includes nothing of src/)
and examples/ (sees the installed headers only).
"""
import re
import sys
from pathlib import Path

INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
ROW = re.compile(r'(never )?([^:]+):(.*)')


class Table:
    """layers.txt."""

    def __init__(self, path):
        self.allowed = {}   # layer -> the layers it may include
        self.never = {}     # layer -> layers that may never be allowed
        self.owners = {}    # prefix of a system header -> layers
        for line in path.read_text(encoding='utf-8').splitlines():
            line = line.split('#')[0].strip()
            if line:
                self._row(*ROW.fullmatch(line).groups())
        everything = set(self.allowed)
        for layer, others in self.allowed.items():
            if '*' in others:
                self.allowed[layer] = everything

    def _row(self, never, name, rest):
        rows = self.never if never else self.allowed
        if name.startswith('<'):
            rows, name = self.owners, name[1:]
        rows[name] = set(rest.split())

    def errors(self):
        """What is wrong with the table itself."""
        for layer, others in self.allowed.items():
            for other in others - {layer}:
                if other not in self.allowed:
                    yield f'{layer} may include {other}, which is no layer'
                elif layer in self.allowed[other]:
                    yield f'{layer} and {other} may include each other'
            for other in others & self.never.get(layer, set()):
                yield f'{layer} must never include {other}'


def includes(path):
    """(line number, < or ", name) of each include line of @path."""
    lines = path.read_text(encoding='utf-8').splitlines()
    for number, line in enumerate(lines, 1):
        if match := INCLUDE.match(line):
            yield number, *match.groups()


def check_system(table, src, layer, name):
    if (src / name).is_file():
        return f'<{name}> is ours: write "{name}"'
    for prefix, owners in table.owners.items():
        if name.startswith(prefix) and layer not in owners:
            return f'<{name}> is for {", ".join(sorted(owners))} only'
    return None


def check_own(table, src, layer, name):
    if name == 'config.h':
        return None
    folder = name.split('/')[0]
    if not (src / name).is_file():
        return f'"{name}" is not a path from src/'
    if folder == layer:
        return None
    if folder not in table.allowed[layer]:
        return f'{layer} may not include {folder} ("{name}")'
    if name.endswith('_priv.h'):
        return f'"{name}" is private to {folder}'
    return None


def check_source(table, src, path):
    layer = path.relative_to(src).parts[0]
    if layer not in table.allowed:
        yield f'{path}:1: layers.txt knows no layer {layer}'
        return
    for number, kind, name in includes(path):
        why = (check_system(table, src, layer, name) if kind == '<'
               else check_own(table, src, layer, name))
        if why:
            yield f'{path}:{number}: {why}'


def check_public(path):
    """Of the project, installed headers and examples see coblk/ only."""
    for number, kind, name in includes(path):
        if kind == '"' and not name.startswith('coblk/'):
            yield f'{path}:{number}: "{name}" is not installed'


def c_files(folder):
    return sorted(p for p in folder.rglob('*.[ch]') if p.is_file())


def offences(root):
    table = Table(Path(__file__).with_name('layers.txt'))
    yield from (f'layers.txt: {error}' for error in table.errors())
    src = root / 'src'
    for path in c_files(src):
        yield from check_source(table, src, path)
    for path in c_files(root / 'include') + c_files(root / 'examples'):
        yield from check_public(path)


def main():
    default = Path(__file__).resolve().parents[2]
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    if not c_files(root / 'src'):
        print(f'layers.py: no sources under {root}/src', file=sys.stderr)
        return 1
    found = list(offences(root))
    for offence in found:
        print(offence)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
