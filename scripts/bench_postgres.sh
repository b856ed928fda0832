#!/usr/bin/env bash
# Measures captures, restores and recoveries of a PostgreSQL database beside pg_dump's and pg_restore's own ways, in one
# run, against a server of its own with its settings as they are packaged. `bench.sh --sets postgres` calls it.
#
#   --repetitions N   medians are shown (default 3)
#   --megabytes N     about the size of the rows as text (default 1000); with 2000, a table has 20 million rows
#   --work DIR        where to work (default ${TMPDIR:-/tmp}); needs 8 times as much; what is made there is removed at the end
#   --markdown FILE   also write the report to FILE
#
# The database fits into memory, and is in use: caches are warm. One in a hundred orders is changed between the first and
# the second capture; then the tables are put into another order on disk, which changes no row. The readings of a device
# come fifty at a time, as a device that is now and then online sends them.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/bench_measure.sh
options "$@"

BIN=$(find /usr/lib/postgresql/*/bin -maxdepth 0 2>/dev/null | sort -V | tail -1)
[[ -n $BIN ]] || die "PostgreSQL is missing: run scripts/services.sh"
prepare
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
export STRONGROOM_VAULT=$WORK/vault HOME=$WORK/home PGHOST=$WORK/server PGPORT=54321 PGUSER=postgres PGDATABASE=bench
URL="host=$PGHOST&port=$PGPORT&user=postgres"

start() {
    stop
    rm -rf "$WORK/server/data"
    (cd / && "${AS[@]}" "$BIN/initdb" -D "$WORK/server/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync) >/dev/null
    (cd / && "${AS[@]}" "$BIN/pg_ctl" -D "$WORK/server/data" -w -l "$WORK/server/log" \
        -o "-k $WORK/server -p $PGPORT -c listen_addresses= -c fsync=off" start) >/dev/null
    createdb bench
    # Orders of customers, a log by random keys, customers with a document each, and readings of devices.
    psql -Xqv ON_ERROR_STOP=1 -v n="$((MEGABYTES * 600))" -v readings="$((MEGABYTES * 10000))" <<'SQL'
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
CREATE TABLE devices (id bigserial PRIMARY KEY, name text NOT NULL);
INSERT INTO devices (name) SELECT 'device ' || n FROM generate_series(1, :readings / 1000) n;
CREATE TABLE readings (id bigserial PRIMARY KEY, device_id bigint NOT NULL REFERENCES devices ON DELETE CASCADE,
    at timestamptz NOT NULL, value double precision);
INSERT INTO readings (device_id, at, value)
    SELECT 1 + (((n - 1) / 50)::bigint * 7919) % (:readings / 1000), '2024-01-01'::timestamptz + n * interval '1 second',
        (hashint4(n) % 10000) / 100.0
    FROM generate_series(1, :readings) n;
CREATE INDEX readings_device ON readings (device_id);
VACUUM ANALYZE;
SQL
}

configure() {
    rm -rf "$WORK/vault" "$HOME" "$WORK/app" "$WORK/restic"
    mkdir -p "$HOME" "$WORK/app"
    printf '[source.db]\nkind = "postgres"\nurl = "postgres:///bench?%s"\n' "$URL" >"$WORK/app/strongroom.toml"
    cd "$WORK/app"
    "$SR" --quiet init
}

captures() {
    local to before
    age-keygen -o "$WORK/key" 2>/dev/null
    to=$(age-keygen -y "$WORK/key")
    rm "$WORK/key"
    psql -Xqc 'SELECT sum(length(t::text)) FROM orders t' >/dev/null
    timed strongroom "$SR" --quiet backup
    note "strongroom stored" "$(size "$WORK/vault")"
    timed same "$SR" --quiet backup
    timed directory pg_dump -Fd -j2 -f "$WORK/directory"
    note "directory stored" "$(size "$WORK/directory")"
    timed pipeline bash -c "set -o pipefail; pg_dump | zstd -3 -T0 | age -r $to >'$WORK/dump'"
    note "pipeline stored" "$(megabytes <"$WORK/dump")"
    rm "$WORK/dump"
    peer first
}

# restic of a plain dump: as it is piped there.
peer() {
    command -v restic >/dev/null || return 0
    export RESTIC_REPOSITORY=$WORK/restic RESTIC_PASSWORD=x
    local before=0
    [[ ! -d $WORK/restic ]] && restic init >/dev/null || before=$(size "$WORK/restic")
    timed "restic $1" bash -c 'set -o pipefail; pg_dump | restic backup --quiet --stdin --stdin-filename dump.sql'
    note "restic $1 stored" "$(awk "BEGIN { print $(size "$WORK/restic") - $before }")"
}

# Whoever comes first may find another machine than whoever comes last: repetitions turn the order round.
restores() {
    local -a turns=(restore_checked restore_unchecked restore_peer)
    ((${1} % 2 == 0)) || turns=(restore_peer restore_unchecked restore_checked)
    local turn
    for turn in "${turns[@]}"; do $turn; done
    rm -rf "$WORK/directory"
}

restore_checked() {
    local table
    timed restore "$SR" --quiet restore latest --to "postgres:///given?$URL"
    for table in customers orders events devices readings; do
        [[ $(digest bench "$table") == "$(digest given "$table")" ]] || die "$table was not restored as it was"
    done
    dropdb given
}

# As pg_restore does it: nothing is read back.
restore_unchecked() {
    timed unchecked "$SR" --quiet restore latest --to "postgres:///given?$URL" --no-check
    dropdb given
}

restore_peer() {
    createdb other
    timed pg_restore pg_restore -j2 -d other "$WORK/directory"
    dropdb other
}

digest() { psql -Xqd "$1" -Atc "COPY (SELECT * FROM $2 ORDER BY 1) TO STDOUT" | md5sum; }

# One device and its thousand readings are deleted and come back.
recovers() {
    local before device=77
    note readings "$(psql -XqAtc 'COPY (SELECT * FROM readings ORDER BY id) TO STDOUT' | zstd -3 | megabytes)"
    before=$(digest bench readings)
    psql -Xqc "DELETE FROM devices WHERE id = $device"
    timed recover "$SR" --json recover latest devices "$device"
    note "recover read" "$(grep -o '"fetched": *[0-9]*' "$WORK/out" | tail -1 | tr -dc 0-9 | awk '{ print $1 / 1e6 }')"
    [[ $(digest bench readings) == "$before" ]] || die "the readings are not what they were"
    timed key "$SR" query latest "SELECT value FROM readings WHERE id = $((MEGABYTES * 5000))"
    timed scan "$SR" query latest "SELECT count(*), sum(value) FROM readings"
}

changes() {
    local before
    # The newest hundredth, as an application changes them.
    psql -Xqc "UPDATE orders SET state = 'done', memo = md5(memo) || memo WHERE id > (SELECT max(id) * 0.99 FROM orders)"
    note rows "$(psql -XqAtc "COPY (SELECT * FROM orders WHERE id > (SELECT max(id) * 0.99 FROM orders) ORDER BY id) TO STDOUT" |
        zstd -3 | megabytes)"
    before=$(size "$WORK/vault")
    timed changed "$SR" --quiet backup
    note "changed stored" "$(awk "BEGIN { print $(size "$WORK/vault") - $before }")"
    peer changed
    psql -Xqc 'CLUSTER orders USING orders_customer' -c 'VACUUM FULL customers' -c 'VACUUM FULL events' -c 'VACUUM ANALYZE'
    before=$(size "$WORK/vault")
    timed rewritten "$SR" --quiet backup
    note "rewritten stored" "$(awk "BEGIN { print $(size "$WORK/vault") - $before }")"
    peer rewritten
}

report() {
    echo "### postgres: one database, about $MEGABYTES MB of rows as text, $((MEGABYTES * 10000)) rows in its longest table"
    echo
    echo "$("$BIN/postgres" --version | cut -d' ' -f3), medians of $REPETITIONS, $(nproc) cores."
    echo
    echo '| | strongroom | `pg_dump -Fd -j2` | `pg_dump`, zstd -3, age | `pg_dump`, restic |'
    echo '|:--|--:|--:|--:|--:|'
    echo "| first capture, s | $(value strongroom) | $(value directory) | $(value pipeline) | $(value 'restic first') |"
    echo "| its memory, MB | $(value 'strongroom, MB' %.0f) | | | |"
    echo "| stored, MB | $(value 'strongroom stored' %.1f) | $(value 'directory stored' %.1f) | $(value 'pipeline stored' %.1f) | $(value 'restic first stored' %.1f) |"
    echo "| captured again, unchanged, s | $(value same) | | | |"
    echo "| after 1 % of the orders changed, s | $(value changed) | | | $(value 'restic changed') |"
    echo "| newly stored then, MB (the changed rows alone, zstd -3: $(value rows)) | $(value 'changed stored') | | | $(value 'restic changed stored') |"
    echo "| after CLUSTER and VACUUM FULL, s | $(value rewritten) | | | $(value 'restic rewritten') |"
    echo "| newly stored then, MB | $(value 'rewritten stored') | | | $(value 'restic rewritten stored') |"
    echo "| restored into a new database (beside it: \`pg_restore -j2\`), s | $(value restore) | $(value pg_restore) | | |"
    echo "| its memory, MB | $(value 'restore, MB' %.0f) | $(value 'pg_restore, MB' %.0f) | | |"
    echo "| the same with \`--no-check\`: counted and not read back, as \`pg_restore\` leaves it, s | $(value unchecked) | | | |"
    echo
    echo '| strongroom | | bar |'
    echo '|:--|--:|--:|'
    echo "| a device and its 1,000 readings come back, s | $(value recover) | 2 |"
    echo "| … what it reads, MB; the readings at zstd -3: $(value readings %.1f) | $(value 'recover read') | $(times 0.02 readings) |"
    echo "| … its memory, MB | $(value 'recover, MB' %.0f) | 201 |"
    echo "| \`query\` by primary key, s | $(value key %.3f) | |"
    echo "| \`query\` over all readings, s; memory, MB | $(value scan), $(value 'scan, MB' %.0f) | |"
}

for tool in age age-keygen zstd; do command -v "$tool" >/dev/null || die "$tool is not installed"; done
for ((at = 0; at < REPETITIONS; at++)); do
    start
    (configure)
    cd "$WORK/app"
    captures
    restores "$at"
    recovers
    changes
    cd "$OLDPWD"
    echo "postgres, repetition $((at + 1)) of $REPETITIONS done" >&2
done
publish
