# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Sourced by the lints.  Each takes SOURCE_ROOT BUILD_ROOT, says what is wrong
# with which file, and exits 0 (clean), 1 (not) or 77 (cannot look: why).

set -u -o pipefail
export LC_ALL=C.UTF-8
unset LANGUAGE
cd "$1" || exit 1
# shellcheck disable=SC2034 # for the lints
build=$2

# skip REASON: end as skipped.
skip()
{
    echo "skipped: $*"
    exit 77
}

# requires PROGRAM PACKAGE: skip when there is no PROGRAM.
requires()
{
    command -v "$1" >/dev/null || skip "no $1 (apt-get install $2)"
}

# sources PATTERN...: the project's files that match, one a line.
sources()
{
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files --cached --others --exclude-standard -- "$@"
    else
        local pattern args=()
        for pattern; do
            args+=(-o -path "./$pattern")
        done
        find . -path './build*' -prune -o -type f \
            \( "${args[@]:1}" \) -print | sed 's,^\./,,'
    fi | sort
}
