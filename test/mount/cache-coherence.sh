#!/bin/bash
# SPDX-License-Identifier: MIT
# The promises about `disk` and pN, which are the same bytes, are kept:
#
#   direct I/O sees at once what was written through the other file;
#   cached I/O and mappings see it when they are opened after that;
#   a mapping's stores count when they were synced or the file was closed.
. "$(dirname "$0")/lib.sh"

requires sgdisk gdisk
requires python3 python3

img=$tmp/disk.img
for options in cache=none,aio=native cache=writeback,aio=threads,iothreads=2 \
    direct_io; do
    rm -f "$img"
    truncate -s 64M "$img"
    sgdisk -n 1:2048:+8M -n 2:32768:+8M "$img" >/dev/null
    if ! try_start -o "$options" "$img" 2>"$tmp/err"; then
        skip_test "$options" "$(cat "$tmp/err")"
        continue
    fi
    while IFS=$'\t' read -r result what; do
        case $result in
        ok) report 0 "$options: $what" ;;
        skip) skip_test "$options: $what" 'not offered by this kernel' ;;
        *) report 1 "$options: $what" ;;
        esac
    done < <(python3 "$(dirname "$0")/coherence.py" "$mnt" 2>&1)
    ok "$options: no write was lost" stop
done

done_testing
