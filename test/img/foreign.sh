#!/bin/bash
# SPDX-License-Identifier: MIT
# What other programs put into qcow2 images: bitmaps that cannot be used,
# encryption, features of the future.  All of it is told, none of it is broken
# unseen.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

[ -n "$qemu_img" ] || skip_all 'there is no qemu-img to make such images'

io()
{
    "$COBLK" io "$@"
}

# data KEY PROGRAM: of format-specific.data of image.qcow2.
data()
{
    "${@:2}" info --output=json image.qcow2 2>/dev/null |
        jq -c ".\"format-specific\".data.\"$1\""
}

# -- Bitmaps

"$qemu_img" create -q -f qcow2 image.qcow2 8M
"$qemu_img" bitmap --add image.qcow2 first
"$qemu_img" bitmap --add -g 128k image.qcow2 second
"$qemu_img" bitmap --add --disable image.qcow2 third
io -c 'read 0 64k' image.qcow2 >/dev/null
cp image.qcow2 before

is 'bitmaps are told as qemu-img tells them' "$(data bitmaps img)" \
    "$(data bitmaps "$qemu_img")"
is 'and there are three' "$(data bitmaps img | jq length)" 3
is 'for people, too' "$(img info image.qcow2 | grep -A14 bitmaps:)" \
    "$("$qemu_img" info image.qcow2 | grep -A14 bitmaps:)"
ok 'a check finds nothing' img check -q image.qcow2
ok 'a map' img map image.qcow2
ok 'a copy' img convert -O raw image.qcow2 plain
ok 'a read, opened for writing' io -c 'read 0 1M' image.qcow2
ok 'have left every byte' cmp image.qcow2 before

refuses 'no version 2' 'version 2 has no bitmaps; remove' \
    img amend -o compat=0.10 image.qcow2

# A writer that does not know bitmaps takes their bit away.
python3 - <<'PY'
with open('image.qcow2', 'r+b') as f:
    f.seek(95)
    f.write(b'\x00')
PY
is 'without their bit they count as not there' "$(data bitmaps img)" null
is 'as qemu-img sees it' "$(data bitmaps "$qemu_img")" null
"$qemu_img" check image.qcow2 >theirs 2>/dev/null
theirs=$?
img check image.qcow2 >ours 2>/dev/null
is 'their clusters are leaks, as qemu-img says' "$? $(cat ours)" \
    "$theirs $(cat theirs)"
ok 'leaks that can be repaired' img check -q -r leaks image.qcow2
ok 'for qemu-img, too' "$qemu_img" check -q image.qcow2
ok 'a new one can be added' img bitmap --add image.qcow2 first
ok 'and leaves no leak' "$qemu_img" check -q image.qcow2

# in use: as it is while, or because, its last user did not close it.
cp before image.qcow2
directory=$(python3 - <<'PY'
import struct
with open('image.qcow2', 'r+b') as f:
    head = f.read(65536)
    at = head.index(struct.pack('>I', 0x23852875)) + 8
    directory = struct.unpack_from('>Q', head, at + 16)[0]
    f.seek(directory + 15)
    f.write(b'\x03')
print(directory)
PY
)
is 'one that was not closed is told' "$(data bitmaps img)" \
    "$(data bitmaps "$qemu_img")"
like_in_use=$(data bitmaps img | jq -c '.[0].flags')
is 'as in use' "$like_in_use" '["in-use","auto"]'
# A bitmap whose table is where no file can reach.
cp before image.qcow2
printf '\200\0\0\0\0\0\0\0' | dd of=image.qcow2 bs=1 seek="$directory" \
    conv=notrunc status=none
img check --output=json image.qcow2 >checked 2>&1
is 'a bitmap that is nowhere: check finds it' "$?" 2
ok 'a bitmap that is nowhere: as one that is corrupt' \
    grep -q '"corruptions": 1' checked
cp before image.qcow2
printf '\377\377' | dd of=image.qcow2 bs=1 seek=$((directory + 18)) \
    conv=notrunc status=none
refuses 'a damaged directory' 'image.qcow2: the directory of its bitmaps' \
    img info image.qcow2
refuses 'one to which none is added' 'image.qcow2: the directory of its bitm' \
    img bitmap --add image.qcow2 another
ok 'a write all the same' io -c 'write -P 5 1M 64k' image.qcow2
is 'takes the bit away' "$(data bitmaps "$qemu_img")" null
ok 'and is there' io -c 'read -P 5 1M 64k' image.qcow2

# -- Encryption

for format in aes luks; do
    options=encrypt.format=$format,encrypt.key-secret=s
    [ $format = aes ] || options+=,encrypt.iter-time=10
    debian_img create -q --object secret,id=s,data=x -f qcow2 \
        -o "$options" image.qcow2 1M ||
        { skip_test "$format" 'qemu-img cannot make one'; continue; }
    ok "$format: info" img info image.qcow2
    is "$format: info tells" "$(data encrypt img | jq -r .format)" $format
    is "$format: and that it is encrypted" \
        "$(img info --output=json image.qcow2 | jq .encrypted)" true
    ok "$format: can be checked" img check -q image.qcow2
    ok "$format: and repaired" img check -q -r all image.qcow2
    for command in 'map' 'convert -O raw' 'compare plain' \
        'amend -o lazy_refcounts=on' 'rebase -u -b plain -F raw' \
        'snapshot -c one'; do
        case $command in
        convert*) set -- image.qcow2 out ;;
        *) set -- image.qcow2 ;;
        esac
        # shellcheck disable=SC2086 # a command and its options
        refuses "$format: locked, no ${command%% *}" \
            "image.qcow2: is encrypted with ${format^^}; give its passphrase" \
            img $command "$@"
    done
    refuses "$format: no reading" 'image.qcow2: is encrypted' \
        io -c 'read 0 512' image.qcow2
done

# -- Features of the future

# feature BIT NAME: image.qcow2 needs it, and the table of names has the name.
feature()
{
    "$qemu_img" create -q -f qcow2 image.qcow2 1M
    python3 - "$@" <<'PY'
import struct
import sys
bit, name = int(sys.argv[1]), sys.argv[2].encode()
with open('image.qcow2', 'r+b') as f:
    head = bytearray(f.read(65536))
    struct.pack_into('>Q', head, 72, 1 << bit)
    if name:
        at = head.index(struct.pack('>I', 0x6803f857)) + 8
        head[at:at + 48] = bytes([0, bit]) + name.ljust(46, b'\0')
    f.seek(0)
    f.write(head)
PY
}

feature 40 'quantum clusters'
refuses 'an unknown feature, by its name' \
    'image.qcow2: needs features .*: quantum clusters' img info image.qcow2
refuses 'also to read' 'quantum clusters' img convert -O raw image.qcow2 out
refuses 'also to check' 'quantum clusters' img check image.qcow2
feature 63 ''
refuses 'one without a name, by its number' 'needs features .*: bit 63' \
    img info image.qcow2
done_testing
