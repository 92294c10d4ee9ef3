#!/bin/bash
# SPDX-License-Identifier: MIT
# An image with another backing file reads as before, and takes no more space
# for that than it must.
. "$(dirname "$0")/lib.sh"

random_file old 128k
random_file new 256k
img create -q -f qcow2 -b old -F raw image 256k
img convert -O raw image before
ok 'rebase to a longer backing file' img rebase -b new -F raw image
img convert -O raw image after
equal '... the image reads as before' before after
is '... zeroes that it showed are no data' \
    "$(img map --output=json image | grep -o '"start.*length[^,]*\|"zero[^,]*')" \
    '"start": 0, "length": 131072
"zero": false
"start": 131072, "length": 131072
"zero": true'
ok 'rebase to none' img rebase -b '' image
rm -f old new
img convert -O raw image after
equal '... the image reads as before' before after
ok 'check finds no fault' img check -q image
done_testing
