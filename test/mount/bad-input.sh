#!/bin/bash
# SPDX-License-Identifier: MIT
# Each thing a user can get wrong is refused with one line that names it and
# says what to do; nothing is mounted and no image is changed.  Broken
# partition tables are in bad-tables.sh.
. "$(dirname "$0")/lib.sh"

requires jq jq

if [ "$(id -u)" = 0 ] && private_mounts; then
    open_fuse
fi

# Images and their checksums, so that a change is noticed.
img=$tmp/disk.img
truncate -s 4M "$img"
: >"$tmp/empty.img"
truncate -s 1M "$tmp/foreign.img"
printf 'KDMV' | dd of="$tmp/foreign.img" conv=notrunc status=none
mkdir "$tmp/dir"
mkfifo "$tmp/fifo"
file=$tmp/file
: >"$file"

state()
{
    (cd "$tmp" && cksum ./*.img && find . ! -name state | sort &&
        grep " $tmp/" /proc/self/mountinfo)
}

# refuses WHAT STATUS REGEX COMMAND...: COMMAND ends with STATUS, prints one
# line that matches REGEX on stderr and nothing on stdout, changes nothing.
refuses()
{
    local what=$1 want=$2 regex=$3 before after out rc lines
    shift 3
    before=$(state)
    out=$("$@" 2>"$tmp/stderr" </dev/null)
    rc=$?
    lines=$(wc -l <"$tmp/stderr")
    after=$(state)
    if [ "$rc" = "$want" ] && [ "$lines" = 1 ] && [ -z "$out" ] &&
        grep -Eq -- "$regex" "$tmp/stderr" && [ "$before" = "$after" ]; then
        report 0 "$what"
        return
    fi
    report 1 "$what"
    {
        echo "$*"
        echo "status $rc, want $want; one line matching: $regex"
        echo "stdout: $out"
        echo "stderr:"
        cat "$tmp/stderr"
        diff <(echo "$before") <(echo "$after")
    } | sed 's/^/# /'
}
: >"$tmp/stderr"

# shellcheck disable=SC2317 # called by others
coblk_mount()
{
    timeout -s KILL 60 "$COBLK" mount "$@"
}

# -- The command line

# refuse_option REGEX OPTIONS
refuse_option()
{
    refuses "-o $2" 2 "^coblk mount: $1 \(see 'coblk mount --help'\)\$" \
        coblk_mount -o "$2" "$img" "$mnt"
}

refuses 'no command' 2 '^coblk: a command is needed' "$COBLK"
refuses 'an unknown command' 2 "^coblk: unknown command 'mounnt'; did you mean mount or umount\?" \
    "$COBLK" mounnt
refuses 'an unknown option' 2 '^coblk mount: unknown option --nonsense' \
    coblk_mount --nonsense "$img" "$mnt"
refuses 'an option before the command' 2 "^coblk: unknown option '-x'" \
    "$COBLK" -x
refuses 'a typo in an option' 2 \
    'unknown option --jsno; did you mean json\?' "$COBLK" stat --jsno "$mnt"
refuses 'a mount option without -o' 2 \
    'no option --offset; write -o offset=1M \(see' \
    coblk_mount --offset=1M "$img" "$mnt"
refuses '-r, as of mount(8)' 2 'no option -r; write -o ro \(see' \
    coblk_mount -r "$img" "$mnt"
refuses 'no mountpoint' 2 '^coblk mount: an IMAGE and a MOUNTPOINT are needed' \
    coblk_mount "$img"
refuses 'an empty argument' 2 'an IMAGE and a MOUNTPOINT are needed' \
    coblk_mount "$img" ''
refuses 'umount of nothing' 2 '^coblk umount: one MOUNTPOINT is needed' \
    "$COBLK" umount ''
refuses 'too many arguments' 2 'an IMAGE and a MOUNTPOINT are needed' \
    coblk_mount "$img" "$mnt" "$mnt"
refuses '-o without options' 2 'missing argument for -o' coblk_mount -o
refuse_option "unknown option 'cahce'; did you mean cache\?" cahce=none
refuse_option 'cache=fast: not one of auto, none, writeback, .*' ro,cache=fast
refuse_option 'aio=native needs cache=none .*' aio=native,cache=writeback
refuse_option 'iothreads=65: not a number from 1 to 64' iothreads=65
refuse_option "trace=queue:bogus: no topic 'bogus'; there are front, .*" \
    trace=queue:bogus
refuse_option 'log=syslog:loud: the level must be error, warning, .*' \
    log=syslog:loud
refuse_option 'ready-fd=77: no such descriptor is open' ready-fd=77
refuses 'umount without a mountpoint' 2 '^coblk umount: one MOUNTPOINT is needed' \
    "$COBLK" umount
refuses 'stat without a mountpoint' 2 '^coblk stat: one MOUNTPOINT is needed' \
    "$COBLK" stat

# -- The image

refuses 'no such image' 1 "^coblk mount: $tmp/none: no such file" \
    coblk_mount "$tmp/none" "$mnt"
refuses 'a directory' 1 "^coblk mount: $tmp/dir: is a directory; name a disk" \
    coblk_mount "$tmp/dir" "$mnt"
refuses 'a pipe' 1 "^coblk mount: $tmp/fifo: is neither a file nor a device" \
    coblk_mount "$tmp/fifo" "$mnt"
refuses 'a device that is no disk' 1 '^coblk mount: /dev/null: .*disk' \
    coblk_mount /dev/null "$mnt"
refuses 'an empty image' 1 "^coblk mount: $tmp/empty.img: is empty, .*truncate" \
    coblk_mount "$tmp/empty.img" "$mnt"
refuses 'a format nobody here reads' 1 \
    "^coblk mount: $tmp/foreign.img: looks like a vmdk image, .*format=raw" \
    coblk_mount "$tmp/foreign.img" "$mnt"
refuses 'a format that does not exist' 1 \
    "^coblk mount: $img: there is no format or driver 'bogus'; known are .*raw" \
    coblk_mount -o format=bogus "$img" "$mnt"
refuses 'a format that is for devices' 1 \
    "^coblk mount: $img: is a regular file; .*file" \
    coblk_mount -o format=host_device "$img" "$mnt"
refuses 'a window behind the end' 1 "^coblk mount: $img: .*(offset|end|size)" \
    coblk_mount -o offset=1G "$img" "$mnt"
refuses 'a log file that cannot be' 1 \
    "^coblk mount: log file $tmp/none/log: No such file or directory" \
    coblk_mount -o "log=$tmp/none/log" "$img" "$mnt"

# -- The mountpoint

refuses 'no mountpoint there' 1 \
    "^coblk mount: $tmp/none: no such directory; create it with 'mkdir" \
    coblk_mount "$img" "$tmp/none"
refuses 'a file on the way to the mountpoint' 1 "^coblk mount: $file/mnt: Not a dir" \
    coblk_mount "$img" "$file/mnt"
refuses 'the root directory as mountpoint' 1 \
    '^coblk mount: /\.\./: is the root directory; choose another one' \
    coblk_mount "$img" /../
refuses 'a device as mountpoint' 1 \
    '^coblk mount: /dev/null: neither a directory nor a regular file' \
    coblk_mount "$img" /dev/null
refuses 'one partition on a directory' 1 \
    "^coblk mount: $mnt: part=1 shows one file, .* create one with 'touch" \
    coblk_mount -o part=1 "$img" "$mnt"
refuses 'one partition on a file that is not there' 1 \
    "^coblk mount: $tmp/none: no such file; create it with 'touch $tmp/none'" \
    coblk_mount -o part=1 "$img" "$tmp/none"
refuses 'a partition that is not there' 1 \
    "^coblk mount: $img: no partition 3: there are none" \
    coblk_mount -o part=3 "$img" "$file"
refuses 'umount of what is not there' 1 "^coblk umount: $tmp/none/x: No such" \
    "$COBLK" umount "$tmp/none/x"
refuses 'umount of no mount' 1 "^coblk umount: $mnt: nothing is mounted there" \
    "$COBLK" umount "$mnt"
refuses "umount of somebody else's mount" 1 \
    '^coblk umount: /proc: a mount of type proc, not of coblk; use umount' \
    "$COBLK" umount /proc
refuses 'stat of no mount' 1 "^coblk stat: $mnt: nothing is mounted there" \
    "$COBLK" stat "$mnt"

ok 'mounts' coblk_mount "$img" "$mnt"
refuses 'a mountpoint in use' 1 \
    "^coblk mount: $mnt: $img is mounted there; first 'coblk umount $mnt'" \
    coblk_mount "$tmp/foreign.img" "$mnt"
mkdir "$tmp/mnt2"
refuses 'an image in use' 1 \
    "^coblk mount: $img: image is locked by pid [0-9]+ \(coblk\); stop that" \
    coblk_mount "$img" "$tmp/mnt2"
refuses 'an image in use, read-only' 1 \
    "^coblk mount: $img: image is in use: pid [0-9]+ \(coblk\) writes to it" \
    coblk_mount -o ro "$img" "$tmp/mnt2"
# shellcheck disable=SC2016 # expanded by bash -c
refuses 'umount while a file is open' 1 \
    "^coblk umount: $mnt: busy, held by bash \(pid [0-9]+\); close it" \
    bash -c 'exec 3<"$1/disk"; "$0" umount "$1"; exit' "$COBLK" "$mnt"
stop

# A write that would turn an image of unknown content into one of another
# format: at the next mount it would be something else.
# shellcheck disable=SC2317 # called by ok
write_header()
{
    printf 'QFI\373\0\0\0\3' | dd of="$mnt/disk" conv=notrunc status=none
}
truncate -s 1M "$tmp/blank.img"
ok 'mounts' coblk_mount "$tmp/blank.img" "$mnt"
fails 'a foreign header written to an image that was probed' write_header
fails 'which umount tells once more' stop
ok 'did not arrive' cmp -n 512 "$tmp/blank.img" /dev/zero
ok 'mounts as raw' coblk_mount -o format=raw "$tmp/blank.img" "$mnt"
ok 'the same write, with format=raw' write_header
stop
fails 'arrived' cmp -n 512 "$tmp/blank.img" /dev/zero

# -- The system

# A block device that the kernel has mounted.  Its file is none of those that
# must not change: the kernel writes to it when it likes.
if [ "$(id -u)" = 0 ] && mkfs.ext4 -q "$tmp/fs" 8M >/dev/null 2>&1 &&
    loop=$(losetup --find --show "$tmp/fs" 2>/dev/null); then
    mkdir "$tmp/kernel"
    if mount "$loop" "$tmp/kernel"; then
        refuses 'a block device in use' 1 \
            "^coblk mount: $loop: the device is in use: mounted .*force" \
            coblk_mount "$loop" "$mnt"
        ok 'the same, read-only' coblk_mount -o ro "$loop" "$mnt"
        stop
        ok 'the same, forced' coblk_mount -o force "$loop" "$mnt"
        stop
        umount "$tmp/kernel"
    fi
    losetup --detach "$loop"
else
    skip_test 'a block device in use' 'needs root and loop devices'
fi

: >"$tmp/nothing"
if [ "$(id -u)" = 0 ] &&
    loop=$(losetup --find --show "$tmp/nothing" 2>/dev/null); then
    refuses 'a device without a medium' 1 \
        "^coblk mount: $loop: is a device without a medium; .*losetup" \
        coblk_mount "$loop" "$mnt"
    losetup --detach "$loop"
else
    skip_test 'a device without a medium' 'needs root and loop devices'
fi


if can_be_nobody; then
    chmod 711 "$tmp"
    chmod 600 "$img"
    install -d -o nobody "$tmp/nobody"
    refuses 'no permission for the image' 1 \
        "^coblk mount: $img: no permission to write to it; open it read-only" \
        runuser -u nobody -- "$COBLK" mount "$img" "$tmp/nobody"
    refuses 'no permission for the image, read-only' 1 \
        "^coblk mount: $img: no permission to read it; ask its owner" \
        runuser -u nobody -- "$COBLK" mount -o ro "$img" "$tmp/nobody"
    refuses 'no permission for the mountpoint' 1 \
        "^coblk mount: $mnt: you may not write here" \
        runuser -u nobody -- "$COBLK" mount "$img" "$mnt"
    refuses 'no fusermount3' 1 \
        '^coblk mount: fusermount3 is not installed, .* install .*fuse3' \
        runuser -u nobody -- env PATH=/nonexistent "$COBLK" mount "$img" \
        "$tmp/nobody"
else
    skip_test 'permissions' 'needs root that may become nobody'
fi

# inject FAULT COMMAND...: with a system call that fails
inject()
{
    local fault=$1
    shift
    timeout -s KILL 60 strace -f -qq -o /dev/null -e inject="$fault" "$@"
}

if command -v strace >/dev/null && inject close:delay_enter=0 true; then
    refuses 'fs.aio-max-nr is used up, aio=native' 1 \
        "^coblk mount: .*$img: aio=native: .*fs.aio-max-nr.*aio=threads" \
        inject io_setup:error=EAGAIN "$COBLK" mount -o aio=native "$img" "$mnt"
    inject io_setup:error=EAGAIN "$COBLK" mount -f "$img" "$mnt" \
        2>"$tmp/stderr" &
    ok 'fs.aio-max-nr is used up: mounts' soon mountpoint -q "$mnt"
    stop
    wait
    is 'and says what it uses instead' "$(grep -c \
        'no Linux AIO (.*fs.aio-max-nr); using aio=threads' "$tmp/stderr")" 1
    # The first two that are asked for are too large.
    inject io_setup:error=EAGAIN:when=1..2 "$COBLK" mount -f "$img" "$mnt" \
        2>"$tmp/stderr" &
    ok 'few contexts are left: mounts' soon mountpoint -q "$mnt"
    is 'smaller ones do' "$(info .aio) $(<"$tmp/stderr")" 'native '
    stop
    wait
    refuses 'no /dev/fuse' 1 '^coblk mount: /dev/fuse cannot be opened; load' \
        timeout -s KILL 60 strace -f -qq -o /dev/null -P /dev/fuse \
        -e inject=openat:error=ENOENT "$COBLK" mount "$img" "$mnt"
else
    skip_test 'faults of the kernel' 'no strace that may trace'
fi

done_testing
