#!/bin/bash
# SPDX-License-Identifier: MIT
# An image with another backing file reads as before, and takes no more space
# for that than it must.
. "$(dirname "$0")/lib.sh"

random_file old 128k
random_file new 256k
img create -q -f qcow2 -b old -F raw image 256k
img convert -O raw image before
ok 'rebase to a longer backing file' img rebase -b new -F raw image
img convert -O raw image after
equal '... the image reads as before' before after
is '... zeroes that it showed are no data' \
    "$(img map --output=json image | grep -o '"start.*length[^,]*\|"zero[^,]*')" \
    '"start": 0, "length": 131072
"zero": false
"start": 131072, "length": 131072
"zero": true'
img create -q -f qcow2 -o compat=0.10 -b old -F raw old-image 256k
ok 'rebase an image of version 2' img rebase -b new -F raw old-image
img convert -O raw old-image after
equal '... the image reads as before' before after
ok 'rebase to none' img rebase -b '' image
rm -f old new
img convert -O raw image after
equal '... the image reads as before' before after
ok 'check finds no fault' img check -q image

img create -q -f qcow2 old 300k
"$COBLK" io -c 'write -q -P 5 0 100k' -c 'write -q -P 6 200k 60k' old
truncate -s 65024 new
printf x | dd of=new bs=1 seek=1000 conv=notrunc status=none
img create -q -f qcow2 -b old -F qcow2 image 400k
img convert -O raw image before
ok 'rebase to a shorter backing file' img rebase -b new -F raw image
img convert -O raw image after
equal '... the image reads as before' before after

# Both backing files have much in one place and little in others, and all of
# that in one cluster of the image.
for cluster in 64k 2M; do
    random_file base 4M
    img create -q -f qcow2 -o cluster_size=4k -b base -F raw middle
    "$COBLK" io -c 'write -q -P 7 8k 4k' -c 'write -q -z 40k 4k' \
        -c 'write -q -P 8 1032k 4k' -c 'write -q -P 9 2050k 2k' middle
    for back in base none; do
        img create -q -f qcow2 -o cluster_size=$cluster -b middle -F qcow2 image
        img convert -O raw image before
        if [ $back = none ]; then
            ok "rebase clusters of $cluster to none" img rebase -b '' image
        else
            ok "rebase clusters of $cluster" img rebase -b base -F raw image
        fi
        img convert -O raw image after
        equal '... the image reads as before' before after
        ok '... check finds no fault' img check -q image
    done
done

# A cluster that a snapshot has, too, moves when it is written to.
img create -q -f qcow2 -o extended_l2=on -b middle -F qcow2 image
"$COBLK" io -c 'write -q -P 3 4k 2k' image
img snapshot -c one image
img convert -O raw image before
ok 'rebase part of a cluster' img rebase -b '' image
img convert -O raw image after
equal '... the image reads as before' before after
ok '... check finds no fault' img check -q image

# Reading fails behind 1 MiB.
for back in base image; do
    rm -f $back
done
img create -q -f qcow2 base 8M
img create -q -f qcow2 -b base -F qcow2 image 8M
"$COBLK" io -c 'write -q -P 3 0 8M' base
printf '[inject-error]\nevent = "read_aio"\nerrno = "5"\nsector = "6144"\n' \
    >bad.conf
img rebase -p -b '' --image-opts "driver=qcow2,file.filename=image,\
backing.driver=qcow2,backing.file.driver=blkdebug,\
backing.file.config=bad.conf,backing.file.image.filename=base" \
    >progress.out 2>err
is 'a rebase that fails: status' $? 1
ok '... says why' grep -q 'Input/output error' err
fails '... does not tell of 100 %' grep -q '(100.00/100%)' progress.out
"$COBLK" io -c 'write -q -P 4 0 8M' image
img commit -p --image-opts "driver=qcow2,file.driver=blkdebug,\
file.config=bad.conf,file.image.filename=image" >progress.out 2>err
is 'a commit that fails: status' $? 1
ok '... says why' grep -q 'Input/output error' err
fails '... does not tell of 100 %' grep -q '(100.00/100%)' progress.out

done_testing
