#!/usr/bin/env bash
# Measures the recovery of one project out of a database of 1 GB: 200 projects, each with 150 rows that belong to it and
# 20 files. Prints the wall time of each step, what was read of the vault, and peak memory.
#
#   scripts/bench_records.sh [FOLDER]     needs 3 GB there, sqlite3, jq and /usr/bin/time; as root the page cache is dropped
#
# The program is taken from STRONGROOM, or built.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-$(mktemp -d)}
mkdir -p "$folder/home"
if [[ -z ${STRONGROOM:-} ]]; then
    cargo build --release --locked --quiet --manifest-path "$root/Cargo.toml"
    STRONGROOM=${CARGO_TARGET_DIR:-$root/target}/release/strongroom
fi
cd "$folder"
export HOME=$folder/home

echo "making 1 GB in $folder" >&2
sqlite3 shop.db >/dev/null <<'SQL'
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE projects(id INTEGER PRIMARY KEY, name TEXT, created_at TEXT);
CREATE TABLE documents(id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
    title TEXT, body BLOB);
CREATE INDEX documents_project ON documents(project_id);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
    INSERT INTO projects SELECT i, 'project ' || i, '2026-01-01' FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
    INSERT INTO documents SELECT i, 1 + (i - 1) / 150, 'document ' || i, randomblob(16000) || hex(randomblob(9000)) FROM n;
PRAGMA wal_checkpoint(TRUNCATE);
SQL
for project in {1..200}; do
    mkdir -p "documents/$project"
    for file in {1..20}; do head -c 20000 /dev/urandom >"documents/$project/$file.bin"; done
done
cat >strongroom.toml <<'TOML'
vault = "vault"
app = "shop"
[source.db]
kind = "sqlite"
path = "shop.db"
[source.documents]
kind = "files"
path = "documents"
[entity.project]
source = "db"
table = "projects"
files = [{ source = "documents", path = "{id}/**" }]
TOML
"$STRONGROOM" init >/dev/null
"$STRONGROOM" backup

others() { sqlite3 shop.db "SELECT * FROM projects WHERE id <> 77; SELECT id, project_id, title, length(body) FROM documents WHERE project_id <> 77" | sha256sum; }
before=$(others)
sqlite3 shop.db "PRAGMA foreign_keys = ON; DELETE FROM projects WHERE id = 77"
rm -r documents/77
sync
[[ $(id -u) -ne 0 ]] || echo 3 >/proc/sys/vm/drop_caches

step() { local name=$1; shift; /usr/bin/time -f "$name: %e s, %M KiB at most" "$@"; }
step "recover, cold cache" "$STRONGROOM" --json recover latest project 77 >recovered.json
vault=$(du -sb vault | cut -f1)
jq --argjson vault "$vault" -r '"\(.report.inserted) rows and \(.report.files) files; read \(.fetched) of \($vault) bytes of the vault"' recovered.json
step "undo" "$STRONGROOM" undo >/dev/null
step "recover, warm cache" "$STRONGROOM" recover latest project 77 >/dev/null
[[ $(others) == "$before" ]] && echo "rows of other projects: as before" || { echo "rows of other projects have changed"; exit 1; }
sqlite3 shop.db "PRAGMA integrity_check; PRAGMA foreign_key_check"
