# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Sourced by the tests in this folder: real mounts, as root or as any user who
# may use fusermount3.  $COBLK is the program.
#
#   requires PROGRAM PACKAGE   skip everything without PROGRAM
#   mnt, tmp                   a mountpoint, and a folder that will be removed
#   start [-o OPTIONS] IMAGE   mount IMAGE at $mnt, or give up
#   try_start ...              the same, but may fail
#   stop                       unmount it; fails when a write was lost
#   ok WHAT COMMAND...         a test: COMMAND succeeds
#   fails WHAT COMMAND...      a test: COMMAND fails
#   is WHAT GOT WANT           a test: GOT is WANT
#   adopt PREFIX COMMAND...    a test for each line "ok - WHAT", "not ok - WHAT"
#   skip_test WHAT WHY         a test that cannot be made here
#   soon COMMAND...            try COMMAND for 10 seconds
#   done_testing               the last line of each test
#
# Output is TAP.  What is still mounted at the end is unmounted.

set -u -o pipefail
export LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin

n_tests=0
n_failed=0

# skip_all WHY: end, without having tested anything.
skip_all()
{
    echo "1..0 # SKIP $*"
    exit 0
}

requires()
{
    command -v "$1" >/dev/null || skip_all "no $1 (apt-get install $2)"
}

report()
{
    local result=$1 what=$2
    n_tests=$((n_tests + 1))
    if [ "$result" = 0 ]; then
        echo "ok $n_tests - $what"
    else
        n_failed=$((n_failed + 1))
        echo "not ok $n_tests - $what"
    fi
}

skip_test()
{
    n_tests=$((n_tests + 1))
    echo "ok $n_tests - $1 # SKIP $2"
}

# Output of a command is shown when it was not as it should be.
ok()
{
    local what=$1 out rc
    shift
    out=$("$@" 2>&1)
    rc=$?
    report "$rc" "$what"
    [ "$rc" = 0 ] || printf '%s: status %s\n%s\n' "$*" "$rc" "$out" |
        tail -n 20 | sed 's/^/# /'
}

fails()
{
    local what=$1 out rc
    shift
    out=$("$@" 2>&1)
    rc=$?
    if [ "$rc" != 0 ]; then
        report 0 "$what"
    else
        report 1 "$what"
        printf '%s: succeeded\n%s\n' "$*" "$out" | sed 's/^/# /'
    fi
}

is()
{
    if [ "$2" = "$3" ]; then
        report 0 "$1"
    else
        report 1 "$1"
        printf 'got:\n%s\nwant:\n%s\n' "$2" "$3" | sed 's/^/# /'
    fi
}

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

soon()
{
    local end=$((SECONDS + 10))
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
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

done_testing()
{
    echo "1..$n_tests"
    [ "$n_failed" = 0 ]
    exit
}

clean_up()
{
    local dir
    while read -r dir; do
        timeout 20 "$COBLK" umount "$dir" >/dev/null 2>&1 ||
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
