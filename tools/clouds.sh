#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# All functional tests on the embedded cloud in each of its shapes, one after the other; as root, with the
# plugin's environment first in PATH ("tox -e clouds"). Takes hours. What the tests have shown goes into
# doc/source/user/compatibility.json, of which the documentation makes its page of compatibility.
#
#   tools/clouds.sh [SHAPE...]      such as 2023.1 or 2026.2-ceph; default: all of them
#
#   CHECK=chosen    the chosen tests, instead of all of them
#   OUTPUT=FILE     the results go there
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# shellcheck source=tools/shapes.sh
. tools/shapes.sh

[ $# -gt 0 ] || set -- 2026.2 2026.2-ceph 2025.1 2024.1 2023.1
output="${OUTPUT:-doc/source/user/compatibility.json}"
code=0
leave_shape
if devcloud/devcloud status >/dev/null 2>&1; then
    echo "an embedded cloud is running: devcloud/devcloud down" >&2
    exit 1
fi
trap 'devcloud/devcloud down; exit 130' INT TERM
for shape in "$@"; do
    take_shape "$shape"
    results=$(mktemp -d)
    echo "== $shape"
    if devcloud/devcloud up; then
        eval "$(devcloud/devcloud env)"
        RESULTS="$results" tools/check.sh "${CHECK:-functional}" || code=1
        note_compatibility "$results" "$output" || code=1
    else
        code=1
    fi
    devcloud/devcloud down || code=1
    rm -rf "$results"
done
exit $code
