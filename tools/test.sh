#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# All tests, on a machine that has nothing but Debian 12 with Python 3.11; as root.
#
# Installs what is missing, runs the checks of tools/check.sh but "cover" and "plugins", starts the embedded
# clouds for the functional tests (without the data of earlier ones; one that runs is used as it is), and closes
# with "N passed, N failed": tests as the runner counted them, every other check as one. Exits with 0 when nothing
# failed and no check came out empty.
#
# The versions of what the plugin runs on: all tests with the newest, all unit tests and the chosen
# functional tests with exactly the lower bounds of requirements.txt. The clouds: all functional tests on the
# newest release on files; the chosen ones on Ceph, and with the lower bounds on the oldest release.
#
#   KEEP_CLOUD=1    leaves the cloud running (one that ran before is always left running)
#   XDG_STATE_HOME  where the environment, the cloud and the logs live (default: ~/.local/state)
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1

state="${XDG_STATE_HOME:-$HOME/.local/state}/osc-imagetools/test"
venv="$state/venv"
lowest="$state/lowest"
log="$state/log"
passed=0 failed=0 skipped=0
started_cloud=false on_other=false stopped_first=false

# shellcheck source=tools/prepare.sh
. tools/prepare.sh
# shellcheck source=tools/shapes.sh
. tools/shapes.sh
# The other shapes of the cloud, and the versions of what the plugin runs on there.
OTHER_SHAPES=(2026.2-ceph:newest 2023.1:lowest)

give_up() {
    say "$1"
    [ -z "${2:-}" ] || tail -n 40 "$2"
    finish 1
}

# --- checks -------------------------------------------------------------------------------------

# A check that is one thing: it passes or it fails.
check() {
    local name=$1
    say "$name"
    if tools/check.sh "$name" >"$log/$name.log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        say "$name FAILED"
        tail -n 60 "$log/$name.log"
    fi
}

# tests CHECK [newest|lowest [SHAPE]]: a check that runs tests: each of them counts. One that runs none has failed.
tests() {
    local check=$1 name=$1 path=$PATH code=0 counts ran_well ran_badly left_out
    [ "${2:-newest}" = newest ] || { path="$lowest/bin:$PATH" name+=-lowest; }
    name+=${3:+-$3}
    results="$state/results/$name"
    say "$name"
    rm -rf "$results" && mkdir -p "$results"
    RESULTS="$results" PATH="$path" tools/check.sh "$check" >"$log/$name.log" 2>&1 || code=$?
    counts=$(stestr --repo-url "$results" last --subunit 2>>"$log/$name.log" | tools/results.py)
    read -r ran_well ran_badly left_out <<<"${counts:-0 0 0}"
    if [ "$ran_badly" -eq 0 ] && { [ "$code" -ne 0 ] || [ "$ran_well" -eq 0 ]; }; then
        ran_badly=1 # the runner itself failed, or found nothing to run
    fi
    passed=$((passed + ran_well)) failed=$((failed + ran_badly)) skipped=$((skipped + left_out))
    say "$name: $ran_well passed, $ran_badly failed, $left_out skipped"
    if [ "$ran_badly" -gt 0 ]; then
        grep -vE '^\{[0-9]+\}.* (ok|SKIPPED)' "$log/$name.log" | tail -n 200
    fi
}

functional_tests() {
    if ! devcloud/devcloud status >"$log/devcloud.log" 2>&1; then
        started_cloud=true
        say "starting the embedded cloud"
        export DEVCLOUD_SWIFT=1
        # As new: what a run that was killed has left there is no finding of this one. Without the lock's
        # descriptor: the cloud outlives this script.
        if ! { devcloud/devcloud down --wipe && devcloud/devcloud up; } >"$log/devcloud.log" 2>&1 9>&-; then
            failed=$((failed + 1))
            say "the embedded cloud FAILED"
            tail -n 60 "$log/devcloud.log"
            return
        fi
    fi
    eval "$(devcloud/devcloud env)"
    tests functional
    note_compatibility "$results" "$compatibility" || failed=$((failed + 1))
    leave_shape
}

# The chosen tests on the cloud in its other shapes. All use the same ports, so the first one makes way, and
# comes back where it is to run on.
tests_on_other_clouds() {
    local entry shape
    if ! "$started_cloud" || [ -n "${KEEP_CLOUD:-}" ]; then stopped_first=true; fi
    devcloud/devcloud down >>"$log/devcloud.log" 2>&1 || say "the cloud did not stop: $log"
    for entry in "${OTHER_SHAPES[@]}"; do
        shape=${entry%:*}
        take_shape "$shape"
        on_other=true
        say "starting the embedded cloud $shape"
        if { devcloud/devcloud down --wipe && devcloud/devcloud up; } >"$log/devcloud-$shape.log" 2>&1 9>&-; then
            eval "$(devcloud/devcloud env)"
            tests chosen "${entry#*:}" "$shape"
            note_compatibility "$results" "$compatibility" || failed=$((failed + 1))
        else
            failed=$((failed + 1))
            say "the embedded cloud $shape FAILED"
            tail -n 60 "$log/devcloud-$shape.log"
        fi
        devcloud/devcloud down >>"$log/devcloud-$shape.log" 2>&1 || say "the cloud did not stop: $log"
        on_other=false
        leave_shape
    done
    ! "$stopped_first" || bring_back_cloud
}

# The first cloud runs again, as it did before it made way.
bring_back_cloud() {
    stopped_first=false
    DEVCLOUD_SWIFT=1 devcloud/devcloud up >>"$log/devcloud.log" 2>&1 9>&- ||
        say "the cloud did not come back: $log"
}

stop_cloud() {
    "$started_cloud" || return
    if [ -n "${KEEP_CLOUD:-}" ]; then
        say "the embedded cloud is left running: devcloud/devcloud down"
    else
        devcloud/devcloud down >>"$log/devcloud.log" 2>&1 || say "the cloud did not stop: $log"
    fi
    started_cloud=false
}

finish() {
    local code=${1:-0}
    trap - EXIT
    # Cut short on another cloud: that one ends.
    ! "$on_other" || devcloud/devcloud down >>"$log/devcloud.log" 2>&1
    leave_shape
    ! "$stopped_first" || bring_back_cloud
    stop_cloud
    [ "$failed" -eq 0 ] && [ "$code" -ne 0 ] && failed=1
    say "took $((SECONDS / 60)) min $((SECONDS % 60)) s; logs in $log"
    if [ "$skipped" -gt 0 ]; then
        echo "$passed passed, $failed failed, $skipped skipped"
    else
        echo "$passed passed, $failed failed"
    fi
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
    exit
}

# --- all of it ----------------------------------------------------------------------------------

[ "$(id -u)" -eq 0 ] || { echo "run this as root: it installs packages and starts a cloud" >&2; exit 2; }
mkdir -p "$log"
exec 9>"$state/lock"
flock -n 9 || { echo "another run of this script holds $state/lock" >&2; exit 1; }
trap 'finish 1' EXIT
trap 'exit 130' INT TERM

# Nobody else's cloud, and no Python settings from outside.
for name in $(compgen -e | grep -E '^(OS_|PYTHON|DEVCLOUD_|RESTIC_)'); do unset "$name"; done
leave_shape
compatibility="$state/compatibility.json"
rm -f "$compatibility"

install_debian_packages ca-certificates chromium chromium-driver git graphviz jq libnbd-bin \
    openssh-client openssh-server python3 qemu-utils restic zookeeper
prepare_version
make_environment "$venv" newest test-requirements.txt doc/requirements.txt
make_environment "$lowest" lowest test-requirements.txt
export PATH="$venv/bin:$PATH"

check lint
check types
tests unit
tests unit lowest
tests browser
check package
check docs
check releasenotes
functional_tests
tests_on_other_clouds
finish 0
