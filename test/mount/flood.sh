#!/bin/bash
# SPDX-License-Identifier: MIT
# More requests than a daemon takes at once, for an image that does not answer
# for a while: they wait in the kernel, cost no CPU, and are answered later.
. "$(dirname "$0")/lib.sh"

requires jq jq
requires python3 python3

# The image is a file of another mount, whose daemon will be stopped.
mkdir "$tmp/below"
truncate -s 64M "$tmp/disk.img"
if ! "$COBLK" mount "$tmp/disk.img" "$tmp/below"; then
    echo 'Bail out! cannot mount'
    exit 1
fi
below=$(jq -r .pid "$tmp/below/.coblk/info.json")
start -o max_background=4000,direct_io,aio=threads,iothreads=1 "$tmp/below/disk"
pid=$(info .pid)

# clock ticks of CPU time
cpu()
{
    awk '{ print $14 + $15 }' "/proc/$pid/stat"
}

python3 - "$mnt/disk" "$below" >"$tmp/read" <<'END' &
import os, signal, sys, threading

fd = os.open(sys.argv[1], os.O_RDONLY)
os.kill(int(sys.argv[2]), signal.SIGSTOP)
threading.stack_size(65536)
lengths = []
threads = [
    threading.Thread(target=lambda: lengths.append(len(os.pread(fd, 4096, 0))))
    for _ in range(1200)
]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(lengths.count(4096))
END
readers=$!

# waiting: as many requests as a worker takes are in the daemon
# shellcheck disable=SC2317 # called by soon
waiting()
{
    [ "$("$COBLK" stat --json "$mnt" | jq .queue_depth)" = 1024 ]
}
ok 'a worker takes 1024 requests' soon waiting
before=$(cpu)
sleep 2
spent=$(($(cpu) - before))
ok "and waits without spinning ($spent ticks in 2 s)" test "$spent" -lt 50
kill -CONT "$below"
wait "$readers"
is 'all are answered' "$(cat "$tmp/read")" 1200

# The times of the image are asked of its file system, which does not answer.
sleep 1.1 # until what is remembered of them is too old
kill -STOP "$below"
stat "$mnt/disk" >/dev/null &
waiter=$!
sleep 0.3
ok 'who asks for times holds up nobody else' \
    timeout 60 cat "$mnt/.coblk/stats.json"
kill -CONT "$below"
wait "$waiter"
is 'and is answered' $? 0

ok 'unmounts' stop
ok 'and so does what is below' timeout 60 "$COBLK" umount "$tmp/below"

done_testing
