#!/bin/bash
# SPDX-License-Identifier: MIT
# Encrypted images are mounted with the passphrase of a file, and only so.
. "$(dirname "$0")/lib.sh"

printf 'open sesame' >"$tmp/key"
printf 'open sesame\n' >"$tmp/wrong"
head -c 3000000 /dev/urandom >"$tmp/data"

# check FORMAT OPTIONS PREFIX: an image with OPTIONS, which begin with PREFIX.
check()
{
    local format=$1 options=$2 prefix=$3 img=$tmp/disk.$1
    "$COBLK" create -q --object "secret,id=s,file=$tmp/key" -f "$format" \
        -o "$options${prefix}key-secret=s,${prefix}iter-time=10" "$img" 8M
    fails "$format: not without a passphrase" try_start "$img"
    fails "$format: nor with another" try_start -o "key-file=$tmp/wrong" "$img"
    start -o "key-file=$tmp/key" "$img"
    ok "$format: write" dd if="$tmp/data" of="$mnt/disk" bs=100000 \
        conv=notrunc,fsync status=none
    ok "$format: unmount" stop
    start -o "ro,key-file=$tmp/key" "$img"
    ok "$format: it is there" cmp -n 3000000 "$tmp/data" "$mnt/disk"
    ok "$format: unmount again" stop
}

check luks '' ''
check qcow2 'encrypt.format=luks,' 'encrypt.'
done_testing
