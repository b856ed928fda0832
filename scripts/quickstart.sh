#!/usr/bin/env bash
# Builds strongroom and shows it at work on a sample: a snapshot is made, verified and restored.
# Uses folders of its own, so that nobody's vault is touched, and leaves nothing behind but the build.
set -euo pipefail
cd "$(dirname "$0")/.."

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

run cargo build --release --locked
# Cargo knows where it built.
target=${CARGO_TARGET_DIR:-target}
PATH=$(realpath -- "$target/release"):$PATH

sandbox=$(mktemp -d "${TMPDIR:-/tmp}/quickstart.XXXXXXXX")
trap 'rm -rf -- "$sandbox"' EXIT
trap 'exit 130' INT TERM
export HOME=$sandbox/home
unset XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME
unset STRONGROOM_VAULT STRONGROOM_CONFIG STRONGROOM_IDENTITY STRONGROOM_PASSPHRASE_FILE
mkdir -p "$HOME/app/documents" "$HOME/app/uploads"
cd "$HOME"

printf 'DATABASE_URL=sqlite:///data.db\nSECRET=not-so-secret\n' >app/.env
for n in 1 2 3 4 5; do
    printf 'Contract %s\n%s\n' "$n" "$(seq 1 2000)" >"app/documents/contract-$n.txt"
done
head -c 3000000 /dev/urandom >app/uploads/photo.jpg
ln -s documents/contract-1.txt app/current

run strongroom init
run strongroom backup app --tag first

printf '\n# somebody edits a document, deletes another and adds a third\n'
printf 'signed\n' >>app/documents/contract-2.txt
rm app/documents/contract-3.txt
printf 'New\n' >app/documents/contract-6.txt

run strongroom backup app --tag second
run strongroom snapshots
run strongroom diff latest~1 latest
run strongroom verify --read-data
run strongroom restore latest --to restored
run diff -r app restored
printf 'the restored app is the same, file by file\n'

printf '\n# the deleted document comes back from the first snapshot\n'
run strongroom restore tag:first app:documents/contract-3.txt --to back
run head -n 1 back/documents/contract-3.txt

printf '\na snapshot was made, verified and restored\n'
