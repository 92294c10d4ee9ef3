#!/bin/bash
# SPDX-License-Identifier: MIT
# Converting: no option changes what the target holds, holes stay holes, and
# what is not whole does not look whole.
. "$(dirname "$0")/lib.sh"

# Islands of data of all sizes, so that ranges begin and end everywhere.
seed=${COBLK_SEED:-$((RANDOM * 32768 + RANDOM))}
echo "# COBLK_SEED=$seed"
python3 - "$seed" <<'PY'
import random
import sys

random.seed(int(sys.argv[1]))
with open('islands', 'wb') as f:
    f.truncate(40 << 20)
    for _ in range(200):
        size = random.choice((1, 511, 512, 4096, 5000, 65536, 300000))
        f.seek(random.randrange((40 << 20) - size))
        f.write(random.randbytes(size))
PY
truncate -s $((40 * 1024 * 1024 + 512)) islands
random_file full 3M

# allocated FILE: bytes that the host keeps for it.
allocated()
{
    sync "$1"
    echo $(($(stat -c '%b * %B' "$1")))
}

# Every way to copy gives the same bytes.
for options in '' '-m 1' '-m 16' -W '-W -m 3' '-S 0' '-S 512' '-S 64k' \
    '-S 1M' -C '-t none' '-t none -T none' '-t writeback' '-t directsync -m 4' \
    '-p' '-r 1G' --salvage '-o preallocation=falloc' '-o preallocation=full'; do
    # shellcheck disable=SC2086 # words
    ok "convert $options" img convert -q $options islands out
    equal "convert $options: the same bytes" islands out
    rm -f out
done

# Between formats, there and back.
for options in '' -c '-W' '-c -m 1' '-o cluster_size=512' \
    '-o cluster_size=2M' '-o preallocation=metadata' '-o extended_l2=on' \
    '-o compat=0.10' '-c -o compression_type=zstd'; do
    # shellcheck disable=SC2086 # words
    ok "convert -O qcow2 $options" img convert -O qcow2 $options islands q
    img convert -O raw q out
    equal "convert -O qcow2 $options: the same bytes" islands out
    if [ -n "$qemu_img" ]; then
        ok "convert -O qcow2 $options: qemu-img finds no fault" \
            qemu-img check -q q
        ok "convert -O qcow2 $options: qemu-img reads the same" \
            qemu-img compare -q -f qcow2 -F raw q islands
    fi
done

# Holes.  The host counts blocks of its own for a file in many pieces.
img convert islands out
is 'holes stay holes' \
    "$(($(allocated out) <= $(allocated islands) + 65536))" 1
truncate -s 8M zeroes
head -c 8M /dev/zero >zeroes
img convert zeroes out
is 'zeroes become holes' "$(($(allocated out) <= 8192))" 1
img convert -S 0 out full.out
is '-S 0 allocates all' "$(($(allocated full.out) >= 8 << 20))" 1

# Many inputs, one after the other.
img convert full islands full joined
cat full islands full >wanted
equal 'inputs are joined' wanted joined
ok 'and compressed' img convert -c -O qcow2 full islands full joined.qcow2
img convert joined.qcow2 out
equal 'the same bytes' wanted out

# A target that is there: what it held is gone, what is behind stays.
random_file there 44M
cp there before
ok '-n into a larger file' img convert -n islands there
equal 'its beginning is the source' <(head -c 41943552 there) islands
equal 'and its end is as it was' <(tail -c +41943553 there) \
    <(tail -c +41943553 before)
truncate -s 0 zeroed
truncate -s 41943552 zeroed
ok '-n --target-is-zero' img convert -n --target-is-zero islands zeroed
equal 'the same bytes' islands zeroed

# What is below a target that was there has nothing to do with the source,
# unless -B says so.
random_file base 256K
truncate -s 256K other
img create -q -f qcow2 -b base -F raw source.qcow2
"$tmp/bin/coblk-io" -c 'write -q -P 7 64k 64k' source.qcow2
img convert source.qcow2 wanted
img create -q -f qcow2 -b other -F raw target.qcow2
ok '-n into an overlay of another file' \
    img convert -n -O qcow2 source.qcow2 target.qcow2
img convert target.qcow2 out
equal 'copies what lies below the source, too' wanted out
for empty in -b\ base\ -F\ raw ''; do
    # shellcheck disable=SC2086 # words
    img create -q -f qcow2 $empty target.qcow2 256K
    ok "-n -B into a target ${empty:-that is empty}" \
        img convert -n -O qcow2 -B base -F raw source.qcow2 target.qcow2
    is 'copies only what lies on top' \
        "$(img map --output=json target.qcow2 | grep -c '"depth": 0')" \
        "$([ "$empty" ] && echo 1 || echo 3)"
done
random_file reused 1M
ok 'a target that is created anew' img convert full reused
equal 'the same bytes' full reused

# begun FILE: it has some of what is copied to it, so signals are listened to.
# shellcheck disable=SC2317 # called by soon
begun()
{
    [ -s "$1" ] && ! cmp -s -n 4096 "$1" /dev/zero
}

# Stopped.
random_file long 8M
# A shell makes its background jobs ignore SIGINT.
env --default-signal=INT "$tmp/bin/coblk-img" convert -q -r 512k long stopped \
    2>stopped.err &
pid=$!
soon test -s stopped
kill -INT $pid
wait $pid
is 'SIGINT ends it with status 1' $? 1
ok 'and says so' grep -q 'stopped by a signal' stopped.err
is 'and leaves no target' "$(ls stopped 2>/dev/null)" ''

# A link stays, and what it leads to goes.
ln -s behind link
env --default-signal=INT "$tmp/bin/coblk-img" convert -q -r 512k long link \
    2>stopped.err &
pid=$!
soon test -s behind
kill -INT $pid
wait $pid
is 'behind a link no target is left either' "$(ls behind 2>/dev/null)" ''


# For a target that was there before there is a message instead.
truncate -s 8M stopped
"$tmp/bin/coblk-img" convert -q -n -r 512k long stopped 2>stopped.err &
pid=$!
soon begun stopped
kill -TERM $pid
wait $pid
is 'with -n, too' $? 1
ok 'the target is said to be incomplete' grep -q 'is not complete' stopped.err
is 'and stays' "$(stat -c %s stopped)" 8388608

# SIGUSR1.
"$tmp/bin/coblk-img" convert -r 2M long slow >slow.out &
pid=$!
soon begun slow
until [ -s slow.out ] || ! kill -USR1 $pid 2>/dev/null; do
    sleep 0.1
done
wait $pid
is 'SIGUSR1 does not end it' $? 0
ok 'and prints how far it is' grep -Eq '^    \([0-9.]+/100%\)$' slow.out

# -p.
img convert -p long slow >progress.out
is '-p begins with 0 %' "$(head -n 1 progress.out)" '    (0.00/100%)'
ok 'and ends with 100 %' grep -q '^    (100.00/100%)$' progress.out
is 'one per line' "$(grep -vc '^    ([0-9.]*/100%)$' progress.out)" 1
for _ in 1 2 3 4 5; do
    img convert -p -W -m 16 long slow
done | sed 's/[^0-9.]*//; s,/.*,,' >progress.out
is 'it never goes back' "$(awk '$1 == "" { last = 0; next }
    $1 < last { print } { last = $1 }' progress.out)" ''
is '-q is stronger' "$(img convert -p -q long slow)" ''
done_testing
