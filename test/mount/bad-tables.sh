#!/bin/bash
# SPDX-License-Identifier: MIT
# Damaged and malicious partition tables are shown as far as they make sense,
# with a warning, and neither crash nor hang.
. "$(dirname "$0")/lib.sh"

requires sgdisk gdisk
requires sfdisk fdisk
requires jq jq
requires python3 python3

here=$(dirname "$0")
img=$tmp/disk.img

# A disk of 32 MiB with p1 of 1 MiB and p2 of 2 MiB.
new_gpt()
{
    rm -f "$img"
    truncate -s 32M "$img"
    sgdisk -n 1:2048:+1M -n 2:8192:+2M "$img" >/dev/null
}

# put OFFSET BYTES...: hexadecimal bytes into the image
put()
{
    local offset=$1
    shift
    printf '%b' "$(printf '\\x%s' "$@")" |
        dd of="$img" bs=1 seek="$offset" conv=notrunc status=none
}

# shellcheck disable=SC2317 # called by ok
read_all()
(
    shopt -s nullglob
    cat "$mnt/disk" "$mnt"/p* >/dev/null
)

# check WHAT NAMES WARNINGS: mounts, compares names with sizes, looks for a
# warning that matches the pattern (empty: there is none), reads everything.
check()
{
    local what=$1 names=$2 pattern=$3 warnings
    ok "$what: mounts" timeout 60 "$COBLK" mount "$img" "$mnt"
    is "$what: the partitions" \
        "$(cd "$mnt" && stat -c '%n:%s' p* 2>/dev/null | xargs)" "$names"
    warnings=$(info '.warnings[]')
    if [ "$pattern" ]; then
        ok "$what: a warning" grep -Eiq "$pattern" <<<"$warnings"
    else
        is "$what: no warning" "$warnings" ''
    fi
    ok "$what: all can be read" read_all
    stop
}

# -- GPT

new_gpt
check 'sound' 'p1:1048576 p2:2097152' ''

put 512 00
check 'primary header' 'p1:1048576 p2:2097152' backup

put $(((32 << 20) - 512)) 00
check 'both headers' '' GPT

new_gpt
put 1024 ff
check 'primary entries' 'p1:1048576 p2:2097152' backup

new_gpt
python3 "$here/gpt-edit.py" "$img" 1:8192:12287
check 'overlap' 'p1:2097152 p2:2097152' overlap

new_gpt
python3 "$here/gpt-edit.py" "$img" 2:8192:8191
check 'ends before it begins' 'p1:1048576' p2

new_gpt
python3 "$here/gpt-edit.py" "$img" 2:65535:18446744073709551615
check 'passes the end' 'p1:1048576 p2:512' p2

new_gpt
python3 "$here/gpt-edit.py" "$img" 2:99999999999:99999999999
check 'lies beyond the end' 'p1:1048576' p2

new_gpt
python3 "$here/gpt-edit.py" "$img" count=1000000000
check '10^9 entries' 'p1:1048576 p2:2097152' entries

# -- MBR

new_mbr()
{
    rm -f "$img"
    truncate -s 32M "$img"
    sfdisk -q "$img" <<'EOF'
label: dos
start=2048, size=2048, type=83
start=8192, size=20480, type=5
start=10240, size=1024, type=83
start=14336, size=1024, type=83
EOF
}

new_mbr
check 'sound MBR' 'p1:1048576 p5:524288 p6:524288' ''

# The second EBR, at 12288, is the next of itself: its second entry, which is
# relative to the extended partition at 8192, says 4096.
new_mbr
put $((12288 * 512 + 446 + 16)) 00 00 00 00 05 00 00 00 \
    00 10 00 00 00 08 00 00
check 'an EBR loop' 'p1:1048576 p5:524288 p6:524288' 'loop|again|twice'

new_mbr
put $((446 + 12)) ff ff ff ff
check 'MBR past the end' "p1:$(((32 << 20) - 2048 * 512)) p5:524288 p6:524288" \
    p1

new_mbr
put $((446 + 12)) 00 00 00 00
check 'MBR of zero length' 'p5:524288 p6:524288' p1

# -- Neither

rm -f "$img"
truncate -s 1M "$img"
put 510 55 aa
check 'a boot sector without a table' '' ''

rm -f "$img"
head -c 1M /dev/urandom >"$img"
check 'noise' '' ''

rm -f "$img"
printf x >"$img"
check 'one byte' '' ''

done_testing
