#!/usr/bin/env bash
# Fuzzes the parsers of foreign bytes, one after the other: scripts/fuzz.sh [SECONDS_EACH [PARSER…]]
#
# Needs cargo-fuzz (cargo install cargo-fuzz). Begins with what is kept in fixtures/fuzz; what it finds on the way goes to
# the target folder, and an input that does harm is named at the end. Those belong into fixtures/fuzz, with the mend.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true

cargo fuzz --version >/dev/null 2>&1 || { echo 'error: there is no cargo-fuzz; hint: cargo install cargo-fuzz' >&2; exit 1; }
target=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
fuzz() { cargo fuzz "$1" --fuzz-dir tests/fuzz --sanitizer none --debug-assertions --target-dir "$target" "${@:2}"; }

fuzz build
parsers=("$@")
[[ ${#parsers[@]} -gt 0 ]] || mapfile -t parsers < <(ls fixtures/fuzz)
harmed=()
for parser in "${parsers[@]}"; do
    found=$target/found/$parser harm=$target/harm/$parser
    mkdir -p "$found" "$harm"
    fuzz run "$parser" "$found" "fixtures/fuzz/$parser" -- -max_total_time="$seconds" -max_len=16384 -timeout=10 \
        -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$harm/" || harmed+=("$harm")
done
[[ ${#harmed[@]} -eq 0 ]] || { printf 'harmed by what lies in %s\n' "${harmed[@]}" >&2; exit 1; }
