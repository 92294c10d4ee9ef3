#!/bin/bash
# SPDX-License-Identifier: MIT
# info and map end with a picture of the image in one line, on a terminal only.
. "$(dirname "$0")/lib.sh"

img create -q -f qcow2 image 60M
"$COBLK" io -f qcow2 -c 'write -P 1 0 10M' -c 'write -z 20M 10M' \
    -c 'write -P 1 40M 1M' -c 'write -P 1 50M 10M' image >/dev/null

# last LOCALE COLUMNS COMMAND...: the last line of it on a terminal.
last()
{
    local locale=$1 columns=$2
    shift 2
    LC_ALL=$locale on_terminal "$columns" "$tmp/bin/coblk-img" "$@" | tail -n 1
}

ascii='[##########..........0000000000..........#.........##########]'
ascii+='  # data  + some  0 zeroes  . hole'
is 'ASCII in the C locale' "$(last C 97 info image)" "$ascii"
is 'of map as well' "$(last C 97 map image)" "$ascii"

unicode='[██████████··········░░░░░░░░░░··········█·········██████████]'
unicode+='  █ data  ░ zeroes  · hole'
is 'Unicode in UTF-8' "$(last C.UTF-8 89 info image)" "$unicode"
is 'of map as well' "$(last C.UTF-8 89 map image)" "$unicode"

for columns in 20 40 60 80 200; do
    line=$(last C.UTF-8 $columns info image)
    is "$columns columns: fits" \
        "$(($(printf %s "$line" | LC_ALL=C.UTF-8 wc -m) < columns))" 1
done
is '40 columns: no legend' "$(last C 40 info image | tr -d '.+0#')" '[]'
truncate -s 512 tiny
is 'a disk of one sector' "$(last C 80 info tiny | cut -d ' ' -f 1)" '[.]'
truncate -s 0 empty
is 'an empty disk' "$(last C 80 info empty | cut -d ' ' -f 1)" '[]'

is 'none in a pipe' "$(img info image | grep -c hole)" 0
is 'nor in JSON' \
    "$(on_terminal 80 "$tmp/bin/coblk-img" info --output=json image |
        grep -c hole)" 0
done_testing
