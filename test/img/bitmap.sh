#!/bin/bash
# SPDX-License-Identifier: MIT
# bitmap, and what else has to do with bitmaps: they are changed, copied,
# measured and kept as qemu-img does it; see bitmap.py, too.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

requires python3 python3

io()
{
    "$COBLK" io "$@" >/dev/null
}

# dump IMAGE: its bitmaps, as the format's description says.
dump()
{
    python3 "$here/bitmap.py" dump "$1"
}

# consistent IMAGE: as both programs see it.
consistent()
{
    img check -q "$1" || return 1
    [ -z "$qemu_img" ] || "$qemu_img" check -q -f qcow2 "$1" >/dev/null
}

# -- As qemu-img does it: status, and what there is then.

same create -q -f qcow2 a.qcow2 10M
same bitmap --add a.qcow2 first
same bitmap --add a.qcow2 first
same bitmap --add -g 100 a.qcow2 second
same bitmap --add -g 256 a.qcow2 second
same bitmap --add -g 3k a.qcow2 second
same bitmap --add -g 0 a.qcow2 second
same bitmap --add -g 4G a.qcow2 second
same bitmap --add --granularity 2G a.qcow2 second
for verb in --remove --clear --enable --disable '--merge first'; do
    # shellcheck disable=SC2086 # two words
    same bitmap $verb a.qcow2 none
done
same bitmap --merge none a.qcow2 first
same bitmap --merge second a.qcow2 first
same bitmap --merge first a.qcow2 first
same bitmap a.qcow2 first
same bitmap --add a.qcow2
same bitmap --add a.qcow2 a b
same bitmap -g 64k --enable a.qcow2 first
same bitmap -b a.qcow2 --enable a.qcow2 first
same bitmap -F qcow2 --merge second a.qcow2 first
same bitmap --add --disable --enable --disable a.qcow2 third
same bitmap --disable --add a.qcow2 fourth
same bitmap --add --merge none a.qcow2 fifth
same bitmap --add a.qcow2 ''
same bitmap --remove --add a.qcow2 first
same bitmap --clear --image-opts driver=qcow2,file.filename=a.qcow2 third
same bitmap --add -f qcow2 missing first
same info a.qcow2
same measure -O qcow2 a.qcow2
same measure --output=json -O qcow2 -o cluster_size=512 a.qcow2
same measure -O qcow2 -o compat=0.10 a.qcow2
same measure -O raw a.qcow2
same convert --bitmaps -O qcow2 a.qcow2 b.qcow2
same info b.qcow2
same convert --bitmaps -n -O qcow2 a.qcow2 b.qcow2
same convert --bitmaps -O raw a.qcow2 b.raw
same convert --bitmaps -O qcow2 -o compat=0.10 a.qcow2 b2.qcow2
same convert --skip-broken-bitmaps -O qcow2 a.qcow2 b2.qcow2
same resize a.qcow2 20M
same resize --shrink a.qcow2 5M
same info a.qcow2
same snapshot -c now a.qcow2
same snapshot -a now a.qcow2
same amend -o refcount_bits=64 a.qcow2
same create -q -f qcow2 -o compat=0.10 old.qcow2 1M
same bitmap --add old.qcow2 first
same measure -O qcow2 old.qcow2
same create -q -f raw plain.raw 1M
same bitmap --add -f raw plain.raw first
for size in 512 1k 32k 128k 2M; do
    same create -q -f qcow2 -o cluster_size=$size c.qcow2 1M
    same bitmap --add c.qcow2 "of $size"
    same info --output=json c.qcow2
done
ok 'all of that left an image consistent' consistent a.qcow2
ok 'and its copy' consistent b.qcow2

# -- What is recorded

img create -q -f qcow2 r.qcow2 8M
img bitmap --add r.qcow2 on
img bitmap --add --disable -g 1M r.qcow2 off
io -c 'write 0 4k' -c 'write -z 1M 64k' -c 'write -c 2M 64k' r.qcow2
is 'writes, zeroes, compressed clusters' "$(dump r.qcow2)" \
    $'on 2 65536 0-0,16-16,32-32\noff 0 1048576 '
img bitmap --clear --disable r.qcow2 on
img bitmap --enable r.qcow2 off
io -d unmap -c 'discard 0 64k' -c 'write 7M 1M' r.qcow2
is 'discards, by the one that is enabled then' "$(dump r.qcow2)" \
    $'on 0 65536 \noff 2 1048576 0-0,7-7'
ok 'the image is consistent' consistent r.qcow2
cp r.qcow2 before
io -c 'read 0 8M' r.qcow2
ok 'reads change nothing' cmp r.qcow2 before
img resize -q --shrink r.qcow2 4M
img resize -q r.qcow2 9M
is 'a shorter disk forgets' "$(dump r.qcow2)" \
    $'on 0 65536 \noff 2 1048576 0-0'
img create -q -f qcow2 -b r.qcow2 -F qcow2 top.qcow2
io -c 'write 3M 64k' top.qcow2
img commit -q top.qcow2
is 'what is committed is recorded below' "$(dump r.qcow2)" \
    $'on 0 65536 \noff 2 1048576 0-0,3-3'
img bitmap --add -g 64k --merge off -b r.qcow2 top.qcow2 merged
is 'merged from another image, with other granules' "$(dump top.qcow2)" \
    'merged 2 65536 0-15,48-63'
ok 'which is consistent' consistent top.qcow2

# -- An image that was not closed

img create -q -f qcow2 c.qcow2 1M
img bitmap --add c.qcow2 lost
img bitmap --add --disable c.qcow2 kept
io -c 'write 0 64k' -c abort c.qcow2 2>/dev/null
is 'what records is not consistent then' "$(dump c.qcow2)" \
    $'lost 3 65536 \nkept 0 65536 '
for verb in --clear --enable --disable '--merge kept'; do
    # shellcheck disable=SC2086 # two words
    refuses "and cannot be used: $verb" "'lost' is not consistent" \
        img bitmap $verb c.qcow2 lost
done
refuses 'nor merged' "'lost' is not consistent" \
    img bitmap --merge lost c.qcow2 kept
refuses 'nor resized' "'lost' is not consistent.*remove" \
    img resize -q c.qcow2 2M
refuses 'nor copied' "'lost' is not consistent.*skip-broken-bitmaps" \
    img convert --bitmaps -O qcow2 c.qcow2 new
ok 'but left out of a copy' \
    img convert --bitmaps --skip-broken-bitmaps -O qcow2 c.qcow2 new
is 'which has the rest' "$(dump new)" 'kept 0 65536 '
io -c 'write 64k 64k' c.qcow2
is 'it stays so' "$(dump c.qcow2)" $'lost 3 65536 \nkept 0 65536 '
ok 'the image is consistent' consistent c.qcow2
ok 'it can be removed' img bitmap --remove c.qcow2 lost
is 'and is gone' "$(dump c.qcow2)" 'kept 0 65536 '
ok 'leaving no leak' consistent c.qcow2
img bitmap --remove c.qcow2 kept
ok 'with the last one goes all' \
    test "$(img info --output=json c.qcow2 | jq -c '.. | .bitmaps? // empty')" = ''
ok 'leaving no leak, either' consistent c.qcow2

# -- Limits

img create -q -f qcow2 l.qcow2 2T
long=$(printf 'n%.0s' {1..1023})
ok 'a name of 1023 bytes' img bitmap --add l.qcow2 "$long"
refuses 'none of 1024' '1023 bytes' img bitmap --add l.qcow2 "n$long"
ok '512 MiB of bits' img bitmap --add -g 512 l.qcow2 bits
refuses 'no more than that' 'larger granularity' img resize -q l.qcow2 3T
ok 'which are consistent' consistent l.qcow2
img create -q -f qcow2 l.qcow2 3T
refuses 'also not when it is made' 'too many bits; give a larger' \
    img bitmap --add -g 512 l.qcow2 bits

# -- In turns with qemu's programs

seed=${COBLK_SEED:-$((RANDOM * 32768 + RANDOM))}
for options in compat=1.1 cluster_size=512 lazy_refcounts=on,cluster_size=4k; do
    if [ -z "$qemu_img" ] || ! command -v qemu-io >/dev/null; then
        skip_test "a history of '$options'" 'no qemu-img or qemu-io'
        continue
    fi
    echo "# COBLK_SEED=$seed"
    mkdir history
    ok "a history of '$options'" env -C history OURS="$tmp/bin" \
        python3 "$here/bitmap.py" history "$seed" "$options"
    rm -r history
done
done_same
