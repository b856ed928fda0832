# Sourced by bench_sqlite.sh and bench_postgres.sh: their options, and how they measure. Everything is noted in $SAMPLES,
# one line for each measurement: a name, a tab, a number.

REPETITIONS=3 MEGABYTES=${MEGABYTES:-1000} PARENT=${TMPDIR:-/tmp} MARKDOWN=
die() { echo "${0##*/}: $*" >&2; exit 1; }

# options ARGUMENT…: what both scripts understand.
options() {
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
}

# prepare: a folder to work in, and the program.
prepare() {
    mkdir -p "$PARENT"
    WORK=$(cd "$(mktemp -d "$PARENT/strongroom-bench.XXXXXX")" && pwd)
    trap 'rm -rf "$WORK"' EXIT
    TARGET=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release
    cargo build --release --locked --quiet
    SR=$TARGET/strongroom SAMPLES=$WORK/samples
    : >"$SAMPLES"
    LOAD=$(cut -d' ' -f1-3 /proc/loadavg)
    unset XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME STRONGROOM_CONFIG STRONGROOM_IDENTITY
}

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

# size FOLDER: in MB.
size() { find "$1" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum / 1e6 }'; }

# megabytes: how many come in.
megabytes() { wc -c | awk '{ print $1 / 1e6 }'; }

# value NAME [FORMAT]: the median of what was noted.
value() {
    awk -F'\t' -v name="$1" '$1 == name { print $2 }' "$SAMPLES" | sort -g |
        awk -v format="${2:-%.2f}" '{ v[NR] = $1 } END { if (NR) printf format, (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2; else printf "–" }'
}

# times FACTOR NAME…: the sum of medians, times a factor.
times() {
    local factor=$1 name sum=0
    shift
    for name in "$@"; do sum="$sum + $(value "$name" %.4f)"; done
    [[ $sum == *–* ]] && printf – || awk "BEGIN { printf \"%.2f\", $factor * ($sum) }"
}

# publish: prints what `report` says, and writes it where it was asked for.
publish() {
    { report && echo && echo "Load average $LOAD at the start, $(cut -d' ' -f1-3 /proc/loadavg) at the end."; } | tee "$WORK/report"
    [[ -z $MARKDOWN ]] || cp "$WORK/report" "$MARKDOWN"
}
