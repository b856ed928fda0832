#!/usr/bin/env bash
# Measures captures of a PostgreSQL database beside pg_dump's own ways, in one run, against a server of its own with its
# settings as they are packaged. `bench.sh --sets postgres` calls it.
#
#   --repetitions N   medians are shown (default 3)
#   --megabytes N     about the size of the rows as text (default 1000)
#   --work DIR        where to work (default ${TMPDIR:-/tmp}); what is made there is removed at the end
#   --markdown FILE   also write the report to FILE
#
# The database fits into memory, and is in use: caches are warm. One in a hundred rows is changed between the first and
# the second capture; then the tables are put into another order on disk, which changes no row.
set -euo pipefail
cd "$(dirname "$0")/.."

REPETITIONS=3 MEGABYTES=1000 PARENT=${TMPDIR:-/tmp} MARKDOWN=
die() { echo "bench_postgres: $*" >&2; exit 1; }
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

BIN=$(find /usr/lib/postgresql/*/bin -maxdepth 0 2>/dev/null | sort -V | tail -1)
[[ -n $BIN ]] || die "PostgreSQL is missing: run scripts/services.sh"
mkdir -p "$PARENT"
WORK=$(cd "$(mktemp -d "$PARENT/strongroom-bench.XXXXXX")" && pwd)
# The server does not run as root.
AS=()
if ((EUID == 0)); then
    AS=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    chmod 755 "$WORK"
fi
mkdir "$WORK/server" && { ((EUID)) || chown postgres "$WORK/server"; }
stop() { "${AS[@]}" "$BIN/pg_ctl" -D "$WORK/server/data" -m immediate stop >/dev/null 2>&1 || true; }
trap 'stop; rm -rf "$WORK"' EXIT
trap 'exit 130' INT TERM

TARGET=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release
cargo build --release --locked --quiet
SR=$TARGET/strongroom SAMPLES=$WORK/samples
: >"$SAMPLES"
export STRONGROOM_VAULT=$WORK/vault HOME=$WORK/home PGHOST=$WORK/server PGPORT=54321 PGUSER=postgres PGDATABASE=bench
unset XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME STRONGROOM_CONFIG STRONGROOM_IDENTITY

note() { printf '%s\t%s\n' "$1" "$2" >>"$SAMPLES"; }
size() { find "$1" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum / 1e6 }'; }

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

start() {
    stop
    rm -rf "$WORK/server/data"
    (cd / && "${AS[@]}" "$BIN/initdb" -D "$WORK/server/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync) >/dev/null
    (cd / && "${AS[@]}" "$BIN/pg_ctl" -D "$WORK/server/data" -w -l "$WORK/server/log" \
        -o "-k $WORK/server -p $PGPORT -c listen_addresses= -c fsync=off" start) >/dev/null
    createdb bench
    # Orders of customers, a log by random keys, and customers with a document each: about 250 bytes a row as text.
    psql -Xqv ON_ERROR_STOP=1 -v n="$((MEGABYTES * 1000))" <<'SQL'
CREATE TABLE customers (id bigserial PRIMARY KEY, name text, email text, created timestamptz, notes jsonb);
INSERT INTO customers (name, email, created, notes)
    SELECT md5(n::text), md5((n * 7)::text) || '@example.org', '2024-01-01'::timestamptz - n * interval '1 minute',
        jsonb_build_object('k', n, 'v', repeat(md5(n::text), 3)) FROM generate_series(1, :n) n;
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint REFERENCES customers, total numeric(12, 2), state text,
    at timestamptz, memo text);
INSERT INTO orders (customer_id, total, state, at, memo)
    SELECT 1 + (n::bigint * 7919) % :n, (n % 100000) / 7.0, (ARRAY['new', 'paid', 'sent'])[1 + n % 3],
        '2024-01-01'::timestamptz - n * interval '3 second', repeat(md5(n::text) || ' ', 1 + n % 3)
    FROM generate_series(1, 5 * :n) n;
CREATE INDEX orders_customer ON orders (customer_id);
CREATE TABLE events (a uuid PRIMARY KEY, n int, what text);
INSERT INTO events SELECT gen_random_uuid(), n, md5(n::text) FROM generate_series(1, :n) n;
VACUUM ANALYZE;
SQL
}

repetition() {
    start
    rm -rf "$WORK/vault" "$HOME"
    mkdir -p "$HOME" "$WORK/app"
    printf '[source.db]\nkind = "postgres"\nurl = "postgres:///bench?host=%s&port=%s&user=postgres"\n' "$PGHOST" "$PGPORT" \
        >"$WORK/app/strongroom.toml"
    cd "$WORK/app"
    "$SR" --quiet init
    age-keygen -o "$WORK/key" 2>/dev/null
    local to before
    to=$(age-keygen -y "$WORK/key")
    psql -Xqc 'SELECT sum(length(t::text)) FROM orders t' >/dev/null
    timed strongroom "$SR" --quiet backup
    note "strongroom stored" "$(size "$WORK/vault")"
    timed same "$SR" --quiet backup
    timed directory pg_dump -Fd -j2 -f "$WORK/directory"
    note "directory stored" "$(size "$WORK/directory")"
    rm -rf "$WORK/directory"
    timed pipeline bash -c "set -o pipefail; pg_dump | zstd -3 -T0 | age -r $to >'$WORK/dump'"
    note "pipeline stored" "$(stat -c %s "$WORK/dump" | awk '{ print $1 / 1e6 }')"
    # The newest hundredth, as an application changes them.
    psql -Xqc "UPDATE orders SET state = 'done', memo = md5(memo) || memo WHERE id > (SELECT max(id) * 0.99 FROM orders)"
    note rows "$(psql -XqAtc "COPY (SELECT * FROM orders WHERE id > (SELECT max(id) * 0.99 FROM orders) ORDER BY id) TO STDOUT" |
        zstd -3 | wc -c | awk '{ print $1 / 1e6 }')"
    before=$(size "$WORK/vault")
    timed changed "$SR" --quiet backup
    note "changed stored" "$(awk "BEGIN { print $(size "$WORK/vault") - $before }")"
    psql -Xqc 'CLUSTER orders USING orders_customer' -c 'VACUUM FULL customers' -c 'VACUUM FULL events' -c 'VACUUM ANALYZE'
    before=$(size "$WORK/vault")
    timed rewritten "$SR" --quiet backup
    note "rewritten stored" "$(awk "BEGIN { print $(size "$WORK/vault") - $before }")"
    cd "$OLDPWD"
}

# value NAME [FORMAT]: the median of what was noted.
value() {
    awk -F'\t' -v name="$1" '$1 == name { print $2 }' "$SAMPLES" | sort -g |
        awk -v format="${2:-%.1f}" '{ v[NR] = $1 } END { if (NR) printf format, (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2; else printf "–" }'
}

report() {
    echo "## PostgreSQL"
    echo
    echo "$("$BIN/postgres" --version | cut -d' ' -f3), about $MEGABYTES MB of rows, medians of $REPETITIONS."
    echo
    echo '| | strongroom | `pg_dump -Fd -j2` | `pg_dump`, zstd -3, age |'
    echo '|:--|--:|--:|--:|'
    echo "| first capture, s | $(value strongroom) | $(value directory) | $(value pipeline) |"
    echo "| its memory, MB | $(value 'strongroom, MB' %.0f) | $(value 'directory, MB' %.0f) | |"
    echo "| stored, MB | $(value 'strongroom stored') | $(value 'directory stored') | $(value 'pipeline stored') |"
    echo "| captured again, unchanged, s | $(value same) | | |"
    echo "| after 1 % of the orders changed, s | $(value changed) | | |"
    echo "| newly stored then, MB (the changed rows alone, zstd -3: $(value rows)) | $(value 'changed stored') | | |"
    echo "| after CLUSTER and VACUUM FULL, s | $(value rewritten) | | |"
    echo "| newly stored then, MB | $(value 'rewritten stored' %.2f) | | |"
}

for ((at = 0; at < REPETITIONS; at++)); do repetition; done
report | tee "$WORK/report"
[[ -z $MARKDOWN ]] || cp "$WORK/report" "$MARKDOWN"
