#!/bin/bash
# SPDX-License-Identifier: MIT
# --help: plain text in any locale, and an error when it cannot be written.
. "$(dirname "$0")/lib.sh"

# is_plain FILE: nothing but printable ASCII and newlines
is_plain()
{
    [ -s "$1" ] && ! LC_ALL=C grep -q '[^ -~]' "$1"
}

for command in '' mount umount stat; do
    for locale in C C.UTF-8; do
        # shellcheck disable=SC2086 # no command is no argument
        LC_ALL=$locale "$COBLK" $command --help >"$tmp/help"
        is "coblk $command --help in locale $locale: status" $? 0
        ok 'it is plain' is_plain "$tmp/help"
        fails 'and not wider than a terminal' grep '.\{81\}' "$tmp/help"
        ok 'and says how to use it' grep -q '^Usage: *coblk\|^  coblk' \
            "$tmp/help"
    done
    # shellcheck disable=SC2086
    "$COBLK" $command --help >/dev/full 2>/dev/null
    is "coblk $command --help to a full disk: status" $? 1
done

# The face that mount(8) calls.
mkdir "$tmp/bin"
ln -s "$COBLK" "$tmp/bin/mount.coblk"
"$tmp/bin/mount.coblk" --help >"$tmp/help"
is 'mount.coblk --help: status' $? 0
ok 'it is plain' is_plain "$tmp/help"
fails 'and not wider than a terminal' grep '.\{81\}' "$tmp/help"
ok 'it says how to use it' grep -q '^Usage: mount.coblk IMAGE' "$tmp/help"
is 'a bad option: one line' "$("$tmp/bin/mount.coblk" image mnt -x 2>&1)" \
    "mount.coblk: -x is no option, or needs a value (see 'mount.coblk --help')"
is 'no mountpoint: one line' "$("$tmp/bin/mount.coblk" image 2>&1)" \
    "mount.coblk: an IMAGE and a MOUNTPOINT are needed (see 'mount.coblk --help')"
done_testing
