#!/usr/bin/env bash
# All checks: formatting, lints, tests against real servers, scripts, README commands. Installs what it needs.
#
# One build profile only: a second one would double the time and find nothing more.
set -euo pipefail
cd "$(dirname "$0")/.."
was_clean=$(git status --porcelain 2>/dev/null | head -n 1)

step() {
    local name=$1 start=$SECONDS
    shift
    printf '== %s\n' "$name"
    "$@"
    printf '== %s: ok, %s s\n' "$name" $((SECONDS - start))
}

# cargo fmt passes over modules that are declared by a macro, so every file is named.
formatting() { git ls-files -z '*.rs' | xargs -0 rustfmt --check --edition 2024; }

scripts() {
    local script
    while IFS= read -r script; do bash -n "$script"; done < <(git ls-files '*.sh' .ci/run)
}

tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --locked --no-fail-fast
    else
        cargo test --locked
    fi
}

# Permissive licences, one registry, no crate that is not wanted or known to be unsafe: deny.toml.
licences() {
    local deny
    deny=$(scripts/services.sh --path)/cargo-deny
    [[ -x $deny ]] || deny=$(command -v cargo-deny) || deny=
    if [[ -z $deny ]]; then
        echo 'licences, sources and advisories of dependencies: there is no cargo-deny' >>"$STRONGROOM_NOT_TESTED"
        return
    fi
    "$deny" --locked check licenses bans sources
    # The database of advisories is fetched. Where it cannot be had, that is said and nothing fails.
    if timeout 60 "$deny" fetch db >/dev/null 2>&1; then
        "$deny" --locked check advisories
    else
        echo 'advisories about dependencies: their database cannot be fetched here' >>"$STRONGROOM_NOT_TESTED"
    fi
}

readme() { STRONGROOM_BIN=${CARGO_TARGET_DIR:-target}/debug/strongroom scripts/readme_commands.sh; }

# Tests that had to leave something out say so in this file, because nobody sees what a test prints that passes.
STRONGROOM_NOT_TESTED=$(mktemp)
export STRONGROOM_NOT_TESTED
trap 'rm -f "$STRONGROOM_NOT_TESTED"' EXIT
left_out() { sort -u "$STRONGROOM_NOT_TESTED" | sed 's/^/NOT TESTED: /'; }

unchanged() { [[ -n $was_clean ]] || git diff --exit-code; }

step 'what the tests need' scripts/services.sh
step formatting formatting
step scripts scripts
step lints cargo clippy --locked --all-targets -- -D warnings
step licences licences
step tests tests
[[ ! -x scripts/readme_commands.sh ]] || step 'README commands' readme
step 'nothing changed by the checks' unchanged
left_out
