#!/bin/bash
# SPDX-License-Identifier: MIT
# What scripts read of io is as they know it from qemu-io: results on stdout,
# exit status, and what it leaves in the image.
. "$(dirname "$0")/lib.sh"

# shellcheck disable=SC2317 # called by both
prepare()
{
    truncate -s 1M t.raw
    truncate -s 1000 odd.raw
    printf hello >pattern
    yes 'some data' | head -c 64k >base.raw
    cat >rules.conf <<-END
		[set-state]
		event = "write_aio"
		state = "1"
		new_state = "2"
		[inject-error]
		event = "write_aio"
		state = "2"
		errno = "28"
		once = "on"
	END
}
both prepare
same create -f qcow2 q.qcow2 4M
same create -f qcow2 -b base.raw -F raw top.qcow2 128k

# same_content FILE: of the raw file that both have written to.
same_content()
{
    [ ! -f "$tmp/theirs/$1" ] || [ -z "$(command -v qemu-io)" ] ||
        equal "$1 holds the same" "$1" "$tmp/theirs/$1"
}

# read and write
same_io -f raw -c 'read 0 64k' t.raw
same_io -f raw -c 'write -P 5 0 64k' -c 'read -P 5 0 64k' t.raw
same_io -f raw -c 'read -P 6 0 64k' t.raw
same_io -f raw -c 'read -P 5 64k 64k' -c 'read -P 0 64k 64k' t.raw
same_io -f raw -c 'read -P 5 -s 60k -l 4k 0 128k' t.raw
same_io -f raw -c 'read -P 5 -s 60k 0 128k' t.raw
same_io -f raw -c 'read -P 5 -l 64k 0 128k' t.raw
same_io -f raw -c 'read -v 65500 100' t.raw
same_io -f raw -c 'read -q 0 64k' -c 'write -q 64k 512' -c 'read -qv 0 16' t.raw
same_io -f raw -c 'read -C 0 64k' -c 'write -C 64k 512' -c 'discard -C 0 4k' t.raw
same_io -f raw -c 'read -p 0 1k' -c 'write -p 0 1k' t.raw
same_io -f raw -c 'w 0 1k' -c 'r 0 1' t.raw
same_io -f raw -c 'write -P 0x41 100k 1.5k' -c 'read -v 102400 16' t.raw
same_io -f raw -c 'write 1k 0' -c 'read 1M 0' t.raw
same_io -f raw -c 'read 1M 1' -c 'write 1048575 2' -c 'read 0 2M' t.raw
same_io -f raw -c 'write -P 256 0 1k' -c 'write -P x 0 1k' -c 'write -P -1 0 1k' \
    -c 'read -P 1k 0 1k' t.raw
same_io -f raw -c 'write -z 0 64k' -c 'write -z -u 64k 64k' \
    -c 'write -zf 0 512' t.raw
same_io -f raw -c 'write -f -P 3 128k 4k' -c 'write -s pattern 200k 17' \
    -c 'read -v 200k 20' t.raw
same_io -f raw -c 'write -c 0 64k' -c 'read -b 0 1k' -c 'write -b 0 1k' t.raw
same_io -f raw -c 'readv 0 512 1k 3' -c 'writev -P 7 0 512 513' \
    -c 'readv -P 7 0 1k 1' -c 'readv -P 8 0 1k' -c 'writev 0 0' t.raw
same_io -f raw -c 'discard 0 64k' -c 'd 64k 1' -c 'discard 2M 1' t.raw
same_content t.raw
for wrong in 'read' 'read 0' 'read a 1' 'read 0 b' 'read 0 1 2' 'read -Z 0 1' \
    'read -s 1 0 2' 'read -P 1 -s 3 0 2' 'read -P 1 -l 3 0 2' 'read 0 9E' \
    'write 0' 'write -z -P 1 0 1' 'write -u 0 1' 'write -n 0 1' \
    'write -b -z 0 1' 'write -f -b 0 1' 'write -s nothing 0 1' \
    'write -s /dev/null 0 1' 'writev 0' 'aio_write -u 0 1' \
    'aio_write -z 0 1 1' 'discard 0' 'truncate' 'truncate x' \
    'truncate -m x 1M' 'sleep' 'sleep x' 'alloc' 'alloc x' 'length 1' 'map 1' \
    'nothing' 'help nothing' 'open' 'reopen x' 'reopen -r -w' 'break' \
    'wait_break'; do
    same_status -f raw -c "$wrong" t.raw
done
same_content t.raw

# several at once
same_io -f raw -c 'aio_write -P 9 0 64k' -c aio_flush -c 'aio_read -P 9 0 64k' \
    -c aio_flush -c 'aio_read -P 8 0 64k' -c aio_flush t.raw
same_io -f raw -c 'aio_read 2M 1' -c aio_flush -c 'aio_write 2M 1' -c aio_flush \
    t.raw
same_io -f raw -c 'aio_write -z 0 4k' -c aio_flush -c 'aio_read -v 0 16' \
    -c aio_flush -c 'aio_write -q 0 1' -c 'aio_read -C 0 512' -c aio_flush \
    -c 'aio_write -i 0 1' -c 'aio_read -i 0 1' t.raw

# what the image is
for image in t.raw odd.raw q.qcow2 top.qcow2; do
    same_io -c length -c map -c 'alloc 0' -c 'alloc 0 64k' -c 'alloc 32k 1M' \
        -c 'alloc 9M' -r "$image"
done
same_io -f raw -c info t.raw
same_io -f qcow2 -c info q.qcow2
same_io -c info "json:{'driver': 'null-co', 'size': 65536}"
same_io -f qcow2 -c 'write 64k 64k' -c 'write -c 128k 64k' -c 'write -z 1M 64k' \
    -c map -c 'alloc 0 256k' q.qcow2
same_io -f raw -c 'truncate 2M' -c length -c 'truncate -m falloc 3M' -c length \
    -c 'truncate 1M' -c 'l' t.raw
same_io -f raw -c 'read -v 990 20' -c 'write -P 1 1000 10' -c 'read -v 990 20' \
    odd.raw
same_content odd.raw

# the state of a machine, beside the disk
same_io -f qcow2 -c 'read -b 0 64k' -c 'write -b 0 64k' -c 'read -b -P 0xcd 0 64k' \
    -c 'write -b -P 3 1G 1k' -c 'read -b -P 3 1G 512' -c map q.qcow2
same_io -f qcow2 -c 'read -b -P 3 1G 1k' -c length -c 'read -P 0 0 64k' q.qcow2
same_status -f raw -c 'read -b 0 1k' t.raw
same_status -f qcow2 -c 'write -b 4096T 64k' q.qcow2

# opening
same_io -c length -c 'open -o driver=raw t.raw' -c length -c close -c length
same_io -c 'open -o driver=raw,file.filename=t.raw' -c length
same_io -c 'open -o driver=raw,offset=512k t.raw' -c length
same_io --image-opts -c length driver=raw,file.filename=t.raw,size=4k
same_io -c length "json:{'driver': 'raw', 'file': {'driver': 'file', 'filename': 't.raw'}}"
same_io -f raw -c length -c 'open t.raw' t.raw
same_io -f raw -r -c 'write 0 1' -c 'read 0 1' -c 'discard 0 1' -c flush t.raw
same_io -f raw -r -U -c 'read 0 1' t.raw
same_io -f raw -U -c 'read 0 1' t.raw
same_io -f raw -n -c 'write -P 1 13 17' -c 'read -P 1 13 17' t.raw
same_io -f raw -t writeback -c 'write -P 1 0 1k' -c flush t.raw
same_io -f raw -s -c 'write -P 77 0 1k' -c 'read -P 77 0 1k' t.raw
same_io -f raw -c 'read -P 77 0 1k' t.raw
same_io -f raw -c 'reopen -r' -c 'write 0 1' -c 'reopen -w' -c 'write -P 1 0 1' \
    -c 'reopen -c none' -c 'write -P 2 1 1' -c 'reopen -o size=512' -c length \
    t.raw
same_io -f qcow2 -C -c 'read 0 4k' -c map top.qcow2
same_io -f qcow2 -c 'reopen -o cache-size=1M,l2-cache-size=64k' \
    -c 'reopen -o refcount-cache-size=128k' -c 'reopen -o overlap-check=all' \
    -c 'reopen -o overlap-check.template=none' -c 'read 0 4k' q.qcow2
for wrong in nothing '-f nothing t.raw' '-t nothing t.raw' '-d nothing t.raw' \
    '-i nothing t.raw' '--nothing' 't.raw q.qcow2' \
    '--image-opts -f raw driver=raw'; do
    # shellcheck disable=SC2086 # words
    same_status -c length $wrong
done
same_content t.raw

# standard input
same_lines 'length
read -P 7 0 512

quit
length' -f raw t.raw
same_lines 'q' -f raw t.raw
same_lines 'aio_read -q 0 1k' -f raw t.raw
is 'a prompt has the name of the program' \
    "$(echo quit | "$tmp/bin/coblk-io" 2>&1)" 'coblk-io> '

# faults
same_io -f raw -c 'write 0 1k' -c 'write 0 1k' -c 'write 0 1k' \
    blkdebug:rules.conf:t.raw
same_io -c 'read 0 1k' -c 'read 4k 1k' -c 'write -z 0 4k' -c 'write 4k 4k' \
    "json:{'driver': 'raw', 'file': {'driver': 'blkdebug', 'image.filename': 't.raw', 'inject-error.0.event': 'none', 'inject-error.0.sector': 0, 'inject-error.0.errno': 95}}"
same_io -c 'alloc 0 1k' \
    "json:{'driver': 'raw', 'file': {'driver': 'blkdebug', 'image.filename': 't.raw', 'inject-error.0.event': 'none', 'inject-error.0.iotype': 'block-status'}}"
same_io -f raw -c 'break write_aio A' -c 'aio_write -P 1 0 1k' -c 'wait_break A' \
    -c 'read -P 1 0 1k' -c 'resume A' -c aio_flush -c 'read -P 1 0 1k' \
    -c 'resume A' -c 'remove_break A' blkdebug::t.raw
same_io -f raw -c 'break nothing A' -c 'break write_aio A' -c 'remove_break A' \
    -c 'remove_break A' -c 'write -P 2 0 1k' blkdebug::t.raw
same_io -f raw -c 'break write_aio A' t.raw
for wrong in blkdebug:nothing:t.raw blkdebug:t.raw blkverify:t.raw \
    blkdebug:pattern:t.raw; do
    same_status -c length "$wrong"
done
both cp t.raw copy.raw
same_io -f raw -c 'write -P 4 0 64k' -c 'read -P 4 0 64k' blkverify:copy.raw:t.raw
same_io -f raw -c 'write -P 3 600 1' t.raw
same_io -f raw -c 'read 64k 64k' -c 'read 0 2k' -c length blkverify:copy.raw:t.raw
same_content t.raw
same_content copy.raw
printf '[inject-error]\nevent = "write_aio"\n' >always.conf
cp q.qcow2 lost.qcow2
is 'closing says which tables are not on disk' \
    "$("$tmp/bin/coblk-io" -c 'write 0 64k' blkdebug:always.conf:lost.qcow2 2>&1 |
        sed -n 's/.*cannot write its \([^,]*\),.*: \(.*\)/\1: \2/p')" \
    'L2 tables: Input/output error
refcount blocks: Input/output error'

# the end
same_io -f raw -c length -c 'sigraise 15' -c length t.raw
same_io -f raw -c 'sigraise 0' -c 'sleep 1' -c length t.raw
same_status -f raw -c abort t.raw

done_same
