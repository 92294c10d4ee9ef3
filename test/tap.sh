# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Sourced by tests that are shell scripts: prints TAP.
#
#   skip_all WHY               end, without having tested anything
#   requires PROGRAM PACKAGE   skip everything without PROGRAM
#   ok WHAT COMMAND...         a test: COMMAND succeeds
#   fails WHAT COMMAND...      a test: COMMAND fails
#   is WHAT GOT WANT           a test: GOT is WANT
#   skip_test WHAT WHY         a test that cannot be made here
#   report RESULT WHAT         a test whose result is known, 0 for good
#   soon COMMAND...            try COMMAND until it succeeds, for $patience seconds:
#                              a minute, since the machine may be busy
#   done_testing               the last line of each test

set -u -o pipefail
export LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin
unset LANGUAGE # it counts in spite of LC_ALL

patience=60
n_tests=0
n_failed=0

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

soon()
{
    local end=$((SECONDS + patience))
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

done_testing()
{
    echo "1..$n_tests"
    [ "$n_failed" = 0 ]
    exit
}
