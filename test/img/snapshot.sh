#!/bin/bash
# SPDX-License-Identifier: MIT
# A snapshot that has the id of another one as its name is never taken for it,
# as qemu-img does; and nothing writes to an image that is shared by force.
. "$(dirname "$0")/lib.sh"

# Ids are 1, 2, 3; names are first, second, 1.
img create -q -f qcow2 image 1M
n=0
for name in first second 1; do
    n=$((n + 1))
    "$COBLK" io -f qcow2 -c "write -P $n 0 64k" image >/dev/null
    img snapshot -c $name image
done
cp image numbered

# shows WHAT PATTERN: -l WHAT is the snapshot with these bytes.
shows()
{
    ok "-l $1" img convert -l "$1" image out
    ok "-l $1: the right one" "$COBLK" io -r -f raw -c "read -P $2 0 64k" out
}

# names IMAGE: of its snapshots.
names()
{
    img snapshot -l "$1" | awk 'NR > 2 { printf "%s ", $2 }'
}

shows 1 1
shows second 2
shows snapshot.id=1 1
shows snapshot.name=1 3
shows snapshot.id=3,snapshot.name=1 3
refuses 'an id that is not there' 'no snapshot with snapshot.id=second' \
    img convert -l snapshot.id=second image x
refuses 'a name of another id' 'no snapshot with snapshot.id=1,' \
    img convert -l snapshot.id=1,snapshot.name=second image x
refuses 'another key' 'write snapshot.id=ID or snapshot.name=NAME' \
    img convert -l snapshot.tag=second image x
ok 'measure knows them, too' img measure -l snapshot.name=1 image

refuses '-d does not take an id' \
    "of the name '2'; the one with that id is 'second'" \
    img snapshot -d 2 image
refuses '-d: no such name' "no snapshot 'third'" img snapshot -d third image
ok '-d takes a name that is an id' img snapshot -d 1 image
is 'the one of that name has gone' "$(names image)" 'first second '
if [ -n "$qemu_img" ]; then
    cp numbered theirs
    "$qemu_img" snapshot -d 1 theirs
    is 'as with qemu-img' "$(names theirs)" "$(names image)"
fi
ok 'the image is consistent' img check -q image

for command in 'snapshot -c new' 'snapshot -a first' 'snapshot -d first' \
    'check -r all' 'check -r leaks'; do
    # shellcheck disable=SC2086 # words
    refuses "$command with -U" 'can only be read: leave .*-U. out' \
        img $command -U image
done
ok 'check with -U' img check -q -U image
ok 'snapshot -l with -U' img snapshot -U -l image

# A subcluster that is not in the image stays so when another one of the same
# cluster is written, though the cluster has to move.
img create -q -f raw base 64k
img create -q -f qcow2 -o extended_l2=on -b base -F raw subclusters
"$COBLK" io -c 'write -q 4k 2k' subclusters
img snapshot -c one subclusters
"$COBLK" io -c 'write -q 12k 2k' subclusters
is 'subclusters that were not written are not there' \
    "$(img map --output=json subclusters |
        jq -c '.[] | select(.depth == 0) | [.start, .length]' | xargs)" \
    '[4096,2048] [12288,2048]'
done_testing
