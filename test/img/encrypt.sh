#!/bin/bash
# SPDX-License-Identifier: MIT
# Encrypted qcow2 images: made, written, read, checked and given keys, and the
# same with Debian's programs on the same images, both ways.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

qemu_io=$(command -v qemu-io) || qemu_io=
printf 'first' >key0
printf 'second' >key1
printf 'third' >key2
secrets=()
for i in 0 1 2; do
    secrets+=(--object "secret,id=s$i,file=$work/key$i")
done
fast=encrypt.iter-time=10

io()
{
    "$COBLK" io "${secrets[@]}" "$@"
}

their_io()
{
    "$qemu_io" "${secrets[@]}" "$@"
}

our_img()
{
    img "$1" "${secrets[@]}" "${@:2}"
}

their_img()
{
    debian_img "$1" "${secrets[@]}" "${@:2}"
}

# at FILE [SECRET]: options that open it.
at()
{
    echo "driver=qcow2,file.filename=$1,encrypt.key-secret=${2:-s0}"
}

# read_back WHO FILE: what was written by write_some is there.
write_some()
{
    "$1" --image-opts -c 'write -P 1 0 300k' -c 'write -P 2 1000k 2k' \
        -c 'write -P 3 1234 777' -c 'write -z 128k 64k' \
        -c 'discard 192k 64k' "$(at "$2")" >/dev/null
}

read_back()
{
    "$1" --image-opts -r -c 'read -P 1 0 1234' -c 'read -P 3 1234 777' \
        -c 'read -P 1 2011 129061' -c 'read -P 0 128k 128k' \
        -c 'read -P 1 256k 44k' -c 'read -P 0 300k 700k' \
        -c 'read -P 2 1000k 2k' -c 'read -P 0 1002k 1M' "$(at "$2")" \
        >"$tmp/read-back" 2>&1 &&
        ! grep -q 'failed' "$tmp/read-back"
}

# -- Formats, each written here and there

kinds=(
    "luks encrypt.format=luks,$fast"
    "luks-small encrypt.format=luks,$fast,cluster_size=512"
    "luks-cbc encrypt.format=luks,$fast,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256,encrypt.hash-alg=sha512"
    "luks-v2 encrypt.format=luks,$fast,compat=0.10"
    "luks-subclusters encrypt.format=luks,$fast,extended_l2=on"
    "luks-preallocated encrypt.format=luks,$fast,preallocation=metadata"
    "aes encrypt.format=aes"
    "old-aes encryption=on"
)
for kind in "${kinds[@]}"; do
    name=${kind%% *} options=${kind#* },encrypt.key-secret=s0
    for maker in img their_img; do
        [ $maker = img ] || [ -n "$qemu_img" ] || continue
        # Theirs reads what was never written as noise.
        [ "$maker-$name" != their_img-luks-preallocated ] || continue
        what="$name of $maker"
        rm -f e.qcow2
        if [ $maker = img ]; then
            ok "$what: made" img create -q "${secrets[@]}" -f qcow2 \
                -o "$options" e.qcow2 4M
        else
            their_img create -q -f qcow2 -o "$options" e.qcow2 4M ||
                { skip_test "$what" 'qemu-img cannot make it'; continue; }
        fi
        ok "$what: reads as zeroes" io --image-opts -r -c 'read -P 0 0 4M' \
            "$(at e.qcow2)"
        ok "$what: written" write_some io e.qcow2
        ok "$what: read" read_back io e.qcow2
        ok "$what: without the key it can be checked" img check -q e.qcow2
        ok "$what: and with it" img check -q "${secrets[@]}" --image-opts \
            "$(at e.qcow2)"
        [ -n "$qemu_io" ] || continue
        ok "$what: qemu-io reads it" read_back their_io e.qcow2
        ok "$what: qemu-img checks it" their_img check -q --image-opts \
            "$(at e.qcow2)"
        ok "$what: qemu-io writes" their_io --image-opts \
            -c 'write -P 4 3M 100k' "$(at e.qcow2)"
        ok "$what: which is read here" io --image-opts -r \
            -c 'read -P 4 3M 100k' "$(at e.qcow2)"
        is "$what: info" \
            "$(img info --output=json e.qcow2 | jq -S .\"format-specific\")" \
            "$("$qemu_img" info --output=json e.qcow2 |
                jq -S .\"format-specific\")"
    done
done

# -- Nothing of the data is in the file

img create -q "${secrets[@]}" -f qcow2 \
    -o "encrypt.format=luks,encrypt.key-secret=s0,$fast" e.qcow2 4M
python3 -c "print('plain text ' * 9000, end='')" >text
img dd "${secrets[@]}" -O raw if=text of=text.raw bs=512 2>/dev/null
ok 'data are copied in' img convert -n "${secrets[@]}" -f raw \
    --target-image-opts text "$(at e.qcow2)"
ok 'and are not there to be seen' sh -c '! grep -q "plain text" e.qcow2'
ok 'but with the key' sh -c "$(printf '%q ' "$COBLK") dd \
    $(printf '%q ' "${secrets[@]}") --image-opts -O raw bs=512 count=193 \
    if=$(at e.qcow2) of=back 2>/dev/null && cmp -n 98816 text back"

# -- Keys

refuses 'no key' 'e.qcow2: is encrypted with LUKS; give its passphrase' \
    img convert -O raw e.qcow2 out
refuses 'a wrong key' 'e.qcow2: .*passphrase|e.qcow2: .*slot' \
    img map "${secrets[@]}" --image-opts "$(at e.qcow2 s1)"
refuses 'a key that was not given' "no secret 'none'" \
    img map "${secrets[@]}" --image-opts "$(at e.qcow2 none)"
refuses 'another format' 'is encrypted with LUKS; leave out encrypt.format' \
    img map "${secrets[@]}" --image-opts "$(at e.qcow2),encrypt.format=aes"

# amend WHO [OPTION...]: changes key slots with the first key.
amend()
{
    "$1" amend --image-opts "$(at e.qcow2 "$2")" -o "$3" "${@:4}"
}
add="encrypt.state=active,$fast,encrypt.new-secret"
opens()
{
    io --image-opts -r -c 'read 0 4k' "$(at e.qcow2 "$1")"
}
their_opens()
{
    their_io --image-opts -r -c 'read 0 4k' "$(at e.qcow2 "$1")" |
        grep -q '^read'
}
refuses 'slots need to be told what for' 'needs state=active' \
    amend our_img s0 encrypt.keyslot=1
refuses 'erasing the only key' 'last|only|nobody' \
    amend our_img s0 encrypt.state=inactive,encrypt.keyslot=0
refuses 'erasing the only secret' 'nobody can read' \
    amend our_img s0 encrypt.state=inactive,encrypt.old-secret=s0
ok 'a second key' amend our_img s0 "$add=s1"
ok 'opens the image' opens s1
refuses 'a slot in use is not overwritten' 'key slot 1 is in use' \
    amend our_img s0 "$add=s2,encrypt.keyslot=1"
if [ -n "$qemu_io" ]; then
    ok 'for qemu-io, too' their_opens s1
    ok 'qemu-img adds a third' amend their_img s1 "$add=s2"
    ok 'which opens it here' opens s2
    ok 'qemu-img erases it' amend their_img s0 \
        encrypt.state=inactive,encrypt.old-secret=s2
fi
ok 'the first is erased' amend our_img s1 \
    encrypt.state=inactive,encrypt.old-secret=s0
refuses 'and opens nothing' 'e.qcow2' img map "${secrets[@]}" --image-opts \
    "$(at e.qcow2 s0)"
ok 'by force the last slot gets another' amend our_img s1 \
    "$add=s2,encrypt.keyslot=1" --force
ok 'that opens the image' opens s2
[ -z "$qemu_io" ] || ok 'for qemu-io, too' their_opens s2
ok 'the data are what they were' sh -c "$(printf '%q ' "$COBLK") dd \
    $(printf '%q ' "${secrets[@]}") --image-opts -O raw bs=512 count=193 \
    if=$(at e.qcow2 s2) of=back 2>/dev/null && cmp -n 98816 text back"

# -- Whole images

luks=encrypt.format=luks,$fast
random_file noise $((3 * 1024 * 1024))
ok 'convert makes an encrypted image' img convert "${secrets[@]}" -f raw \
    -O qcow2 -o "$luks,encrypt.key-secret=s0" noise base.qcow2
ok 'that has the data' img compare -q "${secrets[@]}" --image-opts \
    driver=raw,file.filename=noise "$(at base.qcow2)"
[ -z "$qemu_img" ] || ok 'for qemu-img, too' their_img compare -q \
    --image-opts driver=raw,file.filename=noise "$(at base.qcow2)"
img convert "${secrets[@]}" -c -f raw -O qcow2 \
    -o "$luks,encrypt.key-secret=s0" noise packed.qcow2 2>message
is 'but not a compressed one' "$? $(grep -c 'compressed and enc' message)" \
    '1 1'
measured=$(img measure "${secrets[@]}" -f raw -O qcow2 --output=json \
    -o "$luks,encrypt.key-secret=s0" noise | jq .required)
ok 'measure knows the header' [ "$measured" -ge "$(stat -c %s base.qcow2)" ]
if [ -n "$qemu_img" ]; then
    what='measure as qemu-img does'
    if their_img measure -f raw -O qcow2 --output=json \
        -o "$luks,encrypt.key-secret=s0" noise >theirs.json; then
        is "$what" "$measured" "$(jq .required theirs.json)"
    else
        skip_test "$what" 'qemu-img cannot tell'
    fi
fi
ok 'an overlay with a key of its own' img create -q "${secrets[@]}" -f qcow2 \
    -b base.qcow2 -F qcow2 -o "$luks,encrypt.key-secret=s1" top.qcow2
top=$(at top.qcow2 s1),backing.encrypt.key-secret=s0
ok 'a part of a cluster is written' io --image-opts -c 'write -P 9 70000 100' \
    -c 'write -P 8 1M 512' "$top"
cp noise want
printf '\11%.0s' $(seq 100) | dd of=want bs=1 seek=70000 conv=notrunc status=none
printf '\10%.0s' $(seq 512) | dd of=want bs=1 seek=1M conv=notrunc status=none
ok 'the rest is from below' img compare -q "${secrets[@]}" --image-opts \
    driver=raw,file.filename=want "$top"
[ -z "$qemu_img" ] || ok 'for qemu-img, too' their_img compare -q \
    --image-opts driver=raw,file.filename=want "$top"
ok 'a snapshot' img snapshot "${secrets[@]}" --image-opts -c one "$top"
ok 'a write behind it' io --image-opts -c 'write -P 7 0 256k' "$top"
ok 'back to it' img snapshot "${secrets[@]}" --image-opts -a one "$top"
ok 'with the data of then' img compare -q "${secrets[@]}" --image-opts \
    driver=raw,file.filename=want "$top"
ok 'a snapshot less' img snapshot "${secrets[@]}" --image-opts -d one "$top"
ok 'longer' img resize -q "${secrets[@]}" --image-opts "$top" 4M
ok 'with zeroes' io --image-opts -r -c 'read -P 0 3M 1M' "$top"
ok 'shorter' img resize -q --shrink "${secrets[@]}" --image-opts "$top" 3M
img convert "${secrets[@]}" -f raw -O qcow2 -o "$luks,encrypt.key-secret=s2" \
    noise other.qcow2
ok 'commit' img commit -q "${secrets[@]}" --image-opts "$top"
ok 'puts all into the base' img compare -q "${secrets[@]}" --image-opts \
    driver=raw,file.filename=want "$(at base.qcow2)"
ok 'rebase to nothing' img rebase "${secrets[@]}" --image-opts -b '' "$top"
ok 'leaves all in the image' img compare -q "${secrets[@]}" --image-opts \
    driver=raw,file.filename=want "$(at top.qcow2 s1)"
for image in base top; do
    ok "$image is consistent" img check -q $image.qcow2
done

# -- Machine state, in pieces that fill no sector

ok 'a state' io --image-opts -c 'write -b -P 5 0 100' \
    -c 'write -b -P 6 100 1000' "$(at base.qcow2)"
ok 'is read back' io --image-opts -r -c 'read -b -P 5 0 100' \
    -c 'read -b -P 6 100 1000' -c 'read -b -P 0 1100 1000' \
    "$(at base.qcow2)"

# -- A header that is damaged

offset=$(python3 - <<'PY'
import struct
with open('base.qcow2', 'rb') as f:
    head = f.read(4096)
print(struct.unpack_from('>Q', head, head.index(b'\x05\x37\xbe\x77') + 8)[0])
PY
)
cp base.qcow2 bad.qcow2
printf 'X' | dd of=bad.qcow2 bs=1 seek="$offset" conv=notrunc status=none
refuses 'no LUKS' 'bad.qcow2: ' img map "${secrets[@]}" --image-opts \
    "$(at bad.qcow2)"
cp base.qcow2 bad.qcow2
truncate -s "$((offset + 100))" bad.qcow2
refuses 'cut short' 'bad.qcow2: its LUKS header is cut short' \
    img info bad.qcow2
done_testing
