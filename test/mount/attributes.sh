#!/bin/bash
# SPDX-License-Identifier: MIT
# Sizes, times, space and modes are the image's; what can be changed, and what
# is refused.
. "$(dirname "$0")/lib.sh"

requires sgdisk gdisk
requires python3 python3

img=$tmp/disk.img
truncate -s 64M "$img"
sgdisk -n 1:2048:+8M -n 2:20480:+8M "$img" >/dev/null
dd if=/dev/urandom of="$img" bs=1M seek=1 count=8 conv=notrunc status=none

# shellcheck disable=SC2317 # called by soon
same_mtime()
{
    [ "$(stat -c %y "$mnt/disk")" = "$(stat -c %y "$img")" ]
}

# -- As the image has them

touch -d '2020-01-02 03:04:05' "$img"
sync "$img" # until then it may get blocks that say where the others are
start "$img"
is 'mtime' "$(stat -c %y "$mnt/disk")" "$(stat -c %y "$img")"
is 'mtime of a partition' "$(stat -c %y "$mnt/p2")" "$(stat -c %y "$img")"
is 'allocated space' "$(stat -c %b "$mnt/disk")" "$(stat -c %b "$img")"
is 'owner' "$(stat -c '%u %g' "$mnt/disk")" "$(id -u) $(id -g)"
is 'modes' "$(stat -c %a "$mnt" "$mnt/disk" "$mnt/.coblk/info.json" | xargs)" \
    '700 600 400'
is 'the file system is as large as the disk' \
    "$(($(stat -fc '%b * %S' "$mnt")))" $((64 << 20))

printf x | dd of="$mnt/p1" bs=1 conv=notrunc,fsync status=none
ok 'a write moves mtime' test "$(stat -c %Y "$mnt/p1")" -gt 1600000000
# The kernel keeps the attributes of a file that was not written for a second.
ok '... which is still the image'\''s' soon same_mtime

# -- For this mount

touch -d '2001-02-03' "$mnt/p1"
is 'a time can be set' "$(date -d "@$(stat -c %Y "$mnt/p1")" +%F)" 2001-02-03
printf x | dd of="$mnt/p1" bs=1 conv=notrunc,fsync status=none
ok '... until the next write' test "$(stat -c %Y "$mnt/p1")" -gt 1600000000
chmod 640 "$mnt/p1"
is 'a mode can be set' "$(stat -c %a "$mnt/p1")" 640
fails 'an owner cannot' chown 4711 "$mnt/p1"

# -- Size

cp "$img" "$tmp/before"
fails 'the disk cannot be made shorter' truncate -s 1M "$mnt/disk"
fails 'nor a partition' truncate -s 1M "$mnt/p1"
fails 'nor a partition longer' truncate -s 9M "$mnt/p1"
fails 'nothing can be made' touch "$mnt/new"
fails 'nothing can be removed' rm -f "$mnt/p1"
fails 'nothing can be renamed' mv "$mnt/p1" "$mnt/p9"
ok 'nothing has happened to the image' cmp "$img" "$tmp/before"
ok 'the disk can be made longer' truncate -s 65M "$mnt/disk"
is '... and is' "$(stat -c %s "$mnt/disk" "$img" | xargs)" \
    "$((65 << 20)) $((65 << 20))"
stop

# -- Space

# allocated: 512-byte blocks of the image
allocated()
{
    sync "$img"
    stat -c %b "$img"
}

# The host's file system counts blocks of its own for a file in many pieces.
slack=64
start -o discard=unmap "$img"
before=$(allocated)
ok 'a hole is punched' fallocate -p -o 1M -l 4M "$mnt/p1"
ok '... it is zero' cmp <(head -c 4M /dev/zero) <(window "$mnt/p1" $((1 << 20)) \
    $((4 << 20)))
ok '... what is beside it is not' \
    cmp <(window "$tmp/before" $((2 << 20 | 4 << 20)) $((3 << 20))) \
    <(window "$mnt/p1" $((5 << 20)) $((3 << 20)))
ok '... space was freed' test "$(allocated)" -le $((before - 8192 + slack))
is '... the size is what it was' "$(stat -c %s "$img")" $((65 << 20))
ok 'a hole at the very end makes nothing longer' \
    fallocate -p -o 7M -l 100M "$mnt/p1"
ok 'what is behind it is untouched' \
    cmp <(window "$tmp/before" $((10 << 20)) $((8 << 20))) "$mnt/p2"
before=$(allocated)
ok 'space is reserved' fallocate -o 1M -l 4M "$mnt/p1"
ok '... on the host' test "$(allocated)" -ge $((before + 8192 - slack))
fails 'not past the end of a partition' fallocate -o 7M -l 2M "$mnt/p1"
ok 'past the end of the disk it grows' fallocate -o 65M -l 1M "$mnt/disk"
is '... to that' "$(stat -c %s "$img")" $((66 << 20))
ok 'a zeroed range' fallocate -z -o 0 -l 64K "$mnt/p1"
ok '... is zero' cmp <(head -c 64K /dev/zero) <(head -c 64K "$mnt/p1")
stop

# -- Holes and copies

cat >"$tmp/calls.py" <<'EOF'
import os
import sys

mnt = sys.argv[1]
MiB = 1 << 20


def hole_and_data():
    """SEEK_DATA and SEEK_HOLE end at the end of the partition"""
    fd = os.open(f'{mnt}/p2', os.O_RDWR)
    os.pwrite(fd, b'x' * MiB, 4 * MiB)
    os.fsync(fd)
    assert os.lseek(fd, 0, os.SEEK_DATA) == 4 * MiB
    assert os.lseek(fd, 4 * MiB, os.SEEK_HOLE) == 5 * MiB
    try:
        os.lseek(fd, 6 * MiB, os.SEEK_DATA)
        assert False
    except OSError:
        pass
    assert os.lseek(fd, 6 * MiB, os.SEEK_HOLE) == 6 * MiB
    os.close(fd)


def copy():
    """copy_file_range between partitions"""
    p1, p2 = (os.open(f'{mnt}/{n}', os.O_RDWR) for n in ('p1', 'p2'))
    want = os.pread(p1, 2 * MiB, 6 * MiB)
    done = 0
    while done < 2 * MiB:
        n = os.copy_file_range(p1, p2, 8 * MiB, 6 * MiB + done, done)
        assert n > 0
        done += n
    assert os.copy_file_range(p1, p2, 100, 8 * MiB, done) == 0
    assert os.pread(p2, 2 * MiB, 0) == want
    os.close(p1)
    os.close(p2)


for test in hole_and_data, copy:
    try:
        test()
        print(f'ok - {test.__doc__}')
    except Exception as e:
        print(f'not ok - {test.__doc__} ({e!r})')
EOF
start "$img"
fallocate -p -l 8M "$mnt/p2"
adopt '' python3 "$tmp/calls.py" "$mnt"
stop

# -- Options

start -o mode=0644,uid=4711,gid=4712 "$img"
is 'uid, gid and mode' "$(stat -c '%a %u %g' "$mnt/p1" 2>&1)" '644 4711 4712'
stop

done_testing
