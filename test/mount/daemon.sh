#!/bin/bash
# SPDX-License-Identifier: MIT
# Service managers: the notification protocol of systemd, on a socket in the
# file system and on an abstract one.
. "$(dirname "$0")/lib.sh"

requires jq jq
requires python3 python3

img=$tmp/disk.img
truncate -s 1M "$img"

# listen ADDRESS: prints each message on a line, until STOPPING=1 came.
listen()
{
    python3 - "$1" <<'END'
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace('@', '\0', 1))
s.settimeout(60)
print('listens', flush=True)
text = ''
while 'STOPPING' not in text:
    text = s.recv(4096).decode()
    print(text.replace('\n', ' '), flush=True)
END
}

for address in "$tmp/notify" "@coblk-test-$$"; do
    : >"$tmp/messages"
    listen "$address" >>"$tmp/messages" &
    soon grep -q listens "$tmp/messages"
    export NOTIFY_SOCKET=$address
    ok "$address: mounts" start "$img"
    pid=$(info .pid)
    ok "$address: READY with the daemon's pid" \
        soon grep -qx "READY=1 MAINPID=$pid" "$tmp/messages"
    kill -TERM "$pid"
    ok "$address: STOPPING" soon grep -qx STOPPING=1 "$tmp/messages"
    soon gone "$pid"
    wait
done

export NOTIFY_SOCKET=$tmp/nobody-listens
ok 'mounts when nobody listens' try_start "$img"
stop
unset NOTIFY_SOCKET

# -- Started by programs that close everything

# shellcheck disable=SC2317 # called by ok
bare_start()
{
    try_start "$@" <&- >&- 2>&-
}
ok 'without stdin, stdout, stderr' bare_start "$img"
ok 'works' cmp "$mnt/disk" "$img"
stop

# The terminal's pipe ends with the command, although the daemon lives on.
# shellcheck disable=SC2016 # expanded by bash -c
ok 'does not hold on to its pipe' timeout 60 bash -c '"$0" mount "$1" "$2" | cat' \
    "$COBLK" "$img" "$mnt"
stop

done_testing
