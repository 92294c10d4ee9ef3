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

# refuses WHAT REGEX OPTIONS IMAGE: one line that matches.
refuses()
{
    local got
    got=$("$COBLK" mount -o "$3" "$4" "$mnt" 2>&1)
    is "$1: status" $? 1
    ok "$1: why" grep -Exq "coblk mount: $4: $2" <<<"$got"
}
refuses 'a newline at the end of the passphrase' \
    'wrong passphrase: .*; it ends with a newline, which counts' \
    "key-file=$tmp/wrong" "$tmp/disk.luks"
truncate -s 1M "$tmp/plain"
refuses 'a passphrase for what is not encrypted' \
    'is not encrypted; leave key-file out' "key-file=$tmp/key" "$tmp/plain"
done_testing
