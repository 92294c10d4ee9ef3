#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Check that what the documentation names is there.

usage: docs.py SOURCE_ROOT [BUILD_ROOT]

- Links and `paths/like.this` lead somewhere, and `functions()` exist.
- The table of layers in src/README.md says what layers.txt says.
- In its table of QEMU's names, each of our names stands in a file of its row.
- The lines that install packages name those of build-aux/packages.sh.
- `coblk mount --help` and man/coblk-mount.1 know the same options.

Prints one line per offence; exit status 1 if there is one.
"""
import re
import subprocess
import sys
from pathlib import Path

DOCS = ['README.md', 'HACKING.md', 'src/README.md', 'test/bench/README.md']
FENCE = re.compile(r'^```.*?^```', re.MULTILINE | re.DOTALL)
LINK = re.compile(r'\]\(([^)#]+)\)')
SPAN = re.compile(r'`([^`]+)`')
PATH = re.compile(r'(?:[\w.-]+/)+[\w.-]+\.\w+')
CALL = re.compile(r'\b([a-z]\w*)\(\)')
NAME = re.compile(r'[A-Za-z_]\w*')
ROW = re.compile(r'^\|(.+)\|$', re.MULTILINE)
OTHERS = {'main', 'virtio_blk_handle_output'}   # not ours to have


class Tree:
    """The project, and all words of its sources."""

    def __init__(self, root):
        self.root = root
        self.words = {}     # path -> identifiers in it
        self.all = set()

    def load(self):
        for folder in ('src', 'include', 'test', 'examples'):
            for path in (self.root / folder).rglob('*.[ch]'):
                words = set(NAME.findall(path.read_text(encoding='utf-8')))
                self.words[path.relative_to(self.root).as_posix()] = words
                self.all |= words

    def has(self, *places):
        return any((self.root / place).exists() for place in places)


def rows(text, heading):
    """The cells of each row of the first table below @heading."""
    section = text.split(f'\n## {heading}\n')[1].split('\n## ')[0]
    found = [[cell.strip() for cell in row.split('|')]
             for row in ROW.findall(section)]
    return found[2:]    # without the header and the line below it


def check_text(tree, doc, text):
    folder = Path(doc).parent
    prose = FENCE.sub('', text)
    for link in LINK.findall(prose):
        if not link.startswith('http') and not tree.has(folder / link):
            yield f'{doc}: the link {link} leads nowhere'
    for span in SPAN.findall(prose):
        if PATH.fullmatch(span) and span.split('/')[0] in TOPS:
            if not tree.has(span, folder / span):
                yield f'{doc}: there is no {span}'
        for name in CALL.findall(span):
            if name not in tree.all | OTHERS:
                yield f'{doc}: there is no {name}()'


TOPS = ('src', 'test', 'include', 'examples', 'man')


def check_layers(tree, text):
    table = {}
    for line in (tree.root / 'test/lint/layers.txt').read_text(
            encoding='utf-8').splitlines():
        match = re.fullmatch(r'(\w+):\s*(.*)', line)
        if match:
            table[match[1]] = match[2].split()
    folders = {path.name for path in (tree.root / 'src').iterdir()
               if path.is_dir()}
    told = {}
    for folder, _, allowed in rows(text, 'Layers'):
        told[folder.strip('`')] = allowed.split()
    for name in sorted(folders | set(told)):
        allowed = ['all'] if table.get(name) == ['*'] else [
            other for other in table.get(name, []) if other in folders]
        if name not in told:
            yield f'src/README.md: the table of layers lacks {name}'
        elif name not in folders:
            yield f'src/README.md: there is no layer {name}'
        elif told[name] != allowed:
            yield (f'src/README.md: {name} may include {" ".join(allowed)}, '
                   f'says layers.txt')


def check_names(tree, text):
    table = rows(text, 'QEMU\'s names and ours')
    if len(table) < 40:
        yield f'src/README.md: only {len(table)} names of QEMU were found'
    for theirs, ours, files in table:
        paths = ['src/' + path for path in SPAN.findall(files)]
        missing = [path for path in paths if path not in tree.words]
        if missing or not paths and not ours.startswith('*none*'):
            yield f'src/README.md: {theirs}: no file {" ".join(missing)}'
            continue
        there = set().union(*(tree.words[path] for path in paths))
        for span in SPAN.findall(ours):
            for name in set(NAME.findall(span)) - there:
                yield (f'src/README.md: {theirs}: {name} is not in '
                       f'{" or ".join(paths)}')


def check_packages(tree, doc, text):
    script = (tree.root / 'build-aux/packages.sh').read_text(encoding='utf-8')
    needed = set(re.search(r'^packages_build=\(([^)]*)', script,
                           re.MULTILINE)[1].split())
    needed.remove('libc6-dev')  # comes with gcc
    told = set(re.search(r'apt-get install (.*)', text)[1].split())
    for name in sorted(needed ^ told):
        yield f'{doc}: {name} is to be installed, or is not'


def help_options(coblk):
    """Names of mount options in the text of --help."""
    text = subprocess.run([coblk, 'mount', '--help'], check=True,
                          capture_output=True, encoding='utf-8',
                          errors='replace').stdout
    part = text.split('Mount options:')[1]
    return {re.split('[= ]', line[2:])[0] for line in part.splitlines()
            if re.match(r'  [a-z]', line)}


def man_options(page):
    """Names of mount options in the items of that section of a manual page:
    `.It Cm uid Ns = Ns Ar n , Cm gid Ns = Ns Ar n`; a row of a table, which
    has .Ta in it, is none."""
    text = page.read_text(encoding='utf-8')
    section = text.split('\n.Sh MOUNT OPTIONS\n')[1].split('\n.Sh ')[0]
    items = re.findall(r'^\.It Cm (.*)', section, re.MULTILINE)
    return {piece.removeprefix('Cm ').split()[0] for item in items
            if ' Ta ' not in item for piece in item.split(' , ')}


def check_options(coblk, page):
    told, known = man_options(page), help_options(coblk)
    for name in sorted(known - told):
        yield f'{page.name}: the mount option {name} is missing'
    for name in sorted(told - known):
        yield f'{page.name}: coblk mount --help knows no option {name}'


def offences(root, build):
    tree = Tree(root)
    tree.load()
    for doc in DOCS:
        text = (root / doc).read_text(encoding='utf-8')
        yield from check_text(tree, doc, text)
        if doc in ('README.md', 'HACKING.md'):
            yield from check_packages(tree, doc, text)
    text = (root / 'src/README.md').read_text(encoding='utf-8')
    yield from check_layers(tree, text)
    yield from check_names(tree, text)
    page = root / 'man/coblk-mount.1'
    coblk = build / 'src/cmd/coblk' if build else None
    if coblk and coblk.exists() and page.exists():
        yield from check_options(coblk, page)


def main():
    if len(sys.argv) < 2:
        print(__doc__.split('\n\n')[1], file=sys.stderr)
        return 2
    build = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    found = list(offences(Path(sys.argv[1]), build))
    for offence in found:
        print(offence)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
