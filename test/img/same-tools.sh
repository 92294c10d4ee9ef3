#!/bin/bash
# SPDX-License-Identifier: MIT
# compare, measure, dd, bench and resize: output on stdout and exit status are
# as qemu-img's, for what same.sh has not.
. "$(dirname "$0")/lib.sh"

# The same content for both, and alike from run to run.
# shellcheck disable=SC2317 # called by both
prepare()
{
    local io=("$COBLK" io -f qcow2)

    truncate -s 1M data
    yes 'some data' | head -c 192k | dd of=data conv=notrunc status=none
    cp --sparse=always data changed
    printf x | dd of=changed bs=1 seek=330000 conv=notrunc status=none
    cp data longer
    truncate -s 2M longer
    cp longer padded
    printf x | dd of=padded bs=1 seek=1500000 conv=notrunc status=none
    head -c 128k data >shorter
    truncate -s 65537 odd
    printf hello >tiny
    printf '[inject-error]\nevent = "read_aio"\nerrno = "5"\nsector = "300"\n' \
        >rules
    img convert -O qcow2 data image.qcow2
    img create -q -f qcow2 empty.qcow2 1M
    img create -q -f qcow2 zeroes.qcow2 1M
    "${io[@]}" -c 'write -z 0 256k' zeroes.qcow2
    img create -q -f qcow2 -b data -F raw overlay.qcow2
    "${io[@]}" -c 'write -P 3 512k 64k' overlay.qcow2
    img convert -O qcow2 overlay.qcow2 flat.qcow2
    img create -q -f qcow2 snap.qcow2 2M
    "${io[@]}" -c 'write -P 3 512k 64k' snap.qcow2
    img snapshot -c one snap.qcow2
    "${io[@]}" -c 'write -P 3 1M 640k' snap.qcow2
}
both prepare >/dev/null

# compare: sizes, formats, errors in reading
same compare --image-opts driver=raw,file.filename=data driver=raw,file.filename=data
same compare --image-opts driver=raw,file.filename=data driver=raw,file.filename=changed
same compare --image-opts driver=raw,file.filename=data data
same compare -f raw -F qcow2 data image.qcow2
same compare -f raw -F raw data image.qcow2
same compare -F qcow2 data data
same compare nothing data
same compare data nothing
same compare data
same compare data data data
same compare -f nothing data data
same compare -F nothing data data
same compare -T none data data
same compare -T nothing data data
same compare -U data data
same compare data longer
same compare longer data
same compare -s data longer
same compare data padded
same compare padded data
same compare -s data padded
same compare -s zeroes.qcow2 empty.qcow2
same compare zeroes.qcow2 empty.qcow2
same compare overlay.qcow2 data
same compare overlay.qcow2 flat.qcow2
same compare shorter data
same compare data shorter
same compare -f raw -F raw blkdebug:rules:data data
same compare -f raw -F raw data blkdebug:rules:data
same compare -f raw -F raw blkdebug:rules:longer data
same compare tiny odd
same compare odd tiny
same compare image.qcow2 image.qcow2

# measure
same measure -f raw data
same measure -O raw data
same measure -O qcow2 image.qcow2
same measure -O qcow2 overlay.qcow2
same measure -O raw overlay.qcow2
same measure -O qcow2 -o compat=0.10 data
same measure -O qcow2 -o cluster_size=2M data
same measure -O qcow2 -o cluster_size=512 data
same measure -O qcow2 -o cluster_size=1000 data
same measure -O qcow2 -o refcount_bits=1 data
same measure -O qcow2 -o refcount_bits=64 data
same measure -O qcow2 -o preallocation=metadata data
same measure -O qcow2 -o preallocation=full data
same measure -O qcow2 -o preallocation=falloc data
same measure -O qcow2 -o extended_l2=on data
same measure -O qcow2 -o extended_l2=on,cluster_size=128k data
same measure -O qcow2 -o backing_file=data,backing_fmt=raw overlay.qcow2
same measure -O qcow2 -o nothing=1 data
same measure -O qcow2 --size 0
same measure -O qcow2 --size 1
same measure -O qcow2 --size 8T
same measure -O qcow2 --size 9E
same measure -O raw --size 1T --output=json
same measure -O raw --size -1
same measure --size 1G --output=xml
same measure -O nothing --size 1G
same measure --image-opts driver=raw,file.filename=data
same measure -f raw --image-opts driver=raw,file.filename=data
same measure -l one snap.qcow2
same measure -O qcow2 -l one snap.qcow2
same measure -O qcow2 -l two snap.qcow2
same measure -f qcow2 data
same measure -U -O qcow2 image.qcow2
same measure --size 1G -f raw

# dd
same dd if=data of=d.raw bs=4k count=3
same info d.raw
same compare d.raw data
same dd if=data of=d.raw bs=64k skip=2
same info d.raw
same dd if=data of=d.raw bs=3
same compare data d.raw
same dd if=data of=d.raw bs=1M skip=1
same info d.raw
same dd if=data of=d.raw bs=1M skip=2
same info d.raw
same dd if=odd of=d.raw bs=512
same info d.raw
same dd if=odd of=d.raw
same info d.raw
same dd if=tiny of=d.raw
same info d.raw
same dd if=data of=d.raw count=x
same dd if=data of=d.raw bs=-1
same dd if=data of=d.raw bs=3G
same dd if=data of=d.raw skip=-1
same dd if=data of=d.raw seek=1
same dd if=data of=d.raw conv=notrunc
same dd if=data
same dd of=d.raw
same dd
same dd if=nothing of=d.raw
same dd if=data of=nowhere/d.raw
same dd -f qcow2 if=data of=d.raw
same dd -f qcow2 -O raw if=image.qcow2 of=d.raw
same compare d.raw image.qcow2
same dd -O qcow2 if=data of=d.qcow2
same compare d.qcow2 data
same dd -O nothing if=data of=d.x
same dd -f nothing if=data of=d.x
same dd --image-opts if=driver=raw,file.filename=data of=d.raw
same compare data d.raw
same dd -U if=data of=d.raw bs=64k
same dd if=data if=odd of=d.raw
same info d.raw

# bench
same bench -c 10 -f raw data
same bench -c 10 -d 4 -s 4k -o 64k -S 8k data
same bench -w -c 10 --pattern=65 data
same compare data changed
same bench -w -c 10 --flush-interval=4 data
same bench -w -c 10 -d 4 --flush-interval=4 --no-drain data
same bench -w -c 10 -d 4 --flush-interval=2 data
same bench -c 10 --flush-interval=4 data
same bench -w -c 10 --no-drain data
same bench -w -U -c 10 data
same bench -c x data
same bench -s 3G data
same bench -o -1 data
same bench -s 1M -c 2 data
same bench --pattern=256 -w data
same bench -t nothing data
same bench -i threads -c 2 data
same bench -i nothing -c 2 data
same bench nothing
same bench
same bench -c 2 image.qcow2
same bench -w -c 20 -S 64k -f qcow2 image.qcow2
same check image.qcow2

# resize
same resize image.qcow2 4M
same resize -f qcow2 image.qcow2 +1M
same resize image.qcow2 -1M
same resize --shrink image.qcow2 -1M
same resize --preallocation=metadata image.qcow2 6M
same map --output=json image.qcow2
same resize --preallocation=falloc image.qcow2 7M
same resize --preallocation=full image.qcow2 8M
same resize --preallocation=off image.qcow2 9M
same resize --preallocation=nothing image.qcow2 9M
same resize --shrink --preallocation=full image.qcow2 1M
same resize --shrink image.qcow2 1M
same info image.qcow2
same resize image.qcow2 1M
same resize image.qcow2 +0
same resize image.qcow2 0
same resize image.qcow2 +x
same resize image.qcow2
same resize 1M
same resize image.qcow2 1M 2M
same resize snap.qcow2 4M
same resize --shrink snap.qcow2 1M
same resize overlay.qcow2 4M
same map --output=json overlay.qcow2
same resize nothing 1M
same resize -f nothing image.qcow2 1M
same resize data 3M
same resize -f raw odd 1000
same resize -f raw --shrink odd 1000
same info odd
same resize -f raw --preallocation=falloc odd 1M
same resize -f raw --preallocation=metadata odd 2M
same resize --image-opts driver=qcow2,file.filename=image.qcow2 3M
same resize --image-opts driver=raw,file.filename=data 3M
done_same
