# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Sourced by tools/test.sh and tools/clouds.sh: the shapes of the embedded cloud that tests run on, by names such
# as "2023.1" and "2026.2-ceph": a release, and on Ceph if it says so. The caller stands in the root of the checkout.

# What "devcloud env" exports.
SHAPE_VARIABLES=(OS_CLIENT_CONFIG_FILE OS_CLOUD
    DEVCLOUD_STORAGE DEVCLOUD_RELEASE DEVCLOUD_SWIFT DEVCLOUD_NOVA_MAX DEVCLOUD_CINDER_MAX DEVCLOUD_GLANCE_MAX)

# take_shape NAME: from here on, devcloud is about the cloud of this shape.
take_shape() {
    leave_shape
    export DEVCLOUD_RELEASE="${1%-ceph}" DEVCLOUD_STORAGE=file
    case "$1" in *-ceph) DEVCLOUD_STORAGE=ceph ;; esac
}

# From here on, devcloud is about the default one.
leave_shape() { unset "${SHAPE_VARIABLES[@]}"; }

# note_compatibility RESULTS FILE: what the run recorded in the folder RESULTS has shown of this cloud.
note_compatibility() {
    stestr --repo-url "$1" last --subunit 2>/dev/null |
        tools/compatibility.py "$2" "$DEVCLOUD_RELEASE" "$DEVCLOUD_STORAGE"
}
