# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Sourced by the tests in this folder: real mounts, as root or as any user who
# may use fusermount3.  $COBLK is the program.
#
#   mnt, tmp                   a mountpoint, and a folder that will be removed
#   start [-o OPTIONS] IMAGE   mount IMAGE at $mnt, or give up
#   try_start ...              the same, but may fail
#   stop                       unmount it; fails when a write was lost
#   adopt PREFIX COMMAND...    a test for each line "ok - WHAT", "not ok - WHAT"
#   is_mounted [PATH]          is a mount of coblk at PATH, or $mnt?
#   is_idle                    is no request under way?  (After its clients have
#                              ended the kernel may still be reading ahead.)
#   gone PID                   has that process ended?
#   private_mounts             start again in a mount name space of its own
#   open_fuse                  there, let everybody open /dev/fuse
#   mount_fusectl              there, make /sys/fs/fuse/connections readable
#   can_be_nobody              may root run this test as nobody?
#
# The tests themselves are those of tap.sh.  What is still mounted at the end is
# unmounted.

# shellcheck source=../tap.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tap.sh"

export PYTHONDONTWRITEBYTECODE=1 # next to the tests

# A COMMAND that crashes is a failed test, too.
adopt()
{
    local prefix=$1 line rc
    shift
    "$@" >"$tmp/adopted" 2>&1
    rc=$?
    while IFS= read -r line; do
        case $line in
        'ok - '*) report 0 "$prefix${line#ok - }" ;;
        'not ok - '*) report 1 "$prefix${line#not ok - }" ;;
        *) printf '# %s\n' "${line#\# }" ;;
        esac
    done <"$tmp/adopted"
    if [ "$rc" != 0 ]; then
        report 1 "${prefix}it ended with status $rc"
    fi
}

is_mounted()
{
    grep -q " ${1:-$mnt} .* - fuse.coblk " /proc/self/mountinfo
}

# A process that nobody has waited for yet is a zombie, and so is one of which
# other threads have not ended: these keep its files open.
gone()
{
    local state
    state=$(awk '$1 == "State:" { s = $2 } $1 == "Threads:" { print s $2 }' \
        "/proc/$1/status" 2>/dev/null)
    case $state in
    "" | Z0 | Z1 | X*) return 0 ;;
    *) return 1 ;;
    esac
}

# The test starts again, in a mount name space of its own.
private_mounts()
{
    [ -z "${COBLK_TEST_PRIVATE:-}" ] || return 0
    unshare --mount true 2>/dev/null || return 1
    rm -rf "$tmp"
    trap - EXIT
    COBLK_TEST_PRIVATE=1 exec unshare --mount --propagation private "$0"
}

# In such a name space: everybody may open /dev/fuse, which is not so in every
# container.
open_fuse()
{
    mkdir "$tmp/dev" && mount -t tmpfs coblk-test "$tmp/dev" &&
        mknod -m 666 "$tmp/dev/fuse" c 10 229 &&
        mount --bind "$tmp/dev/fuse" /dev/fuse && umount -l "$tmp/dev"
}

# Not every container has it mounted.
mount_fusectl()
{
    grep -q ' - fusectl ' /proc/self/mountinfo ||
        mount -t fusectl fusectl /sys/fs/fuse/connections 2>/dev/null
}

# can_be_nobody: may root run the program, and this test, as nobody?
can_be_nobody()
{
    [ "$(id -u)" = 0 ] && runuser -u nobody -- test -x "$COBLK" -a -x "$0" &&
        runuser -u nobody -- test -r /dev/fuse -a -w /dev/fuse
}

try_start()
{
    "$COBLK" mount "$@" "$mnt"
}

start()
{
    if ! try_start "$@"; then
        echo "Bail out! cannot mount: $*"
        exit 1
    fi
}

stop()
{
    timeout 60 "$COBLK" umount "$mnt"
}

# window IMAGE OFFSET BYTES: those bytes, to stdout.
window()
{
    dd if="$1" bs=64k iflag=skip_bytes,count_bytes skip="$2" count="$3" \
        status=none
}

# info EXPRESSION: of .coblk/info.json, by jq.
info()
{
    jq -r "$1" "$mnt/.coblk/info.json"
}

is_idle()
{
    [ "$(jq .queue_depth "$mnt/.coblk/stats.json")" = 0 ]
}

clean_up()
{
    local dir
    while read -r dir; do
        timeout 60 "$COBLK" umount "$dir" >/dev/null 2>&1 ||
            fusermount3 -uz "$dir"
    done < <(awk -v tmp="$tmp/" 'index($5, tmp) == 1 { print $5 }' \
        /proc/self/mountinfo | tac)
    rm -rf "$tmp"
}

[ -n "${COBLK:-}" ] || skip_all 'COBLK is not set to the program'
[ -e /dev/fuse ] || skip_all 'no /dev/fuse (modprobe fuse)'
if ! [ -r /dev/fuse ] || ! [ -w /dev/fuse ]; then
    skip_all '/dev/fuse is not for this user (chmod 666 /dev/fuse)'
fi
requires fusermount3 fuse3

tmp=$(mktemp -d "${TMPDIR:-/tmp}/coblk-test-XXXXXX")
mnt=$tmp/mnt
mkdir "$mnt"
trap clean_up EXIT
