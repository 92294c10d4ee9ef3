#!/bin/bash
# SPDX-License-Identifier: MIT
# mount(8) with lines in fstab.  The helper that it looks for in /sbin is put
# there in a mount name space of this test's own.
. "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || skip_all 'needs root'
private_mounts || skip_all 'no mount name space can be made'

img=$tmp/disk.img
truncate -s 8M "$img"
sfdisk -q "$img" <<<'start=2048, size=4096'
mkdir "$tmp/sbin"
cp -a /sbin/. "$tmp/sbin/"
ln -s "$COBLK" "$tmp/sbin/mount.coblk"
mount --bind "$tmp/sbin" /usr/sbin
file=$tmp/file
: >"$file"

cat >"$tmp/fstab" <<END
$img $mnt coblk ro,nodev,nofail,x-systemd.automount,_netdev 0 0
$img $file coblk rw,part=1,noauto,user 0 0
$img $tmp/typo coblk cahce=none 0 0
END

ok 'mount -T: a directory' mount -T "$tmp/fstab" "$mnt"
is 'its options' "$(findmnt -nro FSTYPE,OPTIONS "$mnt" | cut -d , -f 1,2,3)" \
    'fuse.coblk ro,nosuid,nodev'
ok 'shows the partition' test -f "$mnt/p1"
ok 'umount' umount "$mnt"
fails 'it is gone' is_mounted

ok 'mount -T: a file' mount -T "$tmp/fstab" "$file"
is 'it is the partition' "$(stat -c %s "$file")" 2097152
ok 'coblk umount' "$COBLK" umount "$file"

ok 'mount -a' mount -T "$tmp/fstab" -a -t coblk -O _netdev
ok 'mounts what is meant' is_mounted
ok 'umount' umount "$mnt"

mkdir "$tmp/typo"
fails 'an option nobody knows' mount -T "$tmp/fstab" "$tmp/typo"
ok 'is fine with -s' mount -s -t coblk -o cahce=none "$img" "$mnt"
ok 'umount' umount "$mnt"
ok 'mount -f only checks' mount -f -t coblk -o ro "$img" "$mnt"
fails 'mounts nothing' is_mounted
fails 'mount -f with a bad option' mount -f -t coblk -o cache=bad "$img" "$mnt"

umount /usr/sbin
done_testing
