#!/bin/bash
# SPDX-License-Identifier: MIT
# Converting: each option does what it promises, in ways that the bytes of the
# target alone do not show.
. "$(dirname "$0")/lib.sh"

random_file data 4M

# offsets IMAGE: where its data lie in the file, in the order of the disk.
offsets()
{
    img map --output=json "$1" | python3 -c '
import json, sys
for e in json.load(sys.stdin):
    if "offset" in e:
        print(e["offset"], e["offset"] + e["length"])'
}

# -m: however many work on it, clusters are allocated in the order of the disk.
random_file large 24M
img convert -m 16 -O qcow2 large image
is '-m 16: one run' "$(offsets image | wc -l)" 1
ok '-W -m 16' img convert -W -m 16 -O qcow2 large image
ok '-W -m 16: the same content' img compare -q large image

# -S: shorter zeroes are data, longer ones are holes.
python3 - <<'PY'
with open('striped', 'wb') as f:
    for _ in range(4):
        f.write(b'x' * 262144 + bytes(262144))
PY
# holes OPTION...: how many holes it leaves.
holes()
{
    img convert "$@" striped out
    img map --output=json out | grep -c '"data": false'
}
is 'zeroes of 256k are holes' "$(holes)" 4
is 'and with -S 256k' "$(holes -S 256k)" 4
is 'but not with -S 512k' "$(holes -S 512k)" 0
is 'nor with -S 0' "$(holes -S 0)" 0

# -C: the host copies.
if command -v strace >/dev/null &&
    strace -o /dev/null true 2>/dev/null; then
    # copies OPTION...: how often the host is asked to.
    copies()
    {
        ASAN_OPTIONS=detect_leaks=0 strace -f -o calls \
            -e trace=copy_file_range "$tmp/bin/coblk-img" convert "$@" out
        grep -Ec 'copy_file_range(\(| resumed).*\) *= [1-9]' calls
    }
    is '-C: the host copies' "$(($(copies -C data) > 0))" 1
    equal '-C: the same bytes' data out
    is 'without it, it does not' "$(copies data)" 0
else
    skip_test '-C: the host copies' 'needs strace'
fi

# -l: by name, by id, and in the long form.
img convert -O qcow2 data image
img snapshot -c first image
"$COBLK" io -f qcow2 -c 'write -P 7 1M 64k' image >/dev/null
for snapshot in first 1 snapshot.name=first snapshot.id=1; do
    ok "-l $snapshot" img convert -l "$snapshot" image out
    equal "-l $snapshot: as it was" data out
done
refuses '-l: no such snapshot' "'second'" img convert -l second image x
img convert image out
ok 'without -l: as it is' img compare -q -f qcow2 -F raw image out

# -B: what the backing file has is not copied.
img create -q -f qcow2 -b data -F raw overlay
"$COBLK" io -f qcow2 -c 'write -P 9 2M 64k' overlay >/dev/null
ok '-B' img convert -O qcow2 -B data -F raw overlay thin
ok '-B: the same content' img compare -q overlay thin
is '-B: only the difference is in it' \
    "$(img map --output=json thin | grep -c '"depth": 0')" 1
ok '-b is the same' img convert -O qcow2 -b data -F raw overlay thin2
ok '-b: the same content' img compare -q overlay thin2

# --target-is-zero is taken at its word: zeroes are not written.
random_file garbage 4M
truncate -s 4M empty
before=$(cksum <garbage)
ok '--target-is-zero' img convert -n --target-is-zero empty garbage
is '--target-is-zero: nothing is written' "$(cksum <garbage)" "$before"
img convert -n empty garbage
equal 'without it, zeroes are' empty garbage

# --salvage: one sector cannot be read.
cat >rules <<'RULES'
[inject-error]
event = "read_aio"
errno = "5"
sector = "1000"
RULES
refuses 'a read that fails' 'error while reading at byte .*Input/output' \
    img convert blkdebug:rules:data new
img convert --salvage blkdebug:rules:data out 2>warnings
is '--salvage: status 0' $? 0
is '--salvage: the place is named' \
    "$(grep -c 'offset 512000: 512 bytes cannot be read' warnings)" 1
is '--salvage: one warning' "$(grep -vc swapcontext warnings)" 1
cp data wanted
dd if=/dev/zero of=wanted bs=512 seek=1000 count=1 conv=notrunc status=none
equal '--salvage: one sector is zeroes, the rest is there' wanted out
ok '--salvage -q' img convert --salvage -q -O qcow2 blkdebug:rules:data image
ok '--salvage to qcow2' img compare -q -f raw -F qcow2 wanted image

# A write that fails: what is not whole must not stay.
sed 's/read_aio/write_aio/' rules >wrules
cp data target
img convert -q -n data blkdebug:wrules:target 2>failed
is 'a write that fails: status 1' $? 1
ok 'a write that fails: named, with its place' \
    grep -q 'error while writing at byte .*Input/output' failed
ok 'a target that was there is said to be incomplete' \
    grep -q 'is not complete' failed

# -r: four megabytes at four per second; the first one goes at once.
begin=$(date +%s%N)
img convert -r 4M data out
is '-r takes its time' \
    "$((($(date +%s%N) - begin) / 1000000 >= 700))" 1
equal '-r: the same bytes' data out

# Several inputs, of several formats.
img convert -O qcow2 data image
img convert -O qcow2 image data striped joined
cat data data striped >wanted
ok 'inputs of several formats' img compare -q -f qcow2 -F raw joined wanted

# Signals: a qcow2 target that we made goes, another one stays consistent.
for signal in INT TERM HUP; do
    env --default-signal="$signal" "$tmp/bin/coblk-img" convert -q -r 4M \
        -O qcow2 large stopped 2>stopped.err &
    pid=$!
    soon test -s stopped
    kill "-$signal" $pid
    wait $pid
    is "SIG$signal: status 1" $? 1
    ok "SIG$signal: no target is left" test ! -e stopped
done
img create -q -f qcow2 there 24M
empty=$(stat -c %s there)
# shellcheck disable=SC2317 # called by soon
begun()
{
    [ "$(stat -c %s there)" -gt "$empty" ]
}
env --default-signal=TERM "$tmp/bin/coblk-img" convert -q -n -r 4M \
    -O qcow2 large there 2>stopped.err &
pid=$!
soon begun
kill -TERM $pid
wait $pid
is 'SIGTERM with -n: status 1' $? 1
ok 'SIGTERM with -n: said to be incomplete' \
    grep -q 'there: is not complete' stopped.err
ok 'SIGTERM with -n: no cluster is lost' img check -q there

# --bitmaps (more in bitmap.sh)
refuses '--bitmaps of raw' 'raw images have no bitmaps' \
    img convert --bitmaps -f raw -O qcow2 image new
refuses '--bitmaps of two' 'needs a single input' \
    img convert --bitmaps -f raw -O qcow2 image image new
refuses '--skip-broken-bitmaps alone' 'is for --bitmaps' \
    img convert --skip-broken-bitmaps -f raw -O qcow2 image new

# -p on a terminal: one line that is drawn anew, with rate and time left.
LC_ALL=C on_terminal 80 "$tmp/bin/coblk-img" convert -p -r 3M data out >bar
is '-p on a terminal: status 0' $? 0
is '-p on a terminal: one line' "$(grep -vc swapcontext bar)" 1
ok '-p on a terminal: a bar that fills' grep -Eq '\[#+>? *\] ' bar
ok '-p on a terminal: how much of how much' grep -q ' of 4 MiB' bar
ok '-p on a terminal: how fast' grep -Eq '[0-9.]+ [KM]iB/s' bar
ok '-p on a terminal: time left' grep -Eq '[0-9]+ s left' bar
ok '-p on a terminal: ends with all' grep -q '100.0 %' bar
ok '-p on a terminal: nothing but ASCII' \
    test -z "$(LC_ALL=C tr -d '\000-\177' <bar)"

# Whoever reads the output may go away: what is under way is done nevertheless.
mkfifo gone
exec 4<>gone
exec 5>gone
exec 4<&-
rm -f out gone
img convert -p -f raw data out >&5
is 'nobody reads -p: status 0' $? 0
equal 'nobody reads -p: all is copied' data out
img create -f qcow2 unread 1M >&5
is 'nobody reads what create says: status 0' $? 0
ok 'nobody reads what create says: it is there' img check -q unread
"$tmp/bin/coblk-io" -f raw -c 'write -P 1 0 512' -c 'write -P 1 512 512' out >&5
is 'nobody reads what io says: status 0' $? 0
ok 'nobody reads what io says: it is written' \
    "$tmp/bin/coblk-io" -f raw -c 'read -q -P 1 0 1k' out
exec 5>&-

LC_ALL=C on_terminal 40 "$tmp/bin/coblk-img" convert -p data out >bar
is '-p on a narrow terminal: never a second line' \
    "$(tr '\r' '\n' <bar | sed 's/\x1b\[K//' | grep -v swapcontext |
        grep -c '.\{40\}')" 0
done_testing
