#!/bin/bash
# SPDX-License-Identifier: MIT
# Each thing a user of the image commands can get wrong is refused with one
# line that names it and says what to do; no file is changed.
. "$(dirname "$0")/lib.sh"

random_file data 1M
random_file other 1M
truncate -s 512k small
mkdir dir
mkfifo fifo
printf 'KDMV' >foreign
truncate -s 1M foreign
img create -q -f qcow2 image.qcow2 1M
img create -q -f qcow2 -b data -F raw overlay.qcow2

# -- Options and values

refuses 'no command' 'command is needed' img
refuses 'unknown command' "no command .convertt.; did you mean convert" \
    img convertt data x
refuses 'unknown option' 'no option -Z' img info -Z data
refuses 'unknown long option' 'no option --formt; did you mean format' \
    img info --formt=raw data
refuses 'option without its value' '-f needs a value: FORMAT' img info data -f
refuses 'too few arguments' 'too few arguments: .* FILENAME' img info
refuses 'too many arguments' "unexpected argument 'other'" \
    img info data other
refuses 'unknown format' "'qcow3'.* raw" img info -f qcow3 data
refuses 'another format' 'data: is not a qcow2 image; try the format raw' \
    img info -f qcow2 data
refuses 'unknown target format' "'qcow3'.* one of raw" \
    img convert -O qcow3 data x
refuses 'unknown format to create' "'qcow3'.* one of raw" \
    img create -f qcow3 x 1M
refuses 'unknown option to create' "'cluster_sizes'; there are .*cluster_size" \
    img create -f qcow2 -o cluster_sizes=4k x 1M
refuses 'option of another format' "raw images have no option 'cluster_size'" \
    img create -f raw -o cluster_size=4k x 1M
refuses 'bad value of an option' 'preallocation=some: not one of off' \
    img create -q -f raw -o preallocation=some x 1M
refuses 'bad compat' 'compat=2: not one of 0.10, .*1.1' \
    img create -q -f qcow2 -o compat=2 x 1M
refuses 'bad cluster size' 'cluster_size=3072 .*power of two from 512 to 2M' \
    img create -q -f qcow2 -o cluster_size=3k x 1M
refuses 'bad width of counts' 'refcount_bits=3 .*power of two from 1 to 64' \
    img create -q -f qcow2 -o refcount_bits=3 x 1M
refuses 'bad compression' 'compression_type=lz4: not one of zlib, zstd' \
    img create -q -f qcow2 -o compression_type=lz4 x 1M
refuses 'bad switch' 'lazy_refcounts=maybe: not one of off, on' \
    img create -q -f qcow2 -o lazy_refcounts=maybe x 1M
refuses 'what version 2 has not' 'refcount_bits needs compat=1.1' \
    img create -q -f qcow2 -o compat=0.10,refcount_bits=8 x 1M
refuses 'empty option' 'KEY=VALUE' img create -f raw -o =1 x 1M
refuses 'bad size' "'1X' is not a size; write .*k, M, G" img create x 1X
refuses 'negative size' "no option -1|'-1' is not a size" img create x -- -1
refuses 'size missing' 'x: how large' img create x
refuses 'size given twice' 'x: its size is given twice; leave size=1M or' \
    img create -f qcow2 -o size=1M x 2M
refuses 'empty name of a backing file' 'name of its backing file is empty' \
    img create -f qcow2 -b '' x 1M
refuses 'bad --output' '--output=xml: must be human or json' \
    img info --output=xml data
refuses 'bad cache mode' "'nine' is no cache mode; use none" \
    img convert -t nine data x
refuses 'bad source cache mode' "'nine' is no cache mode; use none" \
    img compare -T nine data other
refuses 'bad -S' '-S 1000: must be a multiple of 512' \
    img convert -S 1000 data x
refuses 'bad -m' "-m '17' must be a number from 1 to 16" \
    img convert -m 17 data x
refuses 'bad -r of check' '-r some: must be leaks or all' \
    img check -r some image.qcow2
refuses '-c for raw' 'raw images cannot be compressed; use -O qcow2' \
    img convert -c data other
refuses '-C with -S' '-C excludes -S' img convert -C -S 4k data x
refuses '--target-is-zero without -n' 'needs -n' \
    img convert --target-is-zero data x
refuses '-l for raw' 'raw images have no snapshots' img convert -l one data x
refuses '--image-opts with -f' 'exclude each other' \
    img info --image-opts -f raw driver=raw
refuses 'an object that is no secret' 'secret,id=ID,file=PATH' \
    img info --object iothread,id=s data
refuses 'a secret without an id' 'secret,id=ID' \
    img info --object secret,data=x data
refuses 'a secret without data' 'one of file=PATH' \
    img info --object secret,id=s data
refuses 'a secret that is encrypted' 'keyid' \
    img info --object secret,id=s,data=x,keyid=t,iv=u data
refuses 'a secret that is not base64' 'not base64' \
    img info --object secret,id=s,data=x,format=base64 data
refuses 'a secret of a file that is missing' 'nowhere' \
    img info --object secret,id=s,file=nowhere data
refuses 'two secrets of one name' "two secrets 's'" \
    img info --object secret,id=s,data=x --object secret,id=s,data=y data
refuses 'options without a file' 'give driver=NAME or filename=' \
    img info --image-opts discard=unmap
refuses 'unknown option to open' "does not know the option .window." \
    img info --image-opts driver=raw,window=1,file.filename=data
refuses 'malformed json:' 'not a JSON object' img info 'json:{"driver"'
refuses 'two ways to change snapshots' 'exclude each other' \
    img snapshot -c a -d b image.qcow2
refuses 'nothing to amend' 'Give -o' img amend image.qcow2
refuses 'measure nothing' 'Give --size or an image' img measure
refuses 'bad operand of dd' "'iff=data' is none of if=" \
    img dd iff=data of=x
refuses 'bad bs' 'bs=0: must be from 1' img dd if=data of=x bs=0

# -- Names

refuses 'no such file' 'nothing: no such file' img info nothing
refuses 'no such directory' 'nowhere/x: .*directory does not exist' \
    img create -q nowhere/x 1M
refuses 'a directory' 'dir: is a directory' img info dir
refuses 'a pipe' 'fifo: is neither a file nor a device' img info fifo
refuses 'a directory as target' 'dir: ' img convert data dir
refuses 'a format that is not read here' 'foreign: looks like a vmdk' \
    img info foreign
refuses 'a protocol of the network' \
    "nbd://host/x: 'nbd' is not supported.*write ./nbd" img info nbd://host/x
refuses 'one with a transport' "'nbd\\+unix' is not supported" \
    img info nbd+unix:///x
refuses 'json: cannot be created' 'needs the plain name' \
    img create -q 'json:{"driver":"file","filename":"x"}' 1M

# -- Sizes

refuses 'target too small' 'small: has 524288 bytes, and the input 1048576' \
    img convert -n data small
refuses 'shrinking by accident' 'would lose all behind .*--shrink' \
    img resize -f raw data 512k
refuses 'nothing would be left' 'must be between 1 and' \
    img resize -f raw --shrink data -1M
refuses 'create: size and name in turn' \
    "'x' is not a size; the name comes first, then the size" img create 1M x
refuses 'too large' "'9E' is too large; sizes are below 8E" \
    img create x 9E
refuses 'a new size that is none' "the size 'abc' is not a size" \
    img resize -f raw data abc
refuses 'size and name in turn' "'1M' is a size; the name comes first" \
    img resize -f raw 1M data
refuses 'also of what is added' "'\+1M' is a size; the name comes first" \
    img resize -f raw +1M data
ok 'options behind the new size' img resize -q -f raw data 2M --shrink
img resize -q -f raw --shrink data 1M
refuses 'no size to resize to' 'the new size is missing' \
    img resize -f raw data

# -- Files that are the same, or in the way

refuses 'source and target are one' 'is the source and the target' \
    img convert data data
ln data hardlink
refuses 'also by another name' 'is the source and the target' \
    img convert data hardlink
refuses 'also with dd' 'is the source and the target' \
    img dd if=data of=hardlink
refuses 'the target is the backing file' \
    'data: is below the source, overlay.qcow2' \
    img convert overlay.qcow2 data
refuses 'also by another name, and with -n' 'is below the source' \
    img convert -n overlay.qcow2 hardlink
refuses 'also with dd, which would empty it' 'is below the source' \
    img dd -f qcow2 if=overlay.qcow2 of=data
refuses 'also as options' 'data: image is locked by pid .*, which is this command' \
    img convert -n --target-image-opts overlay.qcow2 \
    driver=raw,file.filename=data
refuses 'the new image is below its backing file' \
    'data: is below overlay.qcow2 already' \
    img create -f qcow2 -b overlay.qcow2 -F qcow2 data
refuses 'its own backing file' 'cannot be its own backing file' \
    img create -f qcow2 -b overlay.qcow2 -F qcow2 overlay.qcow2

# -- Backing files

refuses 'format of the backing file not given' 'add -F raw' \
    img create -f qcow2 -b data x.qcow2
refuses 'not given, nor looked at' 'add -F raw, -F qcow2' \
    img create -f qcow2 -u -b data x.qcow2 1M
refuses 'backing file missing' 'nothing: no such file.*create -u does not' \
    img create -f qcow2 -b nothing -F raw x.qcow2
refuses 'the same of convert, which has no -u' \
    'nothing: no such file.*create -u does not' \
    img convert -O qcow2 -B nothing -F raw data x.qcow2
img create -q -f qcow2 -u -b nothing -F raw orphan.qcow2 1M
refuses 'backing file missing when it is needed' \
    'nothing: no such file|orphan.qcow2: .*nothing' \
    img convert orphan.qcow2 x
refuses 'backing file of a format that is not there' "no format 'vmdk'" \
    img create -q -f qcow2 -u -b foreign -F vmdk x.qcow2 1M
refuses 'format of no backing file' 'x: .*format of its backing file, -F raw,' \
    img create -f qcow2 -F raw x 1M
refuses 'raw has no backing file' 'raw images have no backing files' \
    img create -f raw -b data x
refuses 'rebase without a format' 'add -F raw' \
    img rebase -b data overlay.qcow2
refuses 'rebase onto nothing that is there' 'nothing: no such file' \
    img rebase -b nothing -F raw overlay.qcow2
refuses 'rebase without -b' 'give -b FILE' img rebase overlay.qcow2
refuses 'commit without a backing file' 'no backing file to commit to' \
    img commit image.qcow2
refuses 'commit to what is not in the chain' \
    'other: is not among the backing files' img commit -b other overlay.qcow2
img create -q -f qcow2 -u -b loop2.qcow2 -F qcow2 loop1.qcow2 1M
img create -q -f qcow2 -u -b loop1.qcow2 -F qcow2 loop2.qcow2 1M
refuses 'a loop in the chain' 'loop1.qcow2: .*again among its own backing' \
    img info --backing-chain --output=json loop1.qcow2

# -- In use

exec 7<>data
python3 - <<'PY' &
import fcntl
import os
import struct
import time

# As QEMU does when it writes: held are reading, writing and resizing.
fd = os.open('data', os.O_RDWR)
for byte in (100, 101, 103, 201, 203):
    lock = struct.pack('hhqqi', fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
    fcntl.fcntl(fd, 37, lock)  # F_OFD_SETLK
open('locked', 'w').close()
time.sleep(600)
PY
holder=$!
exec 7>&-
soon test -e locked
refuses 'an image in use, with its user' "data: image is .*pid $holder" \
    img info data
refuses 'as a target as well' "data: image is .*pid $holder" \
    img convert other data
refuses 'and to resize' "data: image is .*pid $holder" \
    img resize -f raw data 2M
ok '-U reads it' img info -U data
kill $holder
wait $holder 2>/dev/null

# -- An image that cannot be read

cat >broken.conf <<-END
	[inject-error]
	event = "none"
	iotype = "read"
	sector = "1024"
END
cat small data >longer
out=$(img compare -f raw blkdebug:broken.conf:longer small 2>&1)
is 'compare: status 4' $? 4
is 'compare: what went wrong, then what else differs' \
    "${out/:* cannot be read:*error/: ERROR}" \
    'coblk-img: ERROR
Warning: Image size mismatch!'

# What is in use may be known to one table only, which cannot be read.
img create -q -f qcow2 unreadable 8M
"$COBLK" io -c 'write -q -P 3 0 1M' unreadable
field() # OFFSET: the 8 bytes there in unreadable
{
    echo "0x$(od -An -j "$1" -N 8 -t x8 --endian=big unreadable | tr -d ' ')"
}
l2=$(($(field "$(($(field 40)))") & 0xfffffffffffe00))
cp unreadable before
for what in leaks all; do
    img check -q -r $what --image-opts "driver=qcow2,file.driver=blkdebug,\
file.image.filename=unreadable,file.inject-error.0.event=none,\
file.inject-error.0.iotype=read,file.inject-error.0.sector=$((l2 / 512))" 2>err
    is "check -r $what, of which a table cannot be read: status" $? 1
    ok '... says why' grep -q 'cannot be repaired, for some of its tables' err
    equal '... frees nothing' unreadable before
done

# -- No space

if mkdir tiny && unshare --mount true 2>/dev/null &&
    mountpoint -q / && [ "$(id -u)" = 0 ]; then
    # shellcheck disable=SC2016 # expands in the inner shell
    unshare --mount bash -c '
        mount -t tmpfs -o size=256k tmpfs tiny &&
            "$1" convert data tiny/out 2>nospace.err
        echo "$?" >nospace.status
        ls tiny >nospace.left
        "$1" convert -O qcow2 data tiny/out 2>nospace2.err
        echo "$?" >nospace2.status
        ls tiny >nospace2.left
        "$1" create -q -f qcow2 -o cluster_size=4k -b "$PWD/data" -F raw \
            tiny/image
        "$2" -f qcow2 -c "write 0 64k" -c "write 64k 512k" -c "write 0 4k" \
            -c "flush" tiny/image >nospace3.out 2>&1
        "$1" check tiny/image >nospace3.check 2>&1
        echo "$?" >nospace3.status' - "$tmp/bin/coblk-img" "$tmp/bin/coblk-io"
    is 'no space: status 1' "$(cat nospace.status)" 1
    ok 'no space: says where' \
        grep -q 'tiny/out: error while writing at byte .*No space' nospace.err
    is 'no space: one line' "$(wc -l <nospace.err)" 1
    is 'no space: no target is left' "$(cat nospace.left)" ''
    is 'no space for qcow2: status 1' "$(cat nospace2.status)" 1
    ok 'no space for qcow2: says where' \
        grep -q 'tiny/out: .*No space' nospace2.err
    is 'no space for qcow2: one line' "$(wc -l <nospace2.err)" 1
    is 'no space for qcow2: no target is left' "$(cat nospace2.left)" ''
    ok 'no space to write: says so' grep -q 'No space' nospace3.out
    ok 'no space to write: what fits is written' \
        grep -q 'wrote 4096/4096 bytes at offset 0' nospace3.out
    is 'no space to write: the image is consistent' \
        "$(cat nospace3.status)" 0
else
    skip_test 'no space' 'needs root to mount a small file system'
fi
done_testing
