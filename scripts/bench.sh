#!/usr/bin/env bash
# Measures strongroom beside other backup tools, in one run, on data sets made by scripts/bench_data.rs.
#
#   --repetitions N     repetitions, each with fresh data and fresh repositories; medians are shown (default 3)
#   --sets LIST         of tree,docs,db,log,sqlite,postgres (default all); sqlite and postgres are scripts/bench_sqlite.sh
#                       and bench_postgres.sh, whose page caches are warm whatever --cache says
#   --tools LIST        of strongroom,restic,borg,rustic,bupstash,pipeline (default all; missing ones are skipped)
#   --scale F           scales the data sets, e.g. 0.05 for a smoke test (default 1)
#   --cache cold|warm   drop the page cache before each timed phase, or fill it (default cold)
#   --check             also compare everything restored with the original
#   --work DIR          where to work (default ${TMPDIR:-/tmp}); what is made there is removed at the end
#   --markdown FILE     also write the report to FILE
#
# All tools encrypt and compress with zstd at level 3; `pipeline` is `tar | zstd -3 | age`.
set -euo pipefail
cd "$(dirname "$0")/.."

REPETITIONS=3 SETS=tree,docs,db,log,sqlite,postgres TOOLS=strongroom,restic,borg,rustic,bupstash,pipeline
SCALE=1 CACHE=cold CHECK= PARENT=${TMPDIR:-/tmp} MARKDOWN=

usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "scripts/${0##*/}"; }
die() { echo "bench: $*" >&2; exit 1; }

while (($#)); do
    [[ $1 == --help || $1 == --check || $# -gt 1 ]] || die "$1 is unknown or needs a value (see --help)"
    case $1 in
        --repetitions) REPETITIONS=$2; shift 2 ;;
        --sets) SETS=$2; shift 2 ;;
        --tools) TOOLS=$2; shift 2 ;;
        --scale) SCALE=$2; shift 2 ;;
        --cache) CACHE=$2; shift 2 ;;
        --work) PARENT=$2; shift 2 ;;
        --markdown) MARKDOWN=$2; shift 2 ;;
        --check) CHECK=yes; shift ;;
        --help) usage; exit ;;
        *) die "unknown option $1 (see --help)" ;;
    esac
done
[[ $CACHE == cold || $CACHE == warm ]] || die "--cache is cold or warm"
[[ $REPETITIONS =~ ^[1-9][0-9]*$ ]] || die "--repetitions is a number from 1"

mkdir -p "$PARENT"
WORK=$(cd "$(mktemp -d "$PARENT/strongroom-bench.XXXXXX")" && pwd)
trap 'rm -rf "$WORK"' EXIT
trap 'exit 130' INT TERM
SAMPLES=$WORK/samples DATA=$WORK/data
: >"$SAMPLES"

# --- The tools: TOOL_init (not timed), then one function per phase. They run inside the data folder, with $BOX as
# --- the tool's own folder, $OUT as an empty folder to restore to, and $ONE as the file to restore alone.

strongroom_env() { export STRONGROOM_VAULT=$BOX/repo STRONGROOM_IDENTITY=$BOX/identity; }
strongroom_init() { "$STRONGROOM" --quiet init; }
strongroom_first() { timed "$STRONGROOM" --quiet backup "$DATA"; }
strongroom_same() { strongroom_first; }
strongroom_changed() { strongroom_first; }
strongroom_restore() { timed "$STRONGROOM" --quiet restore latest --to "$OUT"; }
strongroom_one() { timed "$STRONGROOM" --quiet restore latest ":$ONE" --to "$OUT"; }
strongroom_verify() { timed "$STRONGROOM" --quiet verify --read-data; }

restic_env() { export RESTIC_REPOSITORY=$BOX/repo RESTIC_PASSWORD=x; }
restic_init() { restic init; }
restic_first() { timed restic --quiet backup .; }
restic_same() { restic_first; }
restic_changed() { restic_first; }
restic_restore() { timed restic --quiet restore latest --target "$OUT"; }
restic_one() { timed restic --quiet dump latest "/$ONE" >"$OUT/one"; }
restic_verify() { timed restic --quiet check --read-data; }

borg_env() { export BORG_REPO=$BOX/repo BORG_PASSPHRASE=x; }
borg_init() { borg init --encryption repokey-blake2; }
borg_first() { timed borg create --compression zstd,3 "::$PHASE" .; }
borg_same() { borg_first; }
borg_changed() { borg_first; }
borg_restore() { cd "$OUT" && timed borg extract ::changed; }
borg_one() { cd "$OUT" && timed borg extract ::changed "$ONE"; }
borg_verify() { timed borg check --verify-data; }

rustic_env() { export RUSTIC_REPOSITORY=$BOX/repo RUSTIC_PASSWORD=x RUSTIC_NO_PROGRESS=true RUSTIC_LOG_LEVEL=warn; }
rustic_init() { rustic init --set-compression 3; }
rustic_first() { timed rustic backup .; }
rustic_same() { rustic_first; }
rustic_changed() { rustic_first; }
rustic_restore() { timed rustic restore latest "$OUT"; }
rustic_one() { timed rustic dump "latest:$ONE" >"$OUT/one"; }
rustic_verify() { timed rustic check --read-data; }

bupstash_env() { export BUPSTASH_REPOSITORY=$BOX/repo BUPSTASH_KEY=$BOX/key; }
bupstash_init() { bupstash init && bupstash new-key -o "$BUPSTASH_KEY"; }
bupstash_first() { timed bupstash put --quiet --compression zstd:3 "phase=$PHASE" .; }
bupstash_same() { bupstash_first; }
bupstash_changed() { bupstash_first; }
bupstash_restore() { timed bupstash restore --quiet --into "$OUT" phase=changed; }
bupstash_one() { timed bupstash get --quiet --pick "$ONE" phase=changed >"$OUT/one"; }
bupstash_verify() { :; } # it has no such command

pipeline_env() { export KEY=$BOX/key REPO=$BOX/repo OUT ONE PHASE; }
pipeline_init() { mkdir -p "$REPO" && age-keygen -o "$KEY"; }
pipeline_first() { timed bash -c 'set -o pipefail; tar c . | zstd -3 -q | age -e -i "$KEY" -o "$REPO/$PHASE.tar.zst.age"'; }
pipeline_same() { pipeline_first; }
pipeline_changed() { pipeline_first; }
pipeline_newest() { timed bash -c "age -d -i \"\$KEY\" \"\$REPO/changed.tar.zst.age\" | zstd -dq | $1"; }
pipeline_restore() { pipeline_newest 'tar x -C "$OUT"'; }
pipeline_one() { pipeline_newest 'tar x -C "$OUT" --occurrence=1 "./$ONE"'; }
pipeline_verify() { pipeline_newest 'tar t'; }

installed() {
    case $1 in
        strongroom) return 0 ;; # built below
        pipeline) command -v tar zstd age age-keygen >"$WORK/found" && (($(wc -l <"$WORK/found") == 4)) ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

version() {
    case $1 in
        strongroom) "$STRONGROOM" --version ;;
        pipeline) echo "pipeline: tar, zstd $(zstd --version | grep -o 'v[0-9.]*'), age $(age --version)" ;;
        restic) restic version | cut -d' ' -f1,2 ;;
        *) "$1" --version ;;
    esac
}

# --- Measuring.

can_drop_caches() { sync && (echo 3 >/proc/sys/vm/drop_caches) 2>/dev/null; }

prepare_cache() {
    if [[ $CACHE == cold ]]; then
        can_drop_caches || true
    else
        tar c "$DATA" "$BOX" 2>/dev/null | cat >/dev/null
    fi
}

# Runs a command; records wall seconds and the peak memory (MB) of its largest process.
timed() {
    local usage=$BOX/usage start end peak=-
    local -a meter=()
    [[ ! -x /usr/bin/time ]] || meter=(/usr/bin/time -f '%e %U %S %M' -o "$usage")
    prepare_cache
    start=$EPOCHREALTIME
    ${meter[@]+"${meter[@]}"} "$@" || return
    end=$EPOCHREALTIME
    [[ ! -x /usr/bin/time ]] || peak=$(awk 'END { print $4 * 1024 / 1e6 }' "$usage")
    record "$PHASE" "$(awk "BEGIN { printf \"%.4f\", ${end/,/.} - ${start/,/.} }")" "$peak"
}

record() { printf '%s\t%s\t%s\t%s\t%s\n' "$SET" "$TOOL" "$1" "$2" "$3" >>"$SAMPLES"; }

# Bytes in a tool's repository, in MB.
repository_size() { find "$BOX/repo" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum / 1e6 }'; }

# Runs TOOL's function for PHASE in surroundings of its own.
run_phase() {
    TOOL=$1 PHASE=$2 BOX=$WORK/$1 OUT=$WORK/$1/out
    mkdir -p "$BOX"/home/{cache,config,data} "$OUT"
    local before=0
    [[ $PHASE != changed ]] || before=$(repository_size)
    (
        export HOME=$BOX/home XDG_CACHE_HOME=$BOX/home/cache XDG_CONFIG_HOME=$BOX/home/config XDG_DATA_HOME=$BOX/home/data
        "${TOOL}_env"
        cd "$DATA"
        "${TOOL}_$PHASE"
    ) >/dev/null 2>"$BOX/log" </dev/null || { cat "$BOX/log" >&2; die "$TOOL $PHASE failed on $SET"; }
    case $PHASE in
        first) record size "$(repository_size)" - ;;
        changed) record growth "$(awk "BEGIN { print $(repository_size) - $before }")" - ;;
    esac
    [[ -z $CHECK ]] || check_restored
    rm -rf "$OUT"
}

check_restored() {
    case $PHASE in
        restore) diff -r "$DATA" "$OUT" >&2 || die "$TOOL restored something else" ;;
        one) cmp "$DATA/$ONE" "$(find "$OUT" -type f)" || die "$TOOL restored another file" ;;
    esac
}

# One repetition of all phases; within a phase the tools take turns, starting with another one each time.
repetition() {
    local phase position
    rm -rf "$DATA"
    bench_data "$SET" "$DATA"
    find "$DATA" -type f -printf '%s\n' |
        awk '{ sum += $1 } END { printf "%d files, %.0f MB", NR, sum / 1e6 }' >"$WORK/about.$SET"
    for phase in init first same changed restore one verify; do
        if [[ $phase == changed ]]; then
            bench_data change "$SET" "$DATA"
            ONE=$(cd "$DATA" && find . -type f -printf '%P\n' | LC_ALL=C sort | awk '{ f[NR] = $0 } END { print f[int((NR + 1) / 2)] }')
        fi
        for position in "${!ACTIVE[@]}"; do
            run_phase "${ACTIVE[(position + $1) % ${#ACTIVE[@]}]}" "$phase"
        done
        progress "$SET, repetition $1 of $REPETITIONS: $phase done"
    done
    rm -rf "$DATA" "${ACTIVE[@]/#/$WORK/}"
}

progress() { echo "$*" >&2; }
bench_data() { cargo run --release --locked --quiet --example bench_data -- "$@" --scale "$SCALE"; }

# --- Reporting.

# median TOOL COLUMN PHASE: the median of the samples of $SET.
median() {
    awk -F'\t' -v set="$SET" -v tool="$1" -v column="$2" -v phase="$3" \
        '$1 == set && $2 == tool && $3 == phase && $column != "-" { print $column }' "$SAMPLES" | sort -g |
        awk '{ v[NR] = $1 } END { if (NR) print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}

# row LABEL COLUMN FORMAT PHASE: one line of the table of $SET; the ratio is to the best of the other tools.
row() {
    local column=$2 format=$3 phase=$4 tool value own= best= peer= line="| $1 |"
    for tool in "${ACTIVE[@]}"; do
        value=$(median "$tool" "$column" "$phase")
        # shellcheck disable=SC2059
        line+=" $([[ -z $value ]] && echo – || LC_ALL=C printf "$format" "$value") |"
        [[ -n $value ]] || continue
        if [[ $tool == strongroom ]]; then
            own=$value
        elif [[ -z $best ]] || awk "BEGIN { exit !($value < $best) }"; then
            best=$value peer=$tool
        fi
    done
    [[ -n $own && -n $best ]] || { echo "$line – |"; return; }
    echo "$line $(awk "BEGIN { if ($best > 0) printf \"%.2f\", $own / $best; else printf \"–\" }") ($peer) |"
}

table() {
    printf '\n### %s: %s\n\n' "$SET" "$(cat "$WORK/about.$SET")"
    printf '| |%s strongroom / best peer |\n' "$(printf ' %s |' "${ACTIVE[@]}")"
    printf '|:--|%s--:|\n' "$(printf -- '--:|%.0s' "${ACTIVE[@]}")"
    row 'first backup, s' 4 %.2f first
    row 'backup, nothing changed, s' 4 %.2f same
    row 'backup after the change, s' 4 %.2f changed
    row 'full restore, s' 4 %.2f restore
    row 'restore of one file, s' 4 %.2f one
    row 'full verification, s' 4 %.2f verify
    row 'repository, MB' 4 %.1f size
    row 'growth by the change, MB' 4 %.3f growth
    row 'peak memory, first backup, MB' 5 %.0f first
    row 'peak memory, full restore, MB' 5 %.0f restore
    row 'peak memory, verification, MB' 5 %.0f verify
}

# "busy idle steal own": the machine's CPU time and that of this run so far, in ticks of all cores together.
cpu_ticks() {
    times >"$WORK/times"
    awk '/^cpu / { printf "%d %d %d ", $2 + $3 + $4 + $7 + $8, $5 + $6, $9 }' /proc/stat
    awk -F'[ms ]+' -v hz="$(getconf CLK_TCK)" '{ s += $1 * 60 + $2 + $3 * 60 + $4 } END { print s * hz }' "$WORK/times"
}

disturbance() {
    cpu_ticks >"$WORK/ticks.end"
    cat "$WORK/ticks.start" "$WORK/ticks.end" |
        awk -v load0="$LOAD" -v load1="$(cut -d' ' -f1-3 /proc/loadavg)" '
        { busy = $1 - busy; idle = $2 - idle; stolen = $3 - stolen; own = $4 - own }
        END {
            total = busy + idle + stolen
            other = busy > own ? busy - own : 0 # both are rounded
            printf "Disturbance: load average %s at the start, %s at the end; ", load0, load1
            printf "%.1f %% of CPU time stolen, %.1f %% used by this run, ", stolen * 100 / total, own * 100 / total
            printf "%.1f %% by anything else (the kernel'"'"'s writing for this run included).\n", other * 100 / total
        }'
}

header() {
    echo "## Benchmark"
    echo
    echo "$(nproc) cores, $(awk '/MemTotal/ { printf "%.0f GB", $2 / 1e6 }' /proc/meminfo) of memory, $(uname -sm)," \
        "file system $(stat -f -c %T "$WORK"); medians of $REPETITIONS, data scaled by $SCALE, cache $CACHE."
    if [[ $CACHE == cold ]] && ! can_drop_caches; then
        echo "The page cache could NOT be dropped (that needs root): all phases ran with whatever was cached."
    fi
    echo
    local tool
    for tool in "${ACTIVE[@]}"; do echo "- $(version "$tool")"; done
}

# --- The run.

ACTIVE=()
for tool in ${TOOLS//,/ }; do
    declare -F "${tool}_first" >/dev/null || die "unknown tool $tool"
    if installed "$tool"; then ACTIVE+=("$tool"); else progress "$tool is not installed: skipped"; fi
done
((${#ACTIVE[@]})) || die "none of the tools is installed"

STRONGROOM=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/strongroom
[[ " ${ACTIVE[*]} " != *" strongroom "* ]] || cargo build --release --locked --quiet
cargo build --release --locked --quiet --example bench_data
cpu_ticks >"$WORK/ticks.start"
LOAD=$(cut -d' ' -f1-3 /proc/loadavg)

header >"$WORK/report"
for SET in ${SETS//,/ }; do
    if [[ $SET == sqlite || $SET == postgres ]]; then
        # Of 2 GB, a PostgreSQL database has a table of 20 million rows.
        megabytes=1000
        [[ $SET == sqlite ]] || megabytes=2000
        "scripts/bench_$SET.sh" --repetitions "$REPETITIONS" --megabytes "$(awk "BEGIN { print int($megabytes * $SCALE) }")" \
            --work "$WORK" --markdown "$WORK/$SET" >"$WORK/out"
        { echo; cat "$WORK/$SET"; } >>"$WORK/report"
        continue
    fi
    [[ $SET =~ ^(tree|docs|db|log)$ ]] || die "unknown set $SET"
    for ((number = 1; number <= REPETITIONS; number++)); do repetition "$number"; done
    table >>"$WORK/report"
done
{ echo; disturbance; } >>"$WORK/report"
cat "$WORK/report"
[[ -z $MARKDOWN ]] || cp "$WORK/report" "$MARKDOWN"
