#!/bin/bash
# SPDX-License-Identifier: MIT
# luks: encrypted disks.  What one program makes and writes the others open
# and read: coblk, qemu-img and qemu-io, cryptsetup.  Key slots come and go;
# what is broken is refused.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

printf 'open sesame' >key
printf 'open sesame\n' >key-line
printf 'b3BlbiBzZXNhbWU=\n' >key-base64
secret=(--object 'secret,id=s,file=key')
second=(--object 'secret,id=t,data=another')
fast='key-secret=s,iter-time=10'

opts()
{
    echo "driver=luks,key-secret=${2:-s},file.filename=$1"
}

io()
{
    "$COBLK" io "${secret[@]}" "${second[@]}" --image-opts "$@" >io.out ||
        return 1
    ! grep -q 'Pattern verification failed' io.out
}

their_create()
{
    debian_img create -q "${secret[@]}" -f luks -o "key-secret=s,$1" "$2" "$3"
}

their_io()
{
    qemu-io "${secret[@]}" "${second[@]}" --image-opts "$@" >io.out || return 1
    ! grep -q 'Pattern verification failed' io.out
}

slots()
{
    img info --output=json "$1" |
        jq -c '[."format-specific".data.slots[].active]' |
        sed -e 's/true/1/g' -e 's/false/0/g' -e 's/[^01]//g'
}

# -- Alone -------------------------------------------------------------------

ok 'create' img create -q "${secret[@]}" -f luks -o "$fast" disk.luks 1M
ok 'write and read what is not aligned' io "$(opts disk.luks)" \
    -c 'write -P 1 0 1M' -c 'write -P 2 1000 3000' -c 'read -P 1 0 1000' \
    -c 'read -P 2 1000 3000' -c 'read -P 1 4000 100000'
ok 'open it from within' io -c "open $(opts disk.luks)" -c 'read -P 2 1000 3000'
ok 'the data are not in the file' sh -c "! grep -q \
    \"\$(printf '\\001%.0s' 1 2 3 4 5 6 7 8)\" disk.luks"
is 'the size of the file' "$(stat -c %s disk.luks)" $((2068480 + 1048576))
ok 'measure says so' sh -c "'$COBLK' measure -O luks --size 1M |
    grep -qx 'required size: 3117056'"
ok 'a passphrase in base64' "$COBLK" io -r \
    --object secret,id=s,file=key-base64,format=base64 \
    --image-opts "$(opts disk.luks)" -c 'read 0 512'
ok 'info needs no passphrase' img info disk.luks
refuses 'no passphrase' 'key-secret=s' img compare -q disk.luks disk.luks
refuses 'a passphrase that is not there' "no secret 'x'" \
    img map --image-opts "$(opts disk.luks x)"
refuses 'a wrong passphrase' 'wrong passphrase' \
    img map --object secret,id=s,data=x --image-opts "$(opts disk.luks)"
refuses 'a newline too many' 'wrong passphrase.* ends with a newline' \
    img map --object secret,id=s,file=key-line --image-opts "$(opts disk.luks)"
refuses 'create without a passphrase' 'needs a passphrase' \
    img create -q -f luks new.luks 1M
refuses 'essiv of a hash that is no key' 'use sha256' \
    img create -q "${secret[@]}" -f luks -o \
    "$fast,cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha1" new.luks 1M

img create -q "${secret[@]}" -f luks -o "$fast" grow.luks 64k
io "$(opts grow.luks)" -c 'write -P 3 0 64k'
ok 'resize' img resize -q "${secret[@]}" --image-opts "$(opts grow.luks)" 1M
ok 'what was there stays' io "$(opts grow.luks)" -c 'read -P 3 0 64k' \
    -c 'write -P 4 1M 0' -c 'write -P 4 1000k 24k' -c 'read -P 4 1000k 24k'
ok 'truncate reads as zeroes' io "$(opts grow.luks)" -c 'truncate 64k' \
    -c 'truncate 2M' -c 'read -P 3 0 64k' -c 'read -P 0 64k 1984k'

random_file plain $((3 * 1048576))
truncate -s 5M plain
ok 'convert to luks' img convert -q "${secret[@]}" -f raw -O luks \
    -o "$fast" plain copy.luks
ok 'holes are zeroes' img compare -q "${secret[@]}" --image-opts \
    "$(opts copy.luks)" driver=raw,file.filename=plain
ok 'convert from luks' img convert -q "${secret[@]}" --image-opts -O raw \
    "$(opts copy.luks)" back
equal 'gives what was there' plain back

# -- Key slots ---------------------------------------------------------------

amend()
{
    img amend -q "${secret[@]}" "${second[@]}" "$@"
}

ok 'add a slot' amend --image-opts -o \
    state=active,new-secret=t,keyslot=5,iter-time=10 "$(opts copy.luks)"
is 'it is there' "$(slots copy.luks)" 10000100
ok 'both open it' io "$(opts copy.luks t)" -c 'read 0 512'
refuses 'a slot in use' 'in use' amend --image-opts -o \
    state=active,new-secret=t,keyslot=5,iter-time=10 "$(opts copy.luks)"
ok 'erase a slot' amend --image-opts -o state=inactive,keyslot=0 \
    "$(opts copy.luks)"
is 'it is gone' "$(slots copy.luks)" 00000100
refuses 'its passphrase is of no use' 'wrong passphrase' img map \
    "${secret[@]}" --image-opts "$(opts copy.luks)"
refuses 'the last slot' 'only one in use|all key slots in use' amend \
    --image-opts -o state=inactive,old-secret=t "$(opts copy.luks t)"
ok 'the data are as before' img compare -q "${second[@]}" --image-opts \
    "$(opts copy.luks t)" driver=raw,file.filename=plain
ok 'but by force' amend --force --image-opts -o state=inactive,keyslot=5 \
    "$(opts copy.luks t)"
refuses 'then nothing opens it' 'erased' img map "${second[@]}" --image-opts \
    "$(opts copy.luks t)"

# -- Broken ------------------------------------------------------------------

cp disk.luks broken.luks
printf '\0\2' | dd of=broken.luks bs=1 seek=6 conv=notrunc status=none
refuses 'LUKS of version 2' 'version 2' img info broken.luks
cp disk.luks broken.luks
printf '\377' | dd of=broken.luks bs=1 seek=248 conv=notrunc status=none
refuses 'a slot somewhere' 'key slot 0' img info broken.luks
head -c 1000 disk.luks >broken.luks
refuses 'a header cut short' 'cut short' img info broken.luks

# -- Others ------------------------------------------------------------------

# exchange NAME OPTIONS: an image of each program, written by the other.
exchange()
{
    their_create "iter-time=10,$2" theirs.luks 1M || {
        skip_test "$1" "qemu-img cannot make it"
        return
    }
    their_io "$(opts theirs.luks)" -c 'write -P 5 0 1M' -c 'write -P 6 512k 4k'
    ok "$1: read theirs" io "$(opts theirs.luks)" -c 'read -P 5 0 512k' \
        -c 'read -P 6 512k 4k' -c 'read -P 5 516k 508k'
    io "$(opts theirs.luks)" -c 'write -P 7 1000 500000'
    ok "$1: they read what we wrote" their_io "$(opts theirs.luks)" \
        -c 'read -P 5 0 1000' -c 'read -P 7 1000 500000'
    img create -q "${secret[@]}" -f luks -o "$fast,$2" ours.luks 1M
    io "$(opts ours.luks)" -c 'write -P 8 0 1M'
    ok "$1: they read ours" their_io "$(opts ours.luks)" -c 'read -P 8 0 1M'
    is "$1: info as theirs" "$(img info ours.luks | without_host)" \
        "$("$qemu_img" info ours.luks | without_host)"
}

if [ -n "$qemu_img" ]; then
    exchange 'the default' cipher-alg=aes-256
    exchange 'aes-128, cbc, essiv' cipher-alg=aes-128,cipher-mode=cbc,`
        `ivgen-alg=essiv,ivgen-hash-alg=sha256,hash-alg=sha1
    exchange 'serpent, cbc, plain' cipher-alg=serpent-256,cipher-mode=cbc,`
        `ivgen-alg=plain,hash-alg=sha512
    exchange 'twofish, xts, ripemd160' cipher-alg=twofish-256,`
        `hash-alg=ripemd160
    if their_create iter-time=10 theirs.luks 1M; then
        ok 'a slot added to theirs' amend --image-opts -o \
            state=active,new-secret=t,iter-time=10 "$(opts theirs.luks)"
        ok 'opens it for them' their_io "$(opts theirs.luks t)" -c 'read 0 512'
    else
        skip_test 'a slot added to theirs' 'qemu-img cannot make it'
    fi
else
    skip_test 'images of others' 'qemu-img is not installed'
fi
if command -v cryptsetup >/dev/null; then
    img create -q "${secret[@]}" -f luks -o "$fast" ours.luks 1M
    ok 'cryptsetup knows it' cryptsetup isLuks --type luks1 ours.luks
    ok 'cryptsetup opens it' cryptsetup open --test-passphrase \
        --key-file key ours.luks
    truncate -s 4M theirs.luks
    ok 'cryptsetup makes one' cryptsetup luksFormat -q --type luks1 \
        --pbkdf-force-iterations 1000 --cipher aes-xts-plain64 \
        --key-size 256 --hash sha256 theirs.luks key
    ok 'it opens' io "$(opts theirs.luks)" -c 'read 0 512'
else
    skip_test 'with cryptsetup' 'it is not installed'
fi
done_testing
