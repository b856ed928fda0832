#!/usr/bin/env bash
# Runs the commands of README.md as they stand there, in one go, with a fresh HOME in a temporary folder.
#
#   scripts/readme_commands.sh [PROGRAM]      # otherwise $STRONGROOM_BIN, otherwise target/release/strongroom
#
# A block counts when the line before its fence is <!-- test -->; in a console block, the lines that begin with "$ ".
# A block after <!-- test: FILE --> becomes that file. Any command that fails fails the run, and says where it stands.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd -P)
program=$(realpath -- "${1:-${STRONGROOM_BIN:-$root/target/release/strongroom}}")
[ -x "$program" ] || { echo "build it first: cargo build --release --locked" >&2; exit 2; }
for tool in jq age-keygen python3; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 2; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/readme.XXXXXXXX")
trap 'rm -rf -- "$work"' EXIT
mkdir -p "$work/bin" "$work/home/app/data" "$work/here"
ln -s "$program" "$work/bin/strongroom"
printf 'remember the milk\n' >"$work/home/app/notes.txt"
printf 'id,total\n1,9.50\n' >"$work/home/app/data/orders.csv"
seq 1 100000 >"$work/home/app/data/numbers"
python3 - "$work/home/app/data/shop.db" <<'END'
import sqlite3, sys
shop = sqlite3.connect(sys.argv[1])
shop.execute("PRAGMA journal_mode = WAL")
shop.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)")
shop.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers, total REAL)")
shop.executemany("INSERT INTO customers VALUES (?, ?)", [(i, "Customer %d" % i) for i in range(1, 101)])
shop.executemany("INSERT INTO orders VALUES (?, ?, ?)", [(i, 1 + i % 100, i * 1.5) for i in range(1, 501)])
shop.commit()
END

# All of it becomes one script, in the order of the page, that knows the line each command stands on.
awk '
    /^<!-- test -->$/ { mode = "run"; next }
    /^<!-- test: [A-Za-z0-9._-]+ -->$/ { mode = "file"; file = $3; next }
    /^```/ && mode != "" && !inside {
        inside = 1
        console = ($0 ~ /^```console/)
        if (mode == "file") printf "cat >%s <<\"README_END\"\n", file
        next
    }
    /^```/ && inside {
        if (mode == "file") print "README_END"
        inside = 0
        mode = ""
        next
    }
    !inside { mode = ""; next }
    mode == "file" { print; next }
    console && sub(/^\$ /, "") == 0 { next }
    mode == "run" && NF { printf "at=%d\n%s\n", NR, $0 }
' "$root/README.md" >"$work/commands"
count=$(grep -c '^at=' "$work/commands" || :)
[ "$count" -gt 0 ] || { echo "README.md has no block marked for testing" >&2; exit 1; }

{
    echo 'set -eEuo pipefail'
    echo 'trap '\''echo "README.md, line $at: failed with $?" >&2'\'' ERR'
    cat "$work/commands"
} >"$work/script"

cd "$work/here"
status=0
env -i HOME="$work/home" PATH="$work/bin:$PATH" TMPDIR="${TMPDIR:-/tmp}" LANG="${LANG:-C.UTF-8}" \
    bash "$work/script" >"$work/output" 2>&1 </dev/null || status=$?
if [ "$status" -ne 0 ]; then
    cat "$work/output" >&2
    exit 1
fi
echo "README.md: $count commands run as written"
