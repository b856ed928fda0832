#!/usr/bin/env bash
# Measures strongroom on one live SQLite database, beside SQLite's own ways to copy it and beside restic and borg of such
# a copy, in one run. `bench.sh --sets sqlite` calls it.
#
#   --repetitions N   medians are shown (default 3)
#   --megabytes N     size of the database (default 1000)
#   --work DIR        where to work (default ${TMPDIR:-/tmp}); what is made there is removed at the end
#   --markdown FILE   also write the report to FILE
#
# The page cache is warm: an app's database is in use. `.backup` is SQLite's backup API with all pages in one step, as the
# sqlite3 tool does it. It and VACUUM INTO write a copy that is neither compressed nor encrypted; restic and borg store a
# copy made by `.backup`, whose time counts: the live file, read plainly, is not consistent.
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/bench_measure.sh
options "$@"
prepare
cargo build --release --locked --quiet --example bench_sqlite
TOOL=$TARGET/examples/bench_sqlite
LIVE=$WORK/live.db

# beside NAME COMMAND…: times a command while a writer commits about every millisecond, and notes the latencies of the
# commits that began while the command ran, and only of those.
beside() {
    local name=$1 pid from to
    rm -f "$WORK/stop"
    "$TOOL" write "$LIVE" "$WORK/stop" >"$WORK/commits" &
    pid=$!
    sleep 1
    from=$EPOCHREALTIME
    timed "$@"
    to=$EPOCHREALTIME
    touch "$WORK/stop"
    wait "$pid" || die "the writer failed"
    awk -v from="${from/,/.}" -v to="${to/,/.}" '$1 >= from && $1 <= to { print $2 }' "$WORK/commits" | sort -g |
        awk -v name="$name" '{ v[NR] = $1 } END { if (!NR) exit 1
            printf "%s p50\t%s\n%s p99\t%s\n%s longest\t%s\n", name, v[int((NR + 1) / 2)], name, v[int(NR * 0.99 + 1)], name, v[NR] }' \
        >>"$SAMPLES" || die "no commit during $name"
}

# connected COMMAND…: runs a command while an app is connected to the database.
connected() {
    local pid
    rm -f "$WORK/stop"
    "$TOOL" hold "$LIVE" "$WORK/stop" &
    pid=$!
    "$@"
    touch "$WORK/stop"
    wait "$pid" || die "the connected app failed"
}

# share NAME COMMAND…: notes how much of the vault a command reads, in percent.
share() {
    local name=$1
    shift
    command -v strace >"$WORK/found" || return 0
    strace -f -y -e trace=read,pread64,readv,preadv -o "$WORK/trace" "$@" >"$WORK/out"
    note "$name" "$(awk -v vault="<$WORK/vault/" 'index($0, vault) && $NF > 0 { sum += $NF } END { print sum / 1e6 }' "$WORK/trace")"
}

# differing OLD: the pages that the live database has otherwise, in bytes.
differing() { "$TOOL" differ "$1" "$LIVE" | wc -c; }

vault() {
    export HOME=$WORK/home$1 STRONGROOM_VAULT=$WORK/vault$1 STRONGROOM_IDENTITY=$WORK/identity$1
    mkdir -p "$HOME"
    [[ -e $STRONGROOM_VAULT ]] || "$SR" --quiet init
}

# The changes of one repetition have seeds of their own: the same change twice would change nothing.
captures() {
    local before
    vault ""
    timed first "$SR" --quiet backup "$LIVE"
    before=$(size "$WORK/vault")
    note size "$before"
    cp "$LIVE" "$WORK/before.db"
    "$TOOL" change "$LIVE" "${1}1" 2000
    note differing "$("$TOOL" differ "$WORK/before.db" "$LIVE" | zstd -3 -c | megabytes)"
    note pages "$(($(differing "$WORK/before.db") / 4096))"
    rm "$WORK/before.db"
    timed second "$SR" --quiet backup "$LIVE"
    note growth "$(awk "BEGIN { print $(size "$WORK/vault") - $before }")"
    sleep 1.2 # a file that changed just now is read again
    "$SR" --quiet backup "$LIVE"
    timed unchanged "$SR" --quiet backup "$LIVE"
}

uses() {
    local id=$((MEGABYTES * 75)) number=2 options snapshot
    # `latest` is the safety snapshot afterwards.
    snapshot=$("$SR" --json snapshots | grep -o '"id": "[0-9a-f]\{32\}"' | tail -1 | cut -d'"' -f4)
    timed restore "$SR" --quiet restore latest --to "$WORK/restored"
    cmp "$LIVE" "$WORK/restored/live.db" || die "what was restored is not what was captured"
    local -a key=("$SR" query latest "SELECT length(title) FROM documents WHERE id = $id")
    timed key "${key[@]}"
    share read "${key[@]}"
    timed scan "$SR" query latest "SELECT 'bytes', sum(length(title) + length(body)) FROM documents"
    note text "$(grep -o '[0-9]\{6,\}' "$WORK/out" | awk '{ print $1 / 1e6 }')"
    # Each on the morning after, so to speak: what was captured last is what is given back.
    for options in --no-safety ""; do
        # So many rows are about 2,000 pages.
        "$TOOL" change "$LIVE" "$1$number" 1430
        note "place$options pages" "$(($(differing "$WORK/restored/live.db") / 4096))"
        connected timed "place$options" "$SR" --quiet restore "$snapshot" --in-place $options
        # The first page tells other connections that the database is another one.
        (($(differing "$WORK/restored/live.db") <= 4096)) || die "what was given back in place is not what was captured"
        number=$((number + 1))
    done
    rm -rf "$WORK/restored"
}

# A first capture takes most of the machine: into another vault.
load() {
    vault .loaded
    beside alone sleep 5
    beside loaded "$SR" --quiet backup "$LIVE"
    rm -rf "$STRONGROOM_VAULT" "$STRONGROOM_IDENTITY" "$HOME"
    vault ""
}

peers() {
    local phase tool before seed=8
    timed backup "$TOOL" backup "$LIVE" "$WORK/copy.db"
    timed pipeline bash -c "set -o pipefail; zstd -3 -q -c '$WORK/copy.db' | age -r '$RECIPIENT' -o '$WORK/copy.zst.age'"
    note "pipeline size" "$(stat -c %s "$WORK/copy.zst.age" | awk '{ print $1 / 1e6 }')"
    timed vacuum "$TOOL" vacuum "$LIVE" "$WORK/vacuumed.db"
    rm -f "$WORK/copy.zst.age" "$WORK/vacuumed.db" "$WORK/copy.db"
    export RESTIC_REPOSITORY=$WORK/restic RESTIC_PASSWORD=x BORG_REPO=$WORK/borg BORG_PASSPHRASE=x
    for tool in "${PEERS[@]}"; do "${tool}_init" >"$WORK/out" 2>"$WORK/log"; done
    for phase in first second; do
        for tool in "${PEERS[@]}"; do
            before=$(size "$WORK/$tool")
            timed "$tool $phase" bash -c "'$TOOL' backup '$LIVE' '$WORK/copy.db' && $("${tool}_store" "$phase")"
            note "$tool $phase growth" "$(awk "BEGIN { print $(size "$WORK/$tool") - $before }")"
            rm -f "$WORK/copy.db"
        done
        "$TOOL" change "$LIVE" "$1$seed" 2000
    done
    rm -rf "$WORK/restic" "$WORK/borg"
}
restic_init() { restic init; }
restic_store() { echo "restic --quiet backup '$WORK/copy.db'"; }
borg_init() { borg init --encryption repokey-blake2; }
borg_store() { echo "borg create --compression zstd,3 '::$1' '$WORK/copy.db'"; }

peer_cells() {
    local tool
    for tool in "${PEERS[@]}"; do printf ' %s |' "$(value "$tool $1" "$2")"; done
}

report() {
    echo "### sqlite: one live database of $(value file %.0f) MB"
    echo
    local tool line
    line="Medians of $REPETITIONS, $(nproc) cores, page cache warm; $("$SR" --version)"
    for tool in "${PEERS[@]}"; do line+=", $({ "$tool" --version || "$tool" version; } 2>"$WORK/log" | cut -d' ' -f1,2)"; done
    echo "$line."
    echo
    echo "| | strongroom | \`.backup\` | \`.backup\`, zstd -3, age | VACUUM INTO |$(printf ' %s of `.backup` |' "${PEERS[@]}")"
    echo "|:--|--:|--:|--:|--:|$(printf -- '--:|%.0s' "${PEERS[@]}")"
    echo "| first capture, s | $(value first) | $(value backup) | $(times 1 backup pipeline) | $(value vacuum) |$(peer_cells first %.2f)"
    echo "| after 2,000 row updates, s | $(value second) | – | – | – |$(peer_cells second %.2f)"
    echo "| stored by the first, MB | $(value size %.1f) | – | $(value 'pipeline size' %.1f) | – |$(peer_cells 'first growth' %.1f)"
    echo "| stored by the second, MB | $(value growth) | – | – | – |$(peer_cells 'second growth' %.1f)"
    echo
    echo "| strongroom | | bar |"
    echo "|:--|--:|--:|"
    echo "| first capture, s | $(value first) | $(times 1.3 backup pipeline) |"
    echo "| after 2,000 row updates ($(value pages %.0f) pages), s | $(value second) | $(times 0.5 first) |"
    echo "| stored by it, MB; the pages at zstd -3: $(value differing) | $(value growth) | $(times 2 differing) |"
    echo "| nothing changed, s | $(value unchanged) | |"
    echo "| restore to a file, s | $(value restore) | |"
    echo "| in place, $(value 'place pages' %.0f) pages, safety snapshot included, s | $(value place) | 2 |"
    echo "| in place, $(value 'place--no-safety pages' %.0f) pages, without it, s | $(value place--no-safety) | |"
    echo "| \`query\` by primary key, s | $(value key %.3f) | 0.2 |"
    echo "| … what it reads, MB | $(value read) | $(times 0.01 size) |"
    echo "| \`query\` that reads all text, MB of it per second | $(awk "BEGIN { printf \"%.0f\", $(value text) / $(value scan) }") | 100 |"
    echo "| first capture beside a writer, s | $(value loaded) | |"
    echo "| its commits meanwhile: p99, ms | $(value 'loaded p99' %.3f) | $(awk "BEGIN { printf \"%.3f\", 2 * $(value 'alone p99' %.4f) }") |"
    echo "| … median and longest, ms | $(value 'loaded p50' %.3f), $(value 'loaded longest' %.1f) | |"
    echo "| … alone: median, p99, longest, ms | $(value 'alone p50' %.3f), $(value 'alone p99' %.3f), $(value 'alone longest' %.1f) | |"
    local phase
    for phase in first second loaded restore place key scan; do
        echo "| peak memory, $phase, MB | $(value "$phase, MB" %.0f) | 134 |"
    done
}

for tool in age age-keygen zstd; do command -v "$tool" >"$WORK/found" || die "$tool is not installed"; done
PEERS=()
for tool in restic borg; do
    if command -v "$tool" >"$WORK/found"; then PEERS+=("$tool"); else echo "$tool is not installed: skipped" >&2; fi
done
age-keygen -o "$WORK/age" 2>"$WORK/log"
RECIPIENT=$(age-keygen -y "$WORK/age")
for ((number = 1; number <= REPETITIONS; number++)); do
    rm -rf "$LIVE"* "$WORK/vault" "$WORK/identity" "$WORK/home"
    "$TOOL" make "$LIVE" "$MEGABYTES"
    note file "$(stat -c %s "$LIVE" | awk '{ print $1 / 1e6 }')"
    captures "$number"
    uses "$number"
    load
    peers "$number"
    echo "sqlite, repetition $number of $REPETITIONS done" >&2
done
publish
