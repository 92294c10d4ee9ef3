#!/bin/bash
# SPDX-License-Identifier: MIT
# amend: what can be changed is, the image stays consistent and reads as
# before, and qemu-img reads and checks it; what cannot be is refused.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

io()
{
    "$COBLK" io "$@" >/dev/null
}

# consistent IMAGE: as both programs see it.
consistent()
{
    img check -q "$1" || return 1
    [ -z "$qemu_img" ] || "$qemu_img" check -q -f qcow2 "$1" >/dev/null
}

# reads_as IMAGE FILE: as both programs see it.
reads_as()
{
    img compare -q -f qcow2 -F raw "$1" "$2" || return 1
    [ -z "$qemu_img" ] || "$qemu_img" compare -q -f qcow2 -F raw "$1" "$2"
}

# has KEY=VALUE... IMAGE: of format-specific.data.
has()
{
    local image=${!#} want
    for want in "${@:1:$#-1}"; do
        [ "$(img info --output=json "$image" |
            jq -r ".\"format-specific\".data.\"${want%%=*}\"")" = "${want#*=}" ] ||
            return 1
    done
}

# amends WHAT OPTIONS KEY=VALUE...: image.qcow2, which reads as plain.
amends()
{
    local what=$1 options=$2
    shift 2
    ok "$what" img amend -q -f qcow2 -o "$options" image.qcow2
    ok "$what: info tells" has "$@" image.qcow2
    ok "$what: consistent" consistent image.qcow2
    ok "$what: reads as before" reads_as image.qcow2 plain
}

# make_image OPTIONS: data, zeroes over data, zeroes over nothing, compressed.
make_image()
{
    rm -f image.qcow2
    img create -q -f qcow2 -o "$1" image.qcow2 8M
    io -c 'write -P 1 0 300k' -c 'write -P 2 5M 100k' image.qcow2
    io -c 'write -c -P 3 1M 64k' image.qcow2
    [[ $1 = *0.10* ]] ||
        io -c 'write -z 64k 100k' -c 'write -z 3M 1M' image.qcow2
    img convert -O raw image.qcow2 plain
}

# -- The version

make_image compat=1.1
amends '1.1 to 0.10' compat=0.10 compat=0.10
amends '0.10 stays' compat=0.10 compat=0.10
amends 'and back' compat=1.1 compat=1.1 refcount-bits=16
make_image compat=v3,lazy_refcounts=on
amends 'lazy to 0.10' compat=0.10 compat=0.10 lazy-refcounts=null

make_image compat=0.10
img snapshot -c one image.qcow2
io -c 'write -P 9 0 64k' image.qcow2
img convert -O raw image.qcow2 plain
amends '0.10 with a snapshot to 1.1' compat=1.1 compat=1.1
amends 'and back to 0.10' compat=0.10 compat=0.10
ok 'its snapshot is there' img snapshot -a one image.qcow2
ok 'and reads as it did' io -c 'read -P 1 0 300k' image.qcow2
ok 'and is consistent' consistent image.qcow2

# Where a backing file would shine through, zeroes have to be written.
random_file base 2M
img create -q -f qcow2 -b base -F raw image.qcow2 8M
io -c 'write -z 0 200k' -c 'write -z 1900k 200k' -c 'write -z 4M 1M' \
    image.qcow2
img convert -O raw image.qcow2 plain
amends 'zeroes over a backing file' compat=0.10 compat=0.10

# Snapshots, which share tables with zeroes in them with one another and with
# the disk.
# snapshots_of IMAGE SUFFIX: what they and the disk read as.
snapshots_of()
{
    local name
    for name in one two three; do
        img convert -q -l "$name" -f qcow2 -O raw "$1" "$name.$2" || return 1
    done
    img convert -q -f qcow2 -O raw "$1" "now.$2"
}

make_snapshots()
{
    rm -f image.qcow2
    img create -q -f qcow2 "$@" image.qcow2 2M
    io -c 'write -P 1 0 300k' -c 'write -z 100k 100k' -c 'write -z 1M 300k' \
        image.qcow2
    img snapshot -c one image.qcow2
    img snapshot -c two image.qcow2
    io -c 'write -P 2 150k 10k' -c 'write -z 0 64k' \
        -c 'write -z -u 1900k 64k' image.qcow2
    img snapshot -c three image.qcow2
    io -c 'write -P 3 1100k 64k' image.qcow2
    snapshots_of image.qcow2 before
}

# go_back NAME: the disk is that of the snapshot then.
go_back()
{
    img snapshot -a "$1" image.qcow2 && consistent image.qcow2 &&
        reads_as image.qcow2 "$1.before"
}

for options in '-o cluster_size=512' '-o cluster_size=4k -b base -F raw' \
    '-o cluster_size=64k -b base -F raw'; do
    # shellcheck disable=SC2086 # these are words
    make_snapshots $options
    ok "$options: to 0.10" img amend -q -o compat=0.10 image.qcow2
    ok "$options: info tells" has compat=0.10 image.qcow2
    ok "$options: consistent" consistent image.qcow2
    snapshots_of image.qcow2 after
    for name in one two three now; do
        ok "$options: $name reads as before" cmp "$name.before" "$name.after"
    done
    ok "$options: back to one" go_back one
    ok "$options: written to" io -c 'write -P 9 0 2M' image.qcow2
    ok "$options: still consistent" consistent image.qcow2
    ok "$options: back to three" go_back three
    ok "$options: deleted" img snapshot -d three image.qcow2
    ok "$options: still consistent" consistent image.qcow2
    ok "$options: back to two" go_back two
done

make_snapshots -o cluster_size=4k
img resize -q image.qcow2 3M
refuses 'a snapshot of another size' \
    "snapshot 'one' has a disk of another size" \
    img amend -o compat=0.10 image.qcow2

# -- Reference counts

make_image cluster_size=4k
for bits in 64 8 32 16; do
    amends "refcount_bits=$bits" refcount_bits=$bits refcount-bits=$bits
done
img snapshot -c one image.qcow2
amends 'with a snapshot' refcount_bits=8 refcount-bits=8
ok 'written to' io -c 'write -P 7 10k 1M' image.qcow2
ok 'still consistent' consistent image.qcow2

img create -q -f qcow2 -o cluster_size=4k image.qcow2 8M
io -c 'write -P 1 7k 300k' image.qcow2
img convert -O raw image.qcow2 plain
amends 'one bit, without anything shared' refcount_bits=1 refcount-bits=1

# -- Others

make_image compat=1.1
amends 'lazy on' lazy_refcounts=on lazy-refcounts=true
ok 'written to while lazy' io -c 'write -P 1 0 100' image.qcow2
amends 'lazy off' lazy_refcounts=off lazy-refcounts=false
amends 'several' compat=0.10,lazy_refcounts=off compat=0.10
amends 'several again' compat=1.1,lazy_refcounts=on,refcount_bits=8 \
    compat=1.1 lazy-refcounts=true refcount-bits=8
ok 'size' img amend -q -o size=12M image.qcow2
is 'is that' "$(img info --output=json image.qcow2 |
    jq '."virtual-size"')" $((12 * 1024 * 1024))
ok 'consistent' consistent image.qcow2

img create -q -f qcow2 -o data_file=data,data_file_raw=on external.qcow2 1M
ok 'data_file_raw off' img amend -q -o data_file_raw=off external.qcow2
ok 'is off' has data-file-raw=false external.qcow2
mv data moved
refuses 'its data file has gone' 'data: no such file' \
    img amend -o lazy_refcounts=on external.qcow2
ok 'data_file' img amend -q --image-opts -o data_file=moved \
    driver=qcow2,file.filename=external.qcow2,data-file.filename=moved
ok 'is that one' has data-file=moved external.qcow2
ok 'and is used' consistent external.qcow2

is 'progress ends at 100' "$(img amend -p -o compat=1.1 image.qcow2 |
    tr '\r' '\n' | grep -c '100')" 1
is 'help lists what can be changed' "$(img amend -f qcow2 -o help |
    sed -n 's/^  \([a-z_]*\)=.*/\1/p' | tr '\n' ' ')" \
    'size compat data_file data_file_raw lazy_refcounts refcount_bits '

# -- What cannot be

make_image compat=1.1
refuses 'unknown option' "no option 'foo'; there are" \
    img amend -o foo=1 image.qcow2
refuses 'what only new images take' \
    'cluster_size can be given to a new image only; .* size, compat' \
    img amend -o cluster_size=4k image.qcow2
refuses 'the backing file' 'use .rebase -u' \
    img amend -o backing_file=base image.qcow2
refuses 'unknown version' 'compat=0.9: not one of' \
    img amend -o compat=0.9 image.qcow2
refuses 'bad width' 'refcount_bits=3 is not possible' \
    img amend -o refcount_bits=3 image.qcow2
refuses 'a data file for one that has none' 'keeps its data in itself' \
    img amend -o data_file=x image.qcow2
refuses 'data_file_raw on' 'can be turned off only' \
    img amend -o data_file_raw=on image.qcow2
refuses 'width that version 2 has not' 'compat=0.10 needs refcount_bits=16' \
    img amend -o compat=0.10,refcount_bits=8 image.qcow2
refuses 'lazy in version 2' 'lazy_refcounts needs compat=1.1' \
    img amend -o compat=0.10,lazy_refcounts=on image.qcow2
refuses 'raw' 'raw images have no options that' \
    img amend -f raw -o size=1M base
img create -q -f qcow2 -o extended_l2=on extended.qcow2 1M
refuses 'what version 2 has not' 'version 2 has no extended L2' \
    img amend -o compat=0.10 extended.qcow2
img create -q -f qcow2 -o compression_type=zstd zstd.qcow2 1M
refuses 'nor that' 'version 2 has no compression types' \
    img amend -o compat=0.10 zstd.qcow2
img snapshot -c one image.qcow2
refuses 'counts that do not fit' 'more often than refcount_bits=1' \
    img amend -o refcount_bits=1 image.qcow2
done_testing
