#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The whole story on a real cloud, on a machine that has nothing but Debian 12 with Python 3.11; as root:
# a server with two volumes, the image of 0 bytes that is taken for its backup, the export that has every
# byte, and the server exported, deleted and brought back. Installs what is missing and starts the embedded cloud; the second run is quick.
#
#   KEEP_CLOUD=1    leaves the cloud running (one that ran before is always left running)
#   XDG_STATE_HOME  where the environment and the cloud live (default: ~/.local/state)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state="${XDG_STATE_HOME:-$HOME/.local/state}/osc-imagetools/demo"
venv="$state/venv"
log="$state/log"
work="$state/work"

give_up() {
    say "$1"
    [ -z "${2:-}" ] || tail -n 40 "$2"
    exit 1
}

# shellcheck source=tools/prepare.sh
. "$root/tools/prepare.sh"

tell() { printf '\n\e[1m# %s\e[0m\n' "$*" | { if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9]*m//g'; fi; }; }

# Shows a command as it is typed, then what it does.
run() {
    printf '$ %s\n' "$*"
    "$@"
}

quietly() { "$@" >>"$log/demo.log" 2>&1 || give_up "failed: $*" "$log/demo.log"; }

await() { # kind, name, state
    local found=
    for _ in $(seq 1 200); do
        found=$(openstack $1 show "$2" -f value -c status)
        [ "$found" = "$3" ] && return
        case $found in error* | ERROR) break ;; esac
        sleep 0.5
    done
    give_up "$1 $2 is $found"
}

# --- what the demo leaves in the cloud, removed before and after ---------------------------------

ids() { openstack "$@" list -f value -c ID -c Name | awk '$2 ~ /^(snapshot for )?web01/ {print $1}'; }

clean_up() {
    local found
    found=$(ids server) && [ -z "$found" ] || quietly openstack server delete --wait $found
    found=$(ids image) && [ -z "$found" ] || quietly openstack image delete $found
    found=$(openstack volume snapshot list -f value -c ID -c Name | awk '/snapshot for web01/ {print $1}')
    [ -z "$found" ] || quietly openstack volume snapshot delete $found
    while openstack volume snapshot list -f value -c Name | grep -q 'snapshot for web01'; do sleep 0.5; done
    found=$(ids volume) && [ -z "$found" ] || quietly openstack volume delete $found
}

# --- preparation ---------------------------------------------------------------------------------

[ "$(id -u)" -eq 0 ] || { echo "run this as root: it installs packages and starts a cloud" >&2; exit 2; }
mkdir -p "$log"
for name in $(compgen -e | grep -E '^(OS_|PYTHON|DEVCLOUD_|RESTIC_)'); do unset "$name"; done
install_debian_packages ca-certificates git python3 qemu-utils
prepare_version
make_environment "$venv" newest
export PATH="$venv/bin:$PATH"
started=false
if ! "$root/devcloud/devcloud" status >/dev/null 2>&1; then
    started=true
    "$root/devcloud/devcloud" up
fi
finish() {
    "$started" && [ -z "${KEEP_CLOUD:-}" ] && "$root/devcloud/devcloud" down
    rm -rf "$work"
}
trap finish EXIT
eval "$("$root/devcloud/devcloud" env)"
rm -rf "$work"
mkdir -p "$work"
cd "$work"

say "making a server that boots from a volume, with a second volume: web01"
clean_up
quietly "$root/devcloud/devcloud" guest root.raw 64
head -c 48M /dev/urandom >data.raw
for disk in root data; do
    quietly openstack image create --disk-format raw --container-format bare --file "$disk.raw" "web01-$disk"
    quietly openstack volume create --size 1 --image "web01-$disk" "web01-$disk"
done
await volume web01-root available
await volume web01-data available
quietly openstack volume set --bootable web01-root

# --- the story -----------------------------------------------------------------------------------

tell "A server that boots from a volume and has a second one. Its guest has written to its disk."
run openstack server create --volume web01-root --block-device uuid=$(openstack volume show web01-data \
    -f value -c id),source_type=volume,destination_type=volume,boot_index=-1 \
    --flavor tiny --nic none --wait web01 -f value -c name -c status
for _ in $(seq 1 60); do
    openstack console log show web01 | grep -q WROTE && break
    sleep 0.5
done
run openstack console log show web01 | tr -d '\r' | grep .

tell "What many take for its backup"
run openstack server image create --name web01-backup --wait web01 -f value -c name -c status
run openstack image show web01-backup -c status -c size -c checksum
run openstack image save --file web01-backup.img web01-backup
printf '$ echo $?\n%s\n' $?
run ls -l web01-backup.img

tell "What it takes to get the bytes, beforehand: the plan"
run openstack image export-full web01-backup --dry-run

tell "And the bytes"
run openstack image export-full web01-backup
run openstack bundle verify web01-backup.bundle

tell "The bundle can be used and checked without this tool"
(cd web01-backup.bundle && run sha512sum -c SHA512SUMS)
run qemu-img info web01-backup.bundle/disks/0-vda.qcow2 | grep -vE 'cluster|specific'
run qemu-img info web01-backup.bundle/disks/1-vdb.qcow2 | grep -vE 'cluster|specific'

tell "The bytes are those that were in the volumes: what was put there, and what the guest wrote"
{ printf 'WRITTEN-BY-GUEST'; head -c 496 /dev/zero; } | dd of=root.raw bs=512 seek=2 conv=notrunc status=none
truncate -s 1G root.raw data.raw
run qemu-img compare -f qcow2 -F raw web01-backup.bundle/disks/0-vda.qcow2 root.raw
run qemu-img compare -f qcow2 -F raw web01-backup.bundle/disks/1-vdb.qcow2 data.raw

tell "The same for the whole server, beforehand: what would a backup miss, what are the old ones worth?"
run openstack server backup-check web01 -c Severity -c Reason || true

tell "Every disk at one moment, and all that it takes to make the server again"
run openstack server export-full web01
openstack bundle verify web01.bundle >/dev/null

tell "Gone, with its volumes"
quietly openstack image delete web01-backup
for found in $(openstack volume snapshot list -f value -c ID -c Name | awk '/snapshot for web01/ {print $1}'); do
    quietly openstack volume snapshot delete "$found"
    while openstack volume snapshot list -f value -c ID | grep -q "$found"; do sleep 0.5; done
done
run openstack server delete --wait web01
run openstack volume delete web01-root web01-data

tell "And back"
run openstack server import-full web01.bundle --wait
for _ in $(seq 1 60); do
    openstack console log show web01 | grep -q WROTE && break
    sleep 0.5
done
run openstack console log show web01 | tr -d '\r' | grep .
quietly openstack volume export-full web01-data --output again.bundle
run qemu-img compare -f qcow2 -F raw again.bundle/disks/0-volume.qcow2 data.raw

say "removing the server and its volumes"
clean_up
say "took $((SECONDS / 60)) min $((SECONDS % 60)) s"
