# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Sourced by the tests in this folder: the image commands.  $COBLK is the
# program; qemu-img ($qemu_img, or nothing) and qemu-io are Debian's.
#
#   here                       this folder
#   tmp, work                  a folder that will be removed; one in it, to
#                              which every test has changed
#   img COMMAND...             the program, called as coblk-img
#   debian_img COMMAND...      $qemu_img, for all that makes a LUKS key.  It
#                              measures how fast the machine is, which fails
#                              one time in three where processor time is
#                              coarse; so it is called until it does not.
#                              Messages are in $tmp/debian-stderr
#   same COMMAND...            a test: as qemu-img COMMAND, it prints what is
#                              expected and ends with the expected status
#   same_io ARGUMENT...        the same for qemu-io; numbers that differ from
#                              run to run are left out
#   same_lines LINES ARGUMENT...
#                              the same, with LINES on standard input
#   same_status ARGUMENT...    the same, but only for the status
#   both COMMAND...            prepares what `same` will look at
#   refuses WHAT REGEX COMMAND...
#                              a test: COMMAND fails with one line on stderr
#                              that matches REGEX, and changes no file
#   equal WHAT FILE1 FILE2     a test: the two files have the same bytes
#   on_terminal COLUMNS COMMAND...
#                              what COMMAND prints on a terminal
#   random_file NAME BYTES     a file that has no zeroes to speak of
#
# These run a command here and, where they can, by Debian's program in a folder
# that is prepared alike.  What is expected is what that printed when the test
# was written (expect/NAME.txt); COBLK_UPDATE_EXPECTED=1 writes that anew.

# shellcheck source=../tap.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tap.sh"

[ -n "${COBLK:-}" ] || skip_all 'COBLK is not set to the program'

here=$(dirname "$(realpath "$0")")
expected=$here/expect/$(basename "$0" .sh).txt
# shellcheck disable=SC2034 # the tests look at it
qemu_img=$(command -v qemu-img) || qemu_img=
tmp=$(mktemp -d "${TMPDIR:-/tmp}/coblk-test-XXXXXX")
work=$tmp/work
n_same=0

# Messages begin with the name: it is the same for both.
mkdir "$tmp/bin" "$work" "$tmp/theirs"
for face in qemu-img qemu-io coblk-io; do
    ln -s "$COBLK" "$tmp/bin/$face"
done
ln -s "$COBLK" "$tmp/bin/coblk-img"
cd "$work" || exit 1

clean_up()
{
    cd / && rm -rf "$tmp"
}
trap clean_up EXIT

img()
{
    "$tmp/bin/coblk-img" "$@"
}

debian_img()
{
    local i rc
    for ((i = 0; i < 20; i++)); do
        "$qemu_img" "$@" 2>"$tmp/debian-stderr"
        rc=$?
        [ $rc != 0 ] && grep -q 'CPU usage' "$tmp/debian-stderr" || break
    done
    return $rc
}

both()
{
    "$@"
    (cd "$tmp/theirs" && "$@")
}

# What the file system and the clock decide is not compared.
without_host()
{
    sed -e 's/^disk size: .*/disk size/' \
        -e 's/"actual-size": .*/"actual-size"/' \
        -e 's/^Run completed in .*/Run completed/'
}

# Nor is what a clock decides.
without_times()
{
    sed -E -e 's/ops; [0-9:.]+( sec)? \(.*\)/ops; TIME (RATES)/' \
        -e 's/^([0-9]+,1,)[0-9:.]+,[0-9.]+,[0-9.]+$/\1TIME,RATES/'
}

# record PROGRAM COMMAND...: what scripts see of it.  Input comes from $input.
input=/dev/null
record()
{
    local program=$1 rc
    shift
    TZ=UTC "$program" "$@" 2>/dev/null <"$input" | without_host |
        without_times
    rc=${PIPESTATUS[0]}
    echo "status $rc"
}

record_status()
{
    record "$@" | tail -n 1
}

# nth N: the Nth record of the expected ones.
nth()
{
    awk -v n="$1" '/^\$ / { i++; next } i == n' "$expected"
}

# compare HOW PROGRAM COMMAND...: HOW is record or record_status.
compare()
{
    local how=$1 program=$2 got theirs their_program what
    shift 2
    what="$program $*"
    n_same=$((n_same + 1))
    got=$("$how" "$tmp/bin/$program" "$@")
    if their_program=$(command -v "$program"); then
        theirs=$(cd "$tmp/theirs" && "$how" "$their_program" "$@")
        is "$what, as Debian's" "$got" "$theirs"
    fi
    if [ -n "${COBLK_UPDATE_EXPECTED:-}" ]; then
        printf '$ %s\n%s\n' "$*" "${theirs-$got}" >>"$tmp/expected"
    fi
    [ -n "${COBLK_UPDATE_EXPECTED:-}" ] ||
        is "$what" "$got" "$(nth "$n_same")"
}

same()
{
    compare record qemu-img "$@"
}

same_io()
{
    compare record qemu-io "$@"
}

same_status()
{
    compare record_status qemu-io "$@"
}

same_lines()
{
    printf '%s\n' "$1" >"$tmp/input"
    shift
    input=$tmp/input
    same_io "$@"
    input=/dev/null
}

done_same()
{
    if [ -n "${COBLK_UPDATE_EXPECTED:-}" ]; then
        mkdir -p "$(dirname "$expected")"
        cp "$tmp/expected" "$expected"
    fi
    done_testing
}

state()
{
    find . -type f -exec cksum {} + | sort -k 3
}

refuses()
{
    local what=$1 regex=$2 before after out rc lines
    shift 2
    before=$(state)
    out=$("$@" 2>"$tmp/stderr" </dev/null)
    rc=$?
    sed -i '/swapcontext/d' "$tmp/stderr" # a remark of AddressSanitizer
    lines=$(wc -l <"$tmp/stderr")
    after=$(state)
    if [ "$rc" != 0 ] && [ "$rc" -lt 64 ] && [ "$lines" = 1 ] &&
        [ -z "$out" ] && grep -Eq -- "$regex" "$tmp/stderr" &&
        [ "$before" = "$after" ]; then
        report 0 "$what"
        return
    fi
    report 1 "$what"
    {
        echo "$*"
        echo "status $rc; wants one line that matches: $regex"
        echo "stdout: $out"
        echo "stderr:"
        cat "$tmp/stderr"
        diff <(echo "$before") <(echo "$after")
    } | sed 's/^/# /'
}

equal()
{
    ok "$1" cmp "$2" "$3"
}

on_terminal()
{
    python3 "$here/terminal.py" "$@"
}

random_file()
{
    head -c "$2" /dev/urandom >"$1"
}
