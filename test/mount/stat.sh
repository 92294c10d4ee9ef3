#!/bin/bash
# SPDX-License-Identifier: MIT
# coblk stat: the counters, for people and for programs.
. "$(dirname "$0")/lib.sh"

requires jq jq

img=$tmp/disk.img
truncate -s 8M "$img"

# counter PATH: from the JSON
counter()
{
    "$COBLK" stat --json "$mnt" | jq "$1"
}

start "$img"
reads=$(counter .read.requests)
bytes=$(counter .read.bytes)
dd if="$mnt/disk" of=/dev/null bs=64k count=4 iflag=direct status=none
is 'reads are counted' "$(counter .read.requests)" $((reads + 4))
is 'and bytes' "$(counter .read.bytes)" $((bytes + 262144))
dd if=/dev/zero of="$mnt/disk" bs=4k count=3 oflag=direct conv=notrunc,fsync \
    status=none
is 'writes' "$(counter '[.write.requests, .write.bytes] | join(" ")')" \
    '"3 12288"'
is 'flushes' "$(counter '.flush.requests > 0')" true
is 'latencies' "$(counter '.write.latency_ns | .p50 > 0 and .p99 >= .p50')" true
is 'the file in the mount says the same' \
    "$(jq .write.requests "$mnt/.coblk/stats.json")" 3

"$COBLK" stat "$mnt" >"$tmp/table"
is 'the table names the image' "$(head -n 1 "$tmp/table")" \
    "$img on $mnt, queue depth 0"
is 'and has a row for each kind' "$(sed 1,2d "$tmp/table" | cut -d ' ' -f 1 | xargs)" \
    'read write flush discard'
ok 'with the counters' grep -Eq '^write +3 +12 KiB +[0-9.]+% +[1-3] +0 ' \
    "$tmp/table"

"$COBLK" stat --watch "$mnt" >"$tmp/watch" &
job=$!
ok '--watch shows rates' soon grep -q 'requests/s' "$tmp/watch"
fails 'as plain text when it is no terminal' grep -q $'\033' "$tmp/watch"
stop
wait "$job"
is '--watch ends with the mount' $? 0

: >"$tmp/file"
"$COBLK" mount "$img" "$tmp/file"
is 'works for a single file' \
    "$("$COBLK" stat --json "$tmp/file" | jq .write.requests)" 0
"$COBLK" umount "$tmp/file"

done_testing
