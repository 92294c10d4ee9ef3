#!/bin/bash
# SPDX-License-Identifier: MIT
# What is promised to be durable is: strace sees what reaches the image before
# the client's call returns, and in which order.
. "$(dirname "$0")/lib.sh"

requires strace strace
requires jq jq
requires python3 python3

img=$tmp/disk.img
log=$tmp/strace.log
tracer=

# trace [STRACE-OPTION...]: follows the daemon of $mnt from now on
trace()
{
    true | tee "$log" >"$tmp/strace.err"
    seen=0
    strace -f -o "$log" -p "$(info .pid)" "$@" \
        -e trace=io_submit,pwrite64,pwritev,pwritev2,fdatasync,fsync,fallocate \
        2>>"$tmp/strace.err" &
    tracer=$!
    soon has_begun && grep -q attached "$tmp/strace.err"
}

# has_begun: strace is attached, or will never be
has_begun()
{
    grep -q attached "$tmp/strace.err" || gone "$tracer"
}

end_trace()
{
    kill "$tracer" 2>/dev/null
    wait "$tracer"
    tracer=
}

# events: what reached the image since the last call, in words
events()
{
    tail -n +$((seen + 1)) "$log" | sed -n '
        /RWF_DSYNC/ { s/.*/durable-write/p; b }
        /IOCB_CMD_PWRITE\|pwrite/ { s/.*/write/p; b }
        /IOCB_CMD_FDSYNC\|fdatasync(\|fsync(/ { s/.*/flush/p; b }
        /fallocate(/ { s/.*/zeroes/p; b }' | uniq | xargs
    seen=$(wc -l <"$log")
}

# happens WHAT PATTERN: did just that happen since the last time?
happens()
{
    local got
    events >"$tmp/events"
    got=$(<"$tmp/events")
    if grep -Eqx "$2" <<<"$got"; then
        report 0 "$1"
    else
        report 1 "$1"
        echo "# got '$got', want '$2'"
    fi
}

# write_with ARGUMENT...: dd, one block to p1
write_with()
{
    dd if=/dev/urandom of="$mnt/disk" bs=4k count=1 seek=7 status=none \
        "$@" 2>&1 || echo "# dd failed"
}

# python WHAT: `fd` is the disk, `mem` a page of a mapping of it
python()
{
    timeout 60 python3 - "$mnt/disk" <<EOF
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
direct = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
$1
EOF
}

# Whatever it takes: the write itself is durable, or a flush follows it.
durable='(durable-write|write flush)( flush)?'

# check OPTIONS WRITE FSYNC DSYNC UMOUNT: mounts so; patterns of what a write,
# a write and fsync, a write with O_DSYNC, and umount after a write do.
check()
{
    local options=$1 plain=$2 fsynced=$3 dsync=$4 umount=$5
    start -o "$options" "$img"
    trace
    write_with conv=notrunc
    happens "$options: a write" "$plain"
    write_with conv=notrunc oflag=direct
    happens "$options: a direct write" "$plain"
    write_with conv=notrunc,fsync
    happens "$options: write, fsync" "$fsynced"
    write_with conv=notrunc,fdatasync oflag=direct
    happens "$options: direct write, fdatasync" "$fsynced"
    write_with conv=notrunc oflag=dsync
    happens "$options: a write with O_DSYNC" "$dsync"
    write_with conv=notrunc oflag=direct,dsync
    happens "$options: a direct write with O_DSYNC" "$dsync"
    write_with conv=notrunc oflag=sync
    happens "$options: a write with O_SYNC" "$dsync"
    python "os.pwritev(fd, [b'x' * 4096], 8192, os.RWF_DSYNC)"
    happens "$options: a write with RWF_DSYNC" "$dsync"
    python "os.pwritev(direct, [b'x' * 4096], 8192, os.RWF_SYNC)"
    happens "$options: a direct write with RWF_SYNC" "$dsync"
    python "mem = mmap.mmap(fd, 4096); mem[0] = 1; mem.flush()"
    happens "$options: a mapping, msync" "$fsynced"
    if [ "$fsynced" != "$plain" ]; then
        fallocate -p -o 64k -l 64k "$mnt/disk"
        sync "$mnt/disk"
        happens "$options: a hole, fsync" 'zeroes flush|write flush'
        sync "$mnt/disk"
        happens "$options: an fsync of what is clean" '(flush)?'
    fi
    write_with conv=notrunc
    events >/dev/null
    ok "$options: umount" stop
    wait "$tracer"
    happens "$options: umount after a write" "$umount"
}

truncate -s 8M "$img"
if ! dd if=/dev/zero of="$img" bs=4k count=1 oflag=direct conv=notrunc \
    status=none 2>/dev/null; then
    skip_all "no O_DIRECT in $tmp"
fi

start "$img"
trace || skip_all "strace may not attach: $(tail -n 1 "$tmp/strace.err")"
end_trace
stop

for options in cache=none,aio=native cache=none,aio=threads \
    cache=writeback,aio=threads; do
    check "$options" write 'write flush' "$durable" flush
done
for options in cache=writethrough,aio=threads cache=directsync,aio=native; do
    check "$options" "$durable" "$durable" "$durable" '(flush)?'
done
check cache=unsafe,aio=threads write write write ''

# -- A call returns when what it waits for is done, not when it is begun

# takes MS COMMAND...: COMMAND takes at least so long
# shellcheck disable=SC2317 # called by ok
takes()
{
    local ms=$1 begin
    shift
    begin=$(date +%s%N)
    "$@" || return
    [ $((($(date +%s%N) - begin) / 1000000)) -ge "$ms" ]
}

start -o cache=writeback,aio=threads "$img"
trace -e inject=fdatasync:delay_exit=500000
ok 'fsync waits for the flush' takes 500 write_with conv=notrunc,fsync
write_with conv=notrunc
ok 'umount waits for the flush' takes 500 stop
wait "$tracer"

start -o cache=writethrough,aio=threads "$img"
trace -e inject=pwritev2:delay_exit=500000
ok 'a write waits to be durable' takes 500 write_with conv=notrunc
end_trace
stop

# A disk whose flush takes a second, for Linux AIO.
if command -v nbdkit >/dev/null && command -v nbdfuse >/dev/null; then
    cat >"$tmp/slow-flush" <<'EOF'
case $1 in
get_size) echo 8M ;;
pread) dd if=/dev/zero bs="$3" count=1 status=none ;;
pwrite) cat >/dev/null ;;
can_write | can_flush) ;;
flush) sleep 1 ;;
*) exit 2 ;;
esac
EOF
    chmod +x "$tmp/slow-flush"
    mkdir "$tmp/slow"
    nbdfuse "$tmp/slow" --command nbdkit -s --exit-with-parent \
        sh "$tmp/slow-flush" &
    if soon test -e "$tmp/slow/nbd"; then
        start -o cache=none,aio=native "$tmp/slow/nbd"
        is 'the disk of slow flushes: by Linux AIO' "$(info .aio)" native
        write_with conv=notrunc
        ok '... fsync waits' takes 1000 timeout 60 sync "$mnt/disk"
        ok '... a write with O_DSYNC waits' \
            takes 1000 write_with conv=notrunc oflag=direct,dsync
        write_with conv=notrunc
        ok '... umount waits' takes 1000 stop
        soon fusermount3 -u "$tmp/slow"
        wait
    else
        skip_test 'slow flushes' 'nbdfuse does not mount'
    fi
else
    skip_test 'slow flushes' 'no nbdkit or nbdfuse (apt-get install nbdkit libnbd-bin)'
fi

done_testing
