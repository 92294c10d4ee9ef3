# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Sourced by scripts that need Debian packages.

# What building coblk takes, and what using it takes.
# shellcheck disable=SC2034 # for those who source this
packages_build=(gcc libc6-dev meson ninja-build pkgconf
    libfuse3-dev libaio-dev libglib2.0-dev libblkid-dev zlib1g-dev
    libzstd-dev libdeflate-dev nettle-dev fuse3)

# packages_missing PACKAGE...: those that are not installed, one a line.
packages_missing()
{
    local package
    for package; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null |
            grep -qx installed || echo "$package"
    done
}

# packages_ensure PACKAGE...: install what is missing when root, else say how.
# Returns 1 when something stays missing.
packages_ensure()
{
    local missing
    if ! command -v dpkg-query >/dev/null; then
        echo "This is not Debian; these packages' equivalents are needed: $*"
        return 0
    fi
    mapfile -t missing < <(packages_missing "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "These packages are missing; as root, run"
        echo "    apt-get install ${missing[*]}"
        return 1
    fi
    echo "Installing ${missing[*]}"
    packages_install "${missing[@]}"
}

packages_install()
{
    local log
    log=$(mktemp)
    # Servers may be slow to answer, and the system may be installing, too.
    local options=(-o Acquire::Retries=3 -o DPkg::Lock::Timeout=300)
    if apt-get "${options[@]}" update >"$log" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install -y \
            --no-install-recommends "$@" >>"$log" 2>&1; then
        rm -f "$log"
        return 0
    fi
    tail -n 15 "$log"
    rm -f "$log"
    return 1
}
