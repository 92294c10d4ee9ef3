#!/bin/bash
# SPDX-License-Identifier: MIT
# What bash offers on a command line of coblk: what the program knows, all of
# it, and nothing else.
. "$(dirname "$0")/lib.sh"

# As in a shell that somebody types at.
COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
# shellcheck source=../../src/cmd/coblk.bash
. "$here/../../src/cmd/coblk.bash"
ln -s "$COBLK" "$tmp/bin/coblk"
truncate -s 1M image
img create -q -f qcow2 image.qcow2 1M

# offered LINE: the candidates at the end of it, one a line.
# shellcheck disable=SC2034 # bash reads COMP_POINT
offered()
{
    COMP_LINE=$1 COMP_POINT=${#1}
    _coblk "$tmp/bin/${1%% *}"
    [ ${#COMPREPLY[@]} = 0 ] || printf '%s\n' "${COMPREPLY[@]}"
}

# offers LINE WORD...: the candidates are exactly these, in any order.
offers()
{
    local line=$1
    shift
    is "'$line' offers ${*:-nothing of ours}" "$(offered "$line" | sort)" \
        "$([ $# = 0 ] || printf '%s\n' "$@" | sort)"
}

# takes LINE PROGRAM ARGUMENT...: the program takes each candidate, as {}.
takes()
{
    local line=$1 program=$2 word n=0
    shift 2
    for word in $(offered "$line"); do
        ok "'$line$word' is taken" "$tmp/bin/$program" "${@//'{}'/"$word"}"
        n=$((n + 1))
    done
    is "'$line' offers several" "$((n > 1))" 1
}

# The commands.
images='amend bench bitmap check commit compare convert create dd info map
    measure rebase resize snapshot'
# shellcheck disable=SC2086 # words
offers 'coblk ' $images io mount stat umount
# shellcheck disable=SC2086 # words
offers 'coblk-img ' $images
is 'as many as the help of coblk-img lists' "$(offered 'coblk-img ' | wc -l)" \
    "$(img --help | grep -cE '^  [a-z]')"
is 'and that of coblk' "$(offered 'coblk ' | wc -l)" \
    "$("$COBLK" --help | grep -cE '^  [a-z]')"
offers 'coblk co' commit compare convert
offers 'coblk-img re' rebase resize
offers 'coblk -' --help --version
offers 'coblk nothing --'
is 'also where there is no HOME' "$(unset HOME; offered 'coblk st')" stat

# The options: those of the help.
options()
{
    "$@" --help | grep -oE '^ +(-., )?--[a-z-]+' | grep -oE -- '--.*' | sort
}
for command in $(offered 'coblk '); do
    # shellcheck disable=SC2046 # words
    offers "coblk $command -" $(options "$COBLK" "$command")
done
# shellcheck disable=SC2046 # words
offers 'coblk-io --' $(options "$tmp/bin/coblk-io")
offers 'coblk-img convert image --sal' --salvage
offers 'coblk-img info -- -'

# Values.  What is offered is taken, and of formats all that can be made are
# (what is called after where it lies is none).
for format in $(img --help | sed -n 's/^Supported formats: //p'); do
    ! img create -f "$format" -o help >/dev/null 2>&1 || echo "$format"
done | grep -vE '^(file|host_.*)$' >formats
# shellcheck disable=SC2046 # words
offers 'coblk-img create -f ' $(cat formats)
# shellcheck disable=SC2046 # words
offers 'coblk-img convert -f raw -pO ' $(cat formats)
# shellcheck disable=SC2046 # words
offers 'coblk convert image --target-format=' $(cat formats)
takes 'coblk-img info -t ' coblk-img info -t '{}' image
takes 'coblk-img info --cache=' coblk-img info --cache='{}' image
takes 'coblk-img convert -T ' coblk-img convert -T '{}' image new
takes 'coblk-img info --output ' coblk-img info --output '{}' image
takes 'coblk-img check -r ' coblk-img check -q -r '{}' image.qcow2
takes 'coblk-img resize --preallocation=' \
    coblk-img resize -q --preallocation='{}' image.qcow2 1M
takes 'coblk-io -d ' coblk-io -d '{}' -c length image
takes 'coblk io -t ' coblk-io -t '{}' -c length image
takes 'coblk-io -ni ' coblk-io -n -i '{}' -c length image
takes 'coblk bench -f raw -t none -i ' \
    coblk bench -f raw -t none -c 1 -i '{}' image
takes 'coblk io -c ' coblk-io -c 'help {}' image
offers 'coblk-io --cmd=wr' write writev
offers 'coblk-img create -b im'

# Lists of options.
offers 'coblk-img create -f qcow2 -o comp' compat= compression_type=
offers 'coblk-img create -fqcow2 -o compat=0.10,clu' 0.10,cluster_size=
offers 'coblk-img convert -O qcow2 -o prealloc' preallocation=
offers 'coblk-img create -f raw -o comp'
offers 'coblk-img create --format=qcow2 --options=lazy' lazy_refcounts=
offers 'coblk-img create -f qcow2 -o preallocation=f' falloc full
offers 'coblk-img amend -o enc' encrypt.iter-time= encrypt.state= \
    encrypt.keyslot= encrypt.old-secret= encrypt.new-secret=
takes 'coblk-img create -f raw -o preallocation=' \
    coblk-img create -q -f qcow2 -o 'preallocation={}' new.qcow2 1M
offers 'coblk mount -o ca' cache=
offers 'coblk mount -o ro,cache=w' writeback writethrough
offers 'coblk mount --options=allow' allow_other
offers 'coblk mount -o log=' syslog stderr
offers 'coblk mount -o uid='
offers 'coblk-img info --object se' secret,

# Files are bash's own business; what else there is comes from us.
offers 'coblk info im'
offers 'coblk-img dd ' if= of= bs= count= skip=
offers 'coblk-img dd if=im'
is 'mounts are found, whatever their names are' "$(_coblk_mounts <<'END'
proc /proc proc rw 0 0
/images/a.raw /mnt/a\040b fuse.coblk rw,nosuid 0 0
/dev/vda / ext4 rw 0 0
b.raw /mnt/b fuse.coblk ro 0 0
END
)" $'/mnt/a b\n/mnt/b'
is 'all three names have it' "$(complete -p coblk coblk-img coblk-io |
    grep -c -- '-F _coblk ')" 3
done_testing
