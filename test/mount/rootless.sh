#!/bin/bash
# SPDX-License-Identifier: MIT
# The whole life of a mount as an ordinary user.  As root, the test runs
# itself as nobody.
. "$(dirname "$0")/lib.sh"

if [ "$(id -u)" = 0 ]; then
    private_mounts || skip_all 'no mount name space can be made'
    open_fuse
    can_be_nobody || skip_all "nobody cannot run $COBLK, $0 or open /dev/fuse"
    chmod 755 "$tmp"
    install -d -o nobody "$tmp/nobody"
    # Not exec: what it cannot clean up, this shell does.
    TMPDIR=$tmp/nobody runuser -u nobody -- "$0"
    exit
fi
if [ ! -r /dev/fuse ] || [ ! -w /dev/fuse ]; then
    skip_all 'this user may not open /dev/fuse'
fi

img=$tmp/disk.img
truncate -s 16M "$img"
sfdisk -q "$img" <<<'start=2048, size=8192'

ok 'mounts' try_start "$img"
is 'as this user' "$(stat -c %u:%a "$mnt/disk")" "$(id -u):600"
is 'shown as this user'"'s" \
    "$(findmnt -no OPTIONS "$mnt" | grep -o 'user_id=[0-9]*')" \
    "user_id=$(id -u)"
ok 'writes' dd if=/dev/urandom of="$mnt/p1" bs=64k count=16 conv=notrunc,fsync
ok 'is in the image' cmp -n 1048576 -i 0:1048576 "$mnt/p1" "$img"
ok 'direct I/O' dd if="$mnt/disk" of=/dev/null bs=1M iflag=direct
ok 'stat' "$COBLK" stat "$mnt"
ok 'umount' stop
fails 'it is gone' is_mounted

ok 'with more iothreads than descriptors could be cloned' \
    try_start -o iothreads=3 "$img"
ok 'works' cmp "$mnt/disk" "$img"
exec 3<"$mnt/disk"
fails 'umount refused while it is in use' "$COBLK" umount "$mnt" 3<&-
exec 3<&-
ok 'umount' stop

start "$img"
pid=$(jq .pid "$mnt/.coblk/info.json")
kill -TERM "$pid"
ok 'SIGTERM ends it' soon gone "$pid"
fails 'and unmounts' is_mounted

start "$img"
kill -KILL "$(jq .pid "$mnt/.coblk/info.json")"
ok 'a dead mount is mounted on' soon try_start "$img"
ok 'works' cmp "$mnt/disk" "$img"
pid=$(jq .pid "$mnt/.coblk/info.json")
kill -KILL "$pid"
soon gone "$pid"
ok 'a dead mount is unmounted' stop
fails 'it is gone' is_mounted

if grep -qs '^user_allow_other' /etc/fuse.conf; then
    ok 'allow_other' start -o allow_other "$img"
    stop
else
    is 'allow_other says what it needs' \
        "$(try_start -o allow_other "$img" 2>&1 | grep -c 'user_allow_other')" 1
fi

done_testing
