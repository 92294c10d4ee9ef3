#!/bin/bash
# SPDX-License-Identifier: MIT
# The examples of coblk-img(1) work: each command succeeds, and prints what
# stands below it if something does.
. "$(dirname "$0")/lib.sh"

page=$here/../../man/coblk-img.1

# What is between .Bd and .Ed, as a shell would get it.
examples()
{
    sed -n '/^\.Bd -literal/,/^\.Ed/{/^\.[BE]d/d;p}' "$page" |
        sed 's/\\-/-/g'
}

PATH=$tmp/bin:$PATH
command=

# finish: tests $command, if there is one; $wanted is its output.
finish()
{
    local out rc
    [ -n "$command" ] || return
    out=$(bash -c "$command" 2>&1)
    rc=$?
    is "$command" "$rc ${wanted:+$out}" "0 $wanted"
}

while IFS= read -r line; do
    case $line in
    '$ '*)
        finish
        command=${line#'$ '}
        wanted=
        ;;
    *) wanted=${wanted:+$wanted$'\n'}$line ;;
    esac
done < <(examples)
finish

# Every command has an example.
for name in $(img --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
    ok "$name has an example" grep -q "^\$ coblk-img $name " "$page"
done
# options NAME: what its --help lists, one letter or long name per line.
options()
{
    img "$1" --help | sed -nE 's/^  -(.)[ ,].*/\1/p; s/^ {6}--([a-z-]+).*/\1/p' |
        grep -vxE 'h|image-opts|object'
}

# section NAME: of the page, without its backslashes.
section()
{
    awk -v name="$1" '/^\.S[sh] / { on = $2 == name } on' "$page" | tr -d '\\'
}

# Every option of every command is in its section.
for name in $(img --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
    missing=
    for option in $(options "$name"); do
        section "$name" | grep -qE "Fl -?$option( |\$)" ||
            missing+=" $option"
    done
    is "$name: the page has each option" "$missing" ''
done

# No line of a --help is wider than a terminal.
for name in '' $(img --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
    # shellcheck disable=SC2086 # no command is no argument
    is "$name --help fits" \
        "$(img $name --help | grep -v '^Usage\|^Supported' | grep -c '.\{81\}')" 0
done
done_testing
