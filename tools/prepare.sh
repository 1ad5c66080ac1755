# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced by tools/test.sh and tools/demo.sh: what both need on a machine that has nothing but Debian 12
# with Python 3.11. The caller has set root (of the checkout) and log (a directory), and has a function
# give_up MESSAGE [LOG FILE].

say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }

# Installs what is missing of the Debian packages that are named.
install_debian_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    [ ${#missing[@]} -eq 0 ] && return
    say "installing Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -q && apt-get install -q -y --no-install-recommends "${missing[@]}"; } \
        >"$log/apt.log" 2>&1 || give_up "apt-get failed" "$log/apt.log"
}

# pbr takes the version from git; git refuses a checkout of another account unless told otherwise.
prepare_version() {
    export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0="$root"
    git -C "$root" rev-parse --verify --quiet HEAD >/dev/null && return
    PBR_VERSION=$(sed -n 's/^version = //p' "$root/setup.cfg")
    export PBR_VERSION
    say "this is no clone: its version is taken for $PBR_VERSION"
}

# make_environment DIRECTORY newest|lowest [FILE...]: makes the environment with the plugin in it and with what
# the named files list besides; the plugin's own requirements are the newest that there are, or exactly the
# lower bounds of requirements.txt. It is made once; pip runs again when what it installs from has changed.
make_environment() {
    local directory=$1 versions=$2 requirements=() install file wanted
    shift 2
    install=("$directory/bin/python" -m pip install)
    [ "$versions" = lowest ] && install=("$directory/bin/python" "$root/tools/lowest.py")
    for file in requirements.txt "$@"; do requirements+=(-r "$root/$file"); done
    wanted="$versions $root $(cd "$root" && cat requirements.txt "$@" setup.cfg pyproject.toml | sha256sum)"
    [ "$(cat "$directory/installed" 2>/dev/null)" = "$wanted" ] && return
    say "making the environment $directory"
    {
        python3 -m venv --clear "$directory" &&
            "$directory/bin/python" -m pip install --upgrade pip &&
            "${install[@]}" "${requirements[@]}" &&
            "$directory/bin/python" -m pip install --no-deps -e "$root"
    } >"$log/pip-$versions.log" 2>&1 || give_up "pip failed" "$log/pip-$versions.log"
    echo "$wanted" >"$directory/installed"
}
