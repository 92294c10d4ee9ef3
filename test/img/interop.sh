#!/bin/bash
# SPDX-License-Identifier: MIT
# Images with all options of qcow2: what qemu's programs make is checked,
# compared, read and continued by ours, and the other way round.
. "$(dirname "$0")/lib.sh"

requires qemu-img qemu-utils
requires qemu-io qemu-utils

qemu()
{
    "qemu-$1" "${@:2}"
}

coblk()
{
    "$tmp/bin/coblk-$1" "${@:2}"
}

# Both programs do these, on an image and on a raw file that is its model.
first=(-c 'write -P 1 0 600k' -c 'write -P 2 700001 1' -c 'write -z 100k 130k'
    -c 'write -P 3 3M 300k' -c 'write -z 3100k 64k' -c 'write -P 4 5M 1M')
second=(-c 'write -P 5 50000 100000' -c 'write -P 6 2M 200k'
    -c 'write -z 400k 99k' -c 'write -P 7 5500k 4k' -c 'write -P 8 3200000 7')
third=(-c 'write -P 9 1M 1500k' -c 'write -z 4M 2M' -c 'write -P 10 777 3000')

# made_by WHO OTHER OPTIONS [BACKING FORMAT]: WHO makes and writes an image and
# takes a snapshot, OTHER looks and writes on, WHO looks.  Prints what failed.
made_by()
{
    local who=$1 other=$2 options=$3 packed=1 backing=() snapshot=1
    if [ -n "${4:-}" ]; then
        backing=(-b "$4" -F "$5")
    fi
    case $options in
    *data_file*) snapshot='' packed='' ;;
    *refcount_bits=1,*) snapshot='' ;;
    *preallocation*) packed='' ;;
    esac
    "$who" img create -q -f qcow2 -o "$options" "${backing[@]}" image 6M &&
        model_of "${4:-}" "${5:-}" &&
        write_by "$who" "${first[@]}" &&
        if [ -n "$packed" ]; then
            write_packed "$who"
        fi &&
        looks_right "$other" &&
        if [ -n "$snapshot" ]; then
            "$who" img snapshot -c one image && cp model model.one
        fi &&
        write_by "$other" "${second[@]}" &&
        looks_right "$who" && looks_right "$other" &&
        if [ -n "$snapshot" ]; then
            "$other" img snapshot -c two image && cp model model.two
        fi &&
        write_by "$who" "${third[@]}" &&
        looks_right "$other" &&
        if [ -n "$snapshot" ]; then
            snapshots_right "$who" "$other"
        fi
}

# The model begins as what the backing file shows.
model_of()
{
    rm -f model
    if [ -n "$1" ]; then
        qemu-img convert -f "$2" -O raw "$1" model
    fi
    truncate -s 6M model
}

# write_by WHO COMMAND...: to the image and to its model.
write_by()
{
    local who=$1 out
    shift
    out=$("$who" io -f qcow2 -d unmap "$@" image && "$who" io -f raw "$@" model)
    case $out in
    *failed* | *error*) echo "$out" && return 1 ;;
    esac
}

# Compresses the clusters of a disk that has nothing else.
write_packed()
{
    rm -f plain &&
        head -c 1M /dev/zero | tr '\0' 'c' >plain && truncate -s 6M plain &&
        "$1" img convert -q -c -f raw -O qcow2 -o "$options" \
            plain packed &&
        qemu-img check -q packed && coblk img check -q packed &&
        qemu-img compare -q -f raw -F qcow2 plain packed &&
        coblk img compare -q -f raw -F qcow2 plain packed
}

# looks_right WHO: finds the image consistent, and the same as its model.
looks_right()
{
    "$1" img check -q -f qcow2 image &&
        "$1" img compare -q -f raw -F qcow2 model image &&
        "$1" img convert -f qcow2 -O raw image out && cmp out model &&
        "$1" img info --output=json image | grep -q '"virtual-size": 6291456'
}

# snapshots_right WHO OTHER: shown by both, applied and deleted.
snapshots_right()
{
    local name
    for name in one two; do
        "$1" img convert -l "snapshot.name=$name" -f qcow2 -O raw image out &&
            cmp out "model.$name" &&
            "$2" img convert -l "snapshot.name=$name" -f qcow2 -O raw image \
                out &&
            cmp out "model.$name" || return 1
    done
    # In this order: qemu-img counts one more reference while it applies one.
    "$1" img snapshot -d two image && looks_right "$2" &&
        "$2" img snapshot -a one image && cp model.one model &&
        looks_right "$1" &&
        "$1" img snapshot -d one image && looks_right "$2"
}

# both_ways OPTIONS [BACKING FORMAT]
both_ways()
{
    ok "made by qemu: $*" made_by qemu coblk "$@"
    ok "made by coblk: $*" made_by coblk qemu "$@"
    rm -f image packed data
}

random_file short.raw 2500k
random_file long.raw 8M
qemu-img convert -f raw -O qcow2 short.raw short.qcow2
img convert -f raw -O qcow2 long.raw long.qcow2

for options in compat=1.1 compat=0.10 \
    cluster_size={512,1k,4k,32k,256k,2M} \
    refcount_bits={1,2,4,8,32,64},cluster_size=16k \
    lazy_refcounts=on lazy_refcounts=on,cluster_size=1k \
    extended_l2=on,cluster_size={16k,64k,2M} \
    compression_type={zlib,zstd} compression_type=zstd,cluster_size=4k \
    preallocation={off,metadata,falloc,full} \
    preallocation=metadata,extended_l2=on \
    data_file=data data_file=data,data_file_raw=on; do
    both_ways "$options"
done
for options in cluster_size=64k extended_l2=on,cluster_size=16k \
    compat=0.10,cluster_size=4k; do
    for base in short long; do
        both_ways "$options" "$base.raw" raw
        both_ways "$options" "$base.qcow2" qcow2
    done
done
done_testing
