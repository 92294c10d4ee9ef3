#!/bin/bash
# SPDX-License-Identifier: MIT
# What scripts read of the image commands is as they know it from qemu-img:
# output on stdout and exit status.
. "$(dirname "$0")/lib.sh"

# The same content for both, and alike from run to run.
# shellcheck disable=SC2317 # called by both
prepare()
{
    truncate -s 1M data
    yes 'some data' | head -c 192k | dd of=data conv=notrunc status=none
    yes 'more' | head -c 8k |
        dd of=data bs=4k seek=80 conv=notrunc status=none
    cp --sparse=always data changed
    printf x | dd of=changed bs=1 seek=330000 conv=notrunc status=none
    truncate -s 4M sparse
    truncate -s 65537 odd
    printf hello >tiny
    mkdir sub
}
both prepare

# nothing to map
both truncate -s 0 void
same map --output=json void
same map void
same map --output=json -s 5M data
same map --output=json -s 1M -l 0 data

# create
same create -f raw new.raw 1M
same create new.raw 1.5G
same create -q new.raw 1M
same create -f raw new.raw
same create -f raw new.raw 1X
same create -f raw -o size=2M,preallocation=falloc new.raw
same create -f raw -o preallocation=full new.raw 1M
same create -f raw -o preallocation=metadata new.raw 1M
same create -f raw -o nothing=1 new.raw 1M
same create -f nothing new.raw 1M
same create -f raw -b data other.raw
same create -f raw new.raw 1M 2M
same create -f raw nowhere/new.raw 1M
same create
same create -f raw new.raw 0
same create -f raw new.raw 1234
same create -f qcow2 new.qcow2 1M
same create -f qcow2 -o cluster_size=4k small.qcow2 1M
same create -f qcow2 -o cluster_size=4097 odd.qcow2 1M
same create -f qcow2 -b data -F raw overlay.qcow2
same create -f qcow2 -b data overlay2.qcow2
same create -f qcow2 -b ../data -F raw sub/overlay.qcow2
same create -f qcow2 -b data -F raw sub/overlay2.qcow2
same create -f qcow2 -u -b nothing -F raw overlay3.qcow2 1M
same create -f qcow2 -u -b nothing -F raw overlay4.qcow2
same create -f qcow2 -o size=3M -b data -F raw overlay5.qcow2
same create -f qcow2 -b overlay5.qcow2 -F qcow2 overlay5.qcow2
same create -f qcow2 -o backing_file=data,backing_fmt=raw o6.qcow2
same create -f qcow2 -o compat=0.10 old.qcow2 1M

# info, map, measure
for image in data odd sparse tiny new.raw new.qcow2 small.qcow2 overlay.qcow2 \
    sub/overlay.qcow2 overlay5.qcow2 nothing; do
    same info "$image"
    same info --output=json "$image"
    same info --backing-chain "$image"
    same info --backing-chain --output=json "$image"
    same map "$image"
    same measure "$image"
done
for image in data odd sparse tiny new.qcow2 overlay.qcow2 overlay5.qcow2; do
    same map --output=json "$image"
done
same info -f raw data
same info -f qcow2 data
same info --output=xml data
same info
same info data odd
same info --image-opts driver=raw,file.filename=data
same info --image-opts driver=nothing,file.filename=data
same info --image-opts -f raw driver=raw
same info 'json:{"driver":"raw","file":{"driver":"file","filename":"data"}}'
same info 'json:{"driver":"raw"'
same info file:data
same map --start-offset 64k --max-length 128k --output json data
same map --start-offset 2M data
same measure --size 1G
same measure --size 1G -O qcow2
same measure --size 1G -O qcow2 -o cluster_size=4k --output=json
same measure -O qcow2 data
same measure --size 1X
same measure
same measure --size 1G data
same measure -O raw -o nothing=1 --size 1M

# compare
same compare data data
same compare data changed
same compare -s data data
same compare -q data changed
same compare data sparse
same compare sparse odd
same compare -s sparse odd
same compare data nothing
same compare -f qcow2 data data
same compare data

# convert
for image in data odd sparse tiny overlay.qcow2; do
    same convert -O raw "$image" out.raw
    same compare "$image" out.raw
    same map --output=json out.raw
    same convert -O qcow2 "$image" out.qcow2
    same compare "$image" out.qcow2
    same map --output=json out.qcow2
    same convert -c -O qcow2 "$image" packed.qcow2
    same compare "$image" packed.qcow2
    same convert -S 0 -O raw "$image" full.raw
    same compare "$image" full.raw
    same map --output=json full.raw
done
same convert data sparse joined.raw
same info joined.raw
same compare joined.raw data
same convert -O raw data data
same convert -O raw -n data sparse
same compare data sparse
same convert -O raw -n sparse tiny
same convert data
same convert -O nothing data x
same convert -S 1000 data x
same convert -m 17 data x
same convert -m 0 data x
same convert -C -S 4k data x
same convert -C data x
same compare data x
same convert -W -m 16 data x
same convert -c -O raw data x
same convert -t none data x
same convert -t nothing data x
same convert --target-is-zero data x
same convert -B data -F raw -O qcow2 data backed.qcow2
same map --output=json backed.qcow2
same convert -O qcow2 -B data -F raw overlay.qcow2 backed.qcow2
same compare backed.qcow2 data
same convert -O raw \
    'json:{"driver":"null-co","size":1048576,"read-zeroes":true}' x
same map --output=json x

# resize
same resize -f raw data 2M
same resize -f raw data +1M
same resize -f raw data -1M
same resize -f raw --shrink data -1M
same resize -f raw --shrink data -- -1M
same resize -f raw data
same resize -q -f raw data 3M
same resize -f raw --preallocation=full data 4M
same resize -f raw --preallocation=nothing data 4M
same resize -f raw --shrink data 0
same info data
same resize new.qcow2 2M
same resize new.qcow2 1M
same resize --shrink new.qcow2 1M
same info new.qcow2

# dd
same dd if=changed of=copy.raw
same compare changed copy.raw
same dd if=changed
same dd if=changed of=copy.raw bs=0
same dd if=changed of=copy.raw bs=1M count=0
same info copy.raw
same dd if=changed of=copy.raw bs=5
same compare changed copy.raw
same dd if=changed of=copy.raw skip=100000
same info copy.raw
same dd -O qcow2 if=changed of=copy.qcow2 bs=64k count=2
same info copy.qcow2

# What raw has not
same check changed
same snapshot -l changed
same snapshot -c one changed
same commit changed
same amend -o size=4M changed
same rebase -b sparse changed
same nothing
# data in a file of their own
same create -f qcow2 -o data_file=guest.data outside.qcow2 1M
same info outside.qcow2
same info --output=json outside.qcow2
both mv guest.data moved.data
same info --image-opts \
    driver=qcow2,file.filename=outside.qcow2,data-file.filename=moved.data
same map --output=json --image-opts \
    driver=qcow2,file.filename=outside.qcow2,data-file.filename=moved.data

done_same
