#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The checks of this project, one definition each. tox, pre-commit and tools/test.sh call them, with
# the environment's programs first in PATH.
#
#   tools/check.sh lint|types|unit|cover|functional|chosen|plugins|browser|package|docs|releasenotes [test filter]
#
# The record of those that run tests goes into $RESULTS/.stestr (default: here).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Runs the tests below a folder; the other arguments are a filter, or options of "stestr run".
run_tests() {
    local folder=$1 top=$2
    shift 2
    stestr --repo-url "${RESULTS:-.}" --test-path "$folder" --top-dir "$top" run "$@"
}

case "${1:-}" in
lint)
    bash -n tools/*.sh .ci/run
    ruff check
    ruff format --check
    ;;
types)
    mypy osc_imagetools benchmarks tools doc/source/_ext
    MYPYPATH=devcloud mypy --explicit-package-bases -p orchestrator
    ;;
unit)
    code=0
    # Some wait most of their time: two processes for each processor.
    run_tests osc_imagetools/tests/unit . --concurrency "$(($(getconf _NPROCESSORS_ONLN) * 2))" "${@:2}" || code=$?
    if [ $# -eq 1 ]; then
        # The orchestrator of the embedded cloud; its results are added to those above.
        run_tests devcloud/tests devcloud --combine || code=$?
    fi
    exit $code
    ;;
cover)
    coverage erase
    PYTHON="coverage run --parallel-mode" \
        run_tests osc_imagetools/tests/unit . "${@:2}"
    coverage combine --quiet
    coverage html --quiet --directory cover
    coverage report
    coverage json --quiet -o - | python tools/coverage_table.py
    ;;
functional)
    run_tests osc_imagetools/tests/functional . --worker-file tools/functional-workers.yaml "${@:2}"
    ;;
browser)
    run_tests osc_imagetools/tests/browser . "${@:2}"
    ;;
chosen)
    # Ten minutes of the functional tests, for clients and clouds other than those that all of them run with.
    # A class of tests stays in one process: what its tests share is expensive. Only Ceph makes clones.
    clones=(--exclude-regex 'functional\.test_clones\.')
    [ "${DEVCLOUD_STORAGE:-file}" != ceph ] || clones=()
    run_tests osc_imagetools/tests/functional . --include-list tools/functional-chosen.txt \
        --concurrency 3 --group-regex '([^.]+[.])+' "${clones[@]}" "${@:2}"
    ;;
plugins)
    run_tests osc_imagetools/tests/plugins . "${@:2}"
    python benchmarks/plugin_cost.py --fail-above 10
    ;;
package)
    python tools/check_package.py
    ;;
docs)
    rm -rf doc/build
    strict="-W --keep-going"
    # Outside of a clone the theme warns that it finds no commit to name.
    git rev-parse --verify --quiet HEAD >/dev/null 2>&1 || strict=""
    for builder in html man; do
        # shellcheck disable=SC2086 # these are two words
        sphinx-build -q $strict -b "$builder" -d doc/build/doctrees doc/source "doc/build/$builder"
    done
    ;;
releasenotes)
    rm -rf releasenotes/build
    build="$PWD/releasenotes/build"
    if [ "$(git rev-parse --is-shallow-repository 2>/dev/null)" != false ]; then
        # reno reads the history, and here is none, or not all: one commit of the notes will do.
        copy=$(mktemp -d)
        trap 'rm -rf "$copy"' EXIT
        cp -r releasenotes "$copy"
        cd "$copy"
        git init --quiet
        git add .
        git -c user.name=check -c user.email=check@localhost commit --quiet --message "Notes"
    fi
    reno lint
    sphinx-build -q -W --keep-going -b html -d "$build/doctrees" releasenotes/source "$build/html"
    ;;
*)
    sed -n '/^#   /s/^#   //p' "$0" >&2
    exit 2
    ;;
esac
