# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Completion of coblk, coblk-img and coblk-io for bash.
#
# Commands, options and keys are what the program's own help lists, so there is
# nothing here that has to follow it; only values are, in _coblk_value().  Where
# nothing is offered bash completes file names.

# _coblk_offer PREFIX WORD...: the words that go on from $cur, each behind
# PREFIX.  Bash replaces only what is behind the last = or : of the line.
_coblk_offer()
{
    local prefix=$1 fixed=${cur%"${cur##*[=:]}"} word
    shift
    [[ $COMP_WORDBREAKS == *=* ]] || fixed=
    for word; do
        [[ $prefix$word == "$cur"* ]] || continue
        word=$prefix$word
        COMPREPLY+=("${word#"$fixed"}")
        # More is to follow.
        [[ $word != *[=,] ]] || compopt -o nospace 2>/dev/null
    done
}

# The commands of the program: indented by two in its help.
_coblk_commands()
{
    "$program" --help 2>/dev/null | sed -n -E 's/^  ([a-z]+) +[A-Z].*/\1/p'
}

# The options of the command, "LETTER|NAME|VALUE" each; VALUE is what its help
# calls it.
_coblk_options()
{
    sed -n -E \
        -e 's/^ +-([A-Za-z]), --([a-z-]+)(=([^ ]+))?( .*)?$/\1|\2|\4/p' \
        -e 's/^ +--([a-z-]+)(=([^ ]+))?( .*)?$/|\1|\3/p' \
        -e 's/^ +-([A-Za-z]) ([A-Z]+)( .*)?$/\1||\2/p' \
        -e 's/^ +-([A-Za-z])( {2,}.*)?$/\1||/p' <<<"$help"
}

# What was last given to one of the options $@.
_coblk_given()
{
    local option i found=
    for option; do
        for ((i = 1; i < ${#words[@]}; i++)); do
            case ${words[i]} in
                "$option") found=${words[i + 1]} ;;
                --*) [[ ${words[i]} != "$option="* ]] ||
                    found=${words[i]#*=} ;;
                "$option"?*) found=${words[i]#"$option"} ;;
            esac
        done
    done
    printf '%s\n' "$found"
}

# The keys that -o takes, for the format that is given so far.
_coblk_keys()
{
    local how=create format
    case $command in
        amend) how=amend format=$(_coblk_given -f --format) ;;
        create) format=$(_coblk_given -f --format) ;;
        *) format=$(_coblk_given -O --target-format) ;;
    esac
    [[ $how != amend ]] || : "${format:=qcow2}"
    "$program" $how -f "${format:-raw}" -o help 2>/dev/null |
        sed -n -E 's/^  ([a-zA-Z0-9_.-]+=)<.*/\1/p'
}

# _coblk_list PREFIX: the end of a list KEY=VALUE,... of an image's options.
_coblk_list()
{
    local prefix=$1 last
    last=${cur#"$prefix"}
    last=${last##*,}
    case $last in
        preallocation=*)
            _coblk_offer "${cur%"$last"}preallocation=" off metadata falloc full
            ;;
        *=*) ;;
        *)
            # shellcheck disable=SC2046 # words
            _coblk_offer "${cur%"$last"}" $(_coblk_keys)
            ;;
    esac
}

# _coblk_mount_list PREFIX: the same for mount, whose help has the values, too.
_coblk_mount_list()
{
    local prefix=$1 last keys values
    last=${cur#"$prefix"}
    last=${last##*,}
    keys=$(sed -n '/^Mount options:/,$p' <<<"$help" |
        sed -n -E 's/^  ([a-z][a-z_-]+)(=[^ ]*)?( .*)?$/\1\2/p')
    if [[ $last == *=* ]]; then
        values=$(sed -n "s/^${last%%=*}=//p" <<<"$keys" | grep -F '|' |
            tr '|' '\n' | sed -n 's/^\([a-z-]*\).*/\1/p')
        # shellcheck disable=SC2086 # words
        _coblk_offer "${cur%"$last"}${last%%=*}=" $values
    else
        # shellcheck disable=SC2046 # words
        _coblk_offer "${cur%"$last"}" $(sed 's/=.*/=/' <<<"$keys")
    fi
}

# _coblk_value NAME VALUE PREFIX: what an option takes that is called NAME, or
# whose value is called VALUE.  PREFIX is what $cur has in front of it.
_coblk_value()
{
    case $1:$2 in
        *:FORMAT) _coblk_offer "$3" raw qcow2 luks ;;
        *cache:*)
            _coblk_offer "$3" none writeback writethrough directsync unsafe
            ;;
        aio:*) _coblk_offer "$3" threads native ;;
        discard:*) _coblk_offer "$3" ignore unmap ;;
        output:*) _coblk_offer "$3" human json ;;
        repair:*) _coblk_offer "$3" leaks all ;;
        preallocation:*) _coblk_offer "$3" off metadata falloc full ;;
        object:*) _coblk_offer "$3" secret, ;;
        *:OPTIONS) _coblk_list "$3" ;;
        *:OPTION*) _coblk_mount_list "$3" ;;
        cmd:*)
            # shellcheck disable=SC2046,SC2086 # words; coblk-io has no command
            _coblk_offer "$3" $("$program" $command -c help 2>/dev/null |
                sed -n 's/^\([a-z_]*\) .*-- .*/\1/p')
            ;;
    esac
}

# Where something is mounted by coblk, of a table as /proc/self/mounts.
_coblk_mounts()
{
    local type where
    while read -r _ where type _; do
        [[ $type != fuse.coblk ]] || printf '%b\n' "$where"
    done
}

_coblk_operands()
{
    case $command in
        dd) _coblk_offer '' if= of= bs= count= skip= ;;
        umount | stat)
            local where
            while read -r where; do
                _coblk_offer '' "$where"
            done < <(_coblk_mounts </proc/self/mounts)
            compopt -o filenames 2>/dev/null
            ;;
    esac
}

# After a command: the value of an option, an option, or what it works on.
_coblk_arguments()
{
    local help letter name value last=${words[-1]}
    # shellcheck disable=SC2086 # coblk-io has no command
    help=$("$program" $command --help 2>/dev/null)
    if [[ " ${words[*]} " == *' -- '* ]]; then
        _coblk_operands
        return
    fi
    while IFS='|' read -r letter name value; do
        if [[ $cur == "--$name="* && $name ]]; then
            _coblk_value "$name" "$value" "--$name="
            return
        fi
        [[ $value ]] || continue
        if [[ ($name && $last == "--$name") ||
            ($letter && $last == -"$letter") ||
            ($letter && $last == -[a-zA-Z]*"$letter" && $last != --*) ]]; then
            _coblk_value "$name" "$value" ''
            return
        fi
    done < <(_coblk_options)
    if [[ $cur == -* ]]; then
        while IFS='|' read -r letter name value; do
            _coblk_offer '' ${name:+"--$name"}
        done < <(_coblk_options)
    else
        _coblk_operands
    fi
}

# Called by bash with the program's name; the line is in COMP_LINE.
_coblk()
{
    local line=${COMP_LINE:0:COMP_POINT} program=${1/#\~/${HOME-}}
    local cur=${line##*[[:space:]]} command='' word
    local -a words
    read -ra words <<<"${line%"$cur"}"
    COMPREPLY=()
    if [[ ${words[0]##*/} != *-io ]]; then
        for word in "${words[@]:1}"; do
            [[ $word == -* ]] || command=${command:-$word}
        done
        if [[ ! $command && $cur == -* ]]; then
            _coblk_offer '' --help --version
            return
        elif [[ ! $command ]]; then
            # shellcheck disable=SC2046 # words
            _coblk_offer '' $(_coblk_commands)
            return
        fi
    fi
    _coblk_arguments
}

complete -o bashdefault -o default -F _coblk coblk coblk-img coblk-io
