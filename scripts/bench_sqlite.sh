#!/usr/bin/env bash
# Measures strongroom on one live SQLite database, beside SQLite's own ways to copy it and beside restic and borg of such
# a copy, in one run.
#
#   --repetitions N   medians are shown (default 3)
#   --megabytes N     size of the database (default 1000)
#   --work DIR        where to work (default ${TMPDIR:-/tmp}); what is made there is removed at the end
#   --markdown FILE   also write the report to FILE
#
# The page cache is warm: an app's database is in use. `.backup` and VACUUM INTO write a copy that is neither compressed
# nor encrypted; their rows for restic and borg include the time for the `.backup` that they store.
set -euo pipefail
cd "$(dirname "$0")/.."

REPETITIONS=3 MEGABYTES=1000 PARENT=${TMPDIR:-/tmp} MARKDOWN=
die() { echo "bench_sqlite: $*" >&2; exit 1; }
while (($#)); do
    [[ $# -gt 1 ]] || die "$1 is unknown or needs a value"
    case $1 in
        --repetitions) REPETITIONS=$2 ;;
        --megabytes) MEGABYTES=$2 ;;
        --work) PARENT=$2 ;;
        --markdown) MARKDOWN=$2 ;;
        *) die "unknown option $1" ;;
    esac
    shift 2
done

mkdir -p "$PARENT"
WORK=$(cd "$(mktemp -d "$PARENT/strongroom-bench.XXXXXX")" && pwd)
trap 'rm -rf "$WORK"' EXIT
TARGET=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release
cargo build --release --locked --quiet
cargo build --release --locked --quiet --example bench_sqlite
SR=$TARGET/strongroom TOOL=$TARGET/examples/bench_sqlite
LIVE=$WORK/live.db SAMPLES=$WORK/samples
: >"$SAMPLES"

note() { printf '%s\t%s\n' "$1" "$2" >>"$SAMPLES"; }

# timed NAME COMMAND…: notes seconds, and the peak memory in MB.
timed() {
    local name=$1 start end
    shift
    sync
    start=$EPOCHREALTIME
    /usr/bin/time -f %M -o "$WORK/memory" "$@" >"$WORK/out" 2>"$WORK/log" || { cat "$WORK/log" >&2; die "$name failed"; }
    end=$EPOCHREALTIME
    note "$name" "$(awk "BEGIN { print ${end/,/.} - ${start/,/.} }")"
    note "$name, MB" "$(awk 'END { print $1 * 1024 / 1e6 }' "$WORK/memory")"
}

size() { find "$1" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum / 1e6 }'; }

# writer NAME SECONDS: a writer's commit latencies, with whatever runs beside it.
writer() { "$TOOL" write "$LIVE" "$2" | { read -r p50 p99 longest count; note "$1 p50" "$p50"; note "$1 p99" "$p99"; note "$1 longest" "$longest"; note "$1 commits" "$count"; }; }

strongroom_phases() {
    export HOME=$WORK/home STRONGROOM_VAULT=$WORK/vault STRONGROOM_IDENTITY=$WORK/identity
    unset XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME
    mkdir -p "$HOME"
    "$SR" --quiet init
    timed first "$SR" --quiet backup "$LIVE"
    local before after
    before=$(size "$WORK/vault")
    note size "$before"
    "$SR" --quiet restore latest --to "$WORK/before"
    "$TOOL" change "$LIVE" "$1"
    note differing "$("$TOOL" differ "$WORK/before/live.db" "$LIVE" | zstd -3 -c | wc -c | awk '{ print $1 / 1e6 }')"
    timed second "$SR" --quiet backup "$LIVE"
    after=$(size "$WORK/vault")
    note growth "$(awk "BEGIN { print $after - $before }")"
    sleep 1.2
    "$SR" --quiet backup "$LIVE"
    timed unchanged "$SR" --quiet backup "$LIVE"
    timed restore "$SR" --quiet restore latest --to "$WORK/restored"
    cmp "$LIVE" "$WORK/restored/live.db" || die "what was restored is not what was captured"
    rm -rf "$WORK/before" "$WORK/restored"
    timed key "$SR" query latest 'SELECT title FROM documents WHERE id = 77777'
    timed scan "$SR" query latest 'SELECT count(*), sum(length(body)) FROM documents'
    "$TOOL" change "$LIVE" "$1$1"
    timed place "$SR" --quiet restore latest --in-place
    writer alone 5
    writer beside 5 &
    sleep 0.5
    timed loaded "$SR" --quiet backup "$LIVE" --rescan
    wait
}

peers() {
    timed backup "$TOOL" backup "$LIVE" "$WORK/copy.db"
    timed pipeline bash -c "zstd -3 -q -c '$WORK/copy.db' | age -r '$RECIPIENT' -o '$WORK/copy.zst.age'"
    rm -f "$WORK/copy.zst.age"
    timed vacuum "$TOOL" vacuum "$LIVE" "$WORK/vacuumed.db"
    rm -f "$WORK/vacuumed.db" "$WORK/copy.db"
    export RESTIC_REPOSITORY=$WORK/restic RESTIC_PASSWORD=x BORG_REPO=$WORK/borg BORG_PASSPHRASE=x
    restic init >"$WORK/out" && borg init --encryption repokey-blake2 2>"$WORK/log"
    local phase tool before
    for phase in first second; do
        for tool in restic borg; do
            before=$(size "$WORK/$tool")
            case $tool in
                restic) timed "restic $phase" bash -c "'$TOOL' backup '$LIVE' '$WORK/copy.db' && restic --quiet backup '$WORK/copy.db'" ;;
                borg) timed "borg $phase" bash -c "'$TOOL' backup '$LIVE' '$WORK/copy.db' && borg create --compression zstd,3 '::$phase' '$WORK/copy.db'" ;;
            esac
            note "$tool $phase growth" "$(awk "BEGIN { print $(size "$WORK/$tool") - $before }")"
            rm -f "$WORK/copy.db"
        done
        "$TOOL" change "$LIVE" "$1"
    done
    rm -rf "$WORK/restic" "$WORK/borg"
}

# value NAME [FORMAT]: the median.
value() {
    awk -F'\t' -v name="$1" '$1 == name { print $2 }' "$SAMPLES" | sort -g |
        awk -v format="${2:-%.2f}" '{ v[NR] = $1 } END { if (NR) printf format, (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2; else printf "–" }'
}

report() {
    echo "A SQLite database of $(value file %.0f) MB, medians of $REPETITIONS, $(nproc) cores, page cache warm; $("$SR" --version)," \
        "$(restic version | cut -d' ' -f1,2), $(borg --version)."
    echo
    echo "| | strongroom | \`.backup\` | \`.backup\`, zstd -3, age | VACUUM INTO | restic of \`.backup\` | borg of \`.backup\` |"
    echo "|:--|--:|--:|--:|--:|--:|--:|"
    local both
    both=$(awk "BEGIN { printf \"%.2f\", $(value backup) + $(value pipeline) }")
    echo "| first capture, s | $(value first) | $(value backup) | $both | $(value vacuum) | $(value 'restic first') | $(value 'borg first') |"
    echo "| after 2,000 row updates, s | $(value second) | – | – | – | $(value 'restic second') | $(value 'borg second') |"
    echo "| stored by the first, MB | $(value size %.1f) | – | – | – | $(value 'restic first growth' %.1f) | $(value 'borg first growth' %.1f) |"
    echo "| stored by the second, MB | $(value growth %.2f) | – | – | – | $(value 'restic second growth' %.1f) | $(value 'borg second growth' %.1f) |"
    echo
    echo "| strongroom | |"
    echo "|:--|--:|"
    echo "| the changed pages at zstd -3, MB | $(value differing %.2f) |"
    echo "| nothing changed, s | $(value unchanged) |"
    echo "| restore to a file, s | $(value restore) |"
    echo "| restore in place of 2,000 changed rows, safety snapshot included, s | $(value place) |"
    echo "| \`query\` by primary key, s | $(value key %.3f) |"
    echo "| \`query\` that reads every document, s | $(value scan) |"
    echo "| capture beside a writer, s | $(value loaded) |"
    echo "| a writer's commits alone: median, p99, longest, ms | $(value 'alone p50' %.3f), $(value 'alone p99' %.3f), $(value 'alone longest' %.1f) |"
    echo "| … and while it is captured | $(value 'beside p50' %.3f), $(value 'beside p99' %.3f), $(value 'beside longest' %.1f) |"
    local phase
    for phase in first second restore place key scan; do echo "| peak memory, $phase, MB | $(value "$phase, MB" %.0f) |"; done
    echo
    echo "Load average at the end: $(cut -d' ' -f1-3 /proc/loadavg)."
}

age-keygen -o "$WORK/age" 2>"$WORK/log"
RECIPIENT=$(age-keygen -y "$WORK/age")
for ((number = 1; number <= REPETITIONS; number++)); do
    rm -rf "$LIVE"* "$WORK/vault" "$WORK/identity" "$WORK/home"
    "$TOOL" make "$LIVE" "$MEGABYTES"
    note file "$(awk "BEGIN { print $(stat -c %s "$LIVE") / 1e6 }")"
    strongroom_phases "$number"
    peers "$number"
    echo "repetition $number of $REPETITIONS done" >&2
done
report | tee "$WORK/report"
[[ -z $MARKDOWN ]] || cp "$WORK/report" "$MARKDOWN"
