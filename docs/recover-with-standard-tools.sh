#!/usr/bin/env bash
# Restores a snapshot of a vault without strongroom: with age, zstd, tar, jq, sha256sum and the GNU core utilities.
#
#   recover-with-standard-tools.sh VAULT_DIR IDENTITY_FILE OUT_DIR [SNAPSHOT_ID_PREFIX]
#
# IDENTITY_FILE is an age identity, an ssh private key, or - to type the passphrase the vault's keys are wrapped to.
# OUT_DIR must not exist or be empty. Without an id the newest snapshot is restored that is no safety snapshot. One source
# goes straight into OUT_DIR, several into a folder each. Files and SQLite databases are as they were; of a PostgreSQL
# database there are its definitions and rows, and a load.sql for psql, made here.
# How it works and what it does not do: docs/recover-with-standard-tools.md.
#
# Exit status: 0 all is back; 1 failed; 2 usage; 3 something is missing or not as it was, see the messages.
set -euo pipefail
export LC_ALL=C
umask 077

[ $# -eq 3 ] || [ $# -eq 4 ] || { echo "usage: $0 VAULT_DIR IDENTITY_FILE OUT_DIR [SNAPSHOT_ID_PREFIX]" >&2; exit 2; }
identity=$2 wanted=${4:-}
incomplete=0

die() { echo "error: $*" >&2; exit 1; }
note() { echo "not as it was: $*" >&2; incomplete=1; }
say() { echo "$*" >&2; }

for tool in age zstd tar jq sha256sum; do
    command -v "$tool" >/dev/null || die "$tool is not installed"
done
[ -f "$1/vault.json" ] || die "no vault at $1"
vault=$(cd -- "$1" && pwd -P && echo .)
vault=${vault%$'\n'.}
mkdir -p -- "$3"
out=$(cd -- "$3" && pwd -P && echo .)
out=${out%$'\n'.}
[ -z "$(ls -A -- "$out")" ] || die "$3 is not empty"
[ "$identity" = - ] || [ -r "$identity" ] || die "cannot read $identity"

# Chunks lie here, unpacked and readable by nobody else, until the end. TMPDIR decides where.
work=$(mktemp -d "${TMPDIR:-/tmp}/recover.XXXXXXXX")
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/chunks"

# What separates fields: a control letter, which the vault never writes as itself.
us=$'\037'

digest_of() { local sum; sum=$(sha256sum <"$1"); echo "${sum%% *}"; }

# ---------------------------------------------------------------- keys

# vault.json carries its own digest, made while the digits of the digest were zeros.
check_vault_file() {
    local digest blank text
    text=$(cat -- "$vault/vault.json" && echo .)
    text=${text%.}
    [ "$(jq -r .format <<<"$text")" = 1 ] || die "this script reads vaults of format 1 only"
    digest=$(jq -r .sha256 <<<"$text")
    blank=${text/"$digest"/$(printf '%064d' 0)}
    blank=$(printf '%s' "$blank" | sha256sum)
    [ "${blank%% *}" = "$digest" ] || die "vault.json has been altered"
    vault_id=$(jq -r .vault <<<"$text")
}

# The vault's own keys are an age identity file, sealed to each person. They stay in memory. An `init` that did not
# come to its end may have left keys that were made for no vault.
unwrap_keys() {
    local object fits
    fits="# vault: $vault_id"$'\n'"# vault.json: $(digest_of "$vault/vault.json")"$'\n'
    for object in "$vault"/keys/*.age; do
        case $object in *"-$(digest_of "$object").age") ;; *) say "damaged: $object"; incomplete=1; continue ;; esac
        if [ "$identity" = - ]; then
            # Only what is sealed to a passphrase asks for one.
            case $(head -n 2 -- "$object" | tr -d '\0') in *$'\n-> scrypt '*) ;; *) continue ;; esac
            keys=$(age -d "$object") || continue
        else
            keys=$(age -d -i "$identity" "$object" 2>/dev/null) || continue
        fi
        case $keys in *"$fits"*) return ;; esac
        say "made for another vault.json: $object"
    done
    die "$identity opens none of $vault/keys/"
}

open() { age -d -i <(printf '%s\n' "$keys") "$1"; }

# ---------------------------------------------------------------- the manifest

# Prints the manifest that an object holds.
manifest() {
    case $1 in *"-$(digest_of "$1").json.zst.age") ;; *) return 1 ;; esac
    open "$1" | zstd -dcq
}

choose_manifest() {
    local objects at json id found=''
    objects=("$vault"/snapshots/*.json.zst.age)
    [ -e "${objects[0]}" ] || die "the vault holds no snapshot"
    # Their names begin with their time: the last is the newest.
    for ((at = ${#objects[@]} - 1; at >= 0; at--)); do
        if ! json=$(manifest "${objects[at]}"); then
            say "damaged: ${objects[at]}"
            [ -n "$wanted" ] || die "the newest snapshot cannot be read; name another one by its id"
            continue
        fi
        id=$(jq -r .id <<<"$json")
        case $id in "$wanted"*) ;; *) continue ;; esac
        # What was saved before a change holds what that change touched, and is no backup.
        if [ -z "$wanted" ] && [ "$(jq -r .reason <<<"$json")" = safety ]; then
            say "passed over: the safety snapshot $id"
            continue
        fi
        [ -z "$found" ] || die "$wanted fits several snapshots, such as $found and $id"
        found=$id
        printf '%s\n' "$json" >"$work/manifest"
        [ -n "$wanted" ] || break
    done
    [ -n "$found" ] || [ -n "$wanted" ] || die "the vault holds safety snapshots only; name one by its id"
    [ -n "$found" ] || die "no snapshot has an id that begins with $wanted"
    [ "$(jq -r '"\(.format) \(.vault)"' "$work/manifest")" = "1 $vault_id" ] || die "the manifest is of another vault"
    jq -r '"snapshot \(.id) of \(.time), \(.bytes) bytes"' "$work/manifest" >&2
}

# ---------------------------------------------------------------- chunks

# A pack is an age file of zstd frames of a tar archive; its members are chunks, each named by its SHA-256.
unpack() {
    local object
    for object in "$vault"/packs/*/*.tar.zst.age; do
        [ -e "$object" ] || continue
        if [ "$(digest_of "$object").tar.zst.age" != "${object##*/}" ]; then
            say "damaged: $object"
            incomplete=1
        fi
        open "$object" 2>/dev/null | zstd -dcq 2>/dev/null |
            tar -x -m --no-same-owner -f - -C "$work/chunks" 2>/dev/null || incomplete=1
    done
    # What is not what its name says is never used.
    ls -U -- "$work/chunks" | while IFS= read -r name; do printf '%s  %s\n' "$name" "$name"; done >"$work/sums"
    (cd -- "$work/chunks" && sha256sum -c --quiet "$work/sums" 2>/dev/null) >"$work/bad" || :
    while IFS= read -r name; do
        name=${name%%:*}
        say "damaged: chunk ${name:0:8}"
        rm -rf -- "$work/chunks/$name"
        incomplete=1
    done <"$work/bad"
    rm -f -- "$work/sums" "$work/bad"
}

# Appends a part of a chunk to file $1; a hole of zeros where the chunk is -.
append_extent() {
    local chunk=$2 offset=$3 length=$4
    if [ "$chunk" = - ]; then
        truncate -s "+$length" -- "$1"
    elif [ ! -f "$work/chunks/$chunk" ]; then
        return 1
    elif [ "$offset" = 0 ]; then
        head -c "$length" "$work/chunks/$chunk" >>"$1"
    else
        tail -c "+$((offset + 1))" "$work/chunks/$chunk" | head -c "$length" >>"$1" || [ $? -eq 141 ]
    fi
}

# Reads lines CHUNK OFFSET LENGTH and appends what they stand for to file $1. Goes on after a chunk that is missing:
# chunks of lines end at line ends, so that the lines of the others are whole.
append() {
    local chunk offset length whole=0
    while IFS=$us read -r chunk offset length; do
        append_extent "$1" "$chunk" "$offset" "$length" || whole=1
    done
    return $whole
}

extent='"\(.chunk // "-")\u001f\(.offset // 0)\u001f\(.length)"'

# Appends content to file $1: a JSON document on standard input with a list of extents. A list of depth N is kept as
# content itself, N times over: its lines are the extents.
append_content() {
    local content depth whole=0
    content=$(cat)
    depth=$(jq '.depth // 0' <<<"$content")
    jq -r ".extents[] | $extent" <<<"$content" >"$work/extents"
    while [ "$depth" -gt 0 ]; do
        : >"$work/list"
        append "$work/list" <"$work/extents" || whole=1
        jq -r "$extent" "$work/list" >"$work/extents"
        depth=$((depth - 1))
    done
    append "$1" <"$work/extents" && return $whole
}

# ---------------------------------------------------------------- entries

# Sets `path` to the bytes that a written path stands for, safe as an argument. No process is made for it.
decode() {
    path=$1
    case $path in
    *[%\\]*)
        local backslash='\\' escape='\x'
        path=${path//\\/"$backslash"}
        path=${path//[%]/"$escape"}
        printf -v path '%b' "$path"
        ;;
    esac
}

# A path must stay below the folder that is restored into, whatever the listing says.
safe() {
    case /$1/ in
    *//* | */../* | */./*) [ "$1" = . ] ;;
    esac
}

# Reads lines KEY PATH and runs `$@ KEY -- PATHS…` for runs of lines with one key.
in_batches() {
    local key='' next coded paths=()
    run() {
        [ ${#paths[@]} -eq 0 ] || "$@" "$key" -- "${paths[@]}" || note "see the line above"
        paths=()
    }
    while IFS=$us read -r next coded; do
        decode "$coded"
        safe "$path" || continue
        # Of what could not be restored nothing is set.
        [ -e "./$path" ] || [ -L "./$path" ] || continue
        if [ "$next" != "$key" ] || [ ${#paths[@]} -ge 200 ]; then
            run "$@"
            key=$next
        fi
        paths+=("./$path")
    done
    run "$@"
}

make_folders() {
    local coded
    while IFS= read -r coded; do
        decode "$coded"
        safe "$path" || die "the listing has an unsafe path: $coded"
        [ "$path" = . ] || mkdir -p -- "./$path" || note "$coded"
    done
}

# Reads the commands of `commands` and makes everything but folders.
make_entries() {
    local command coded a b file='' ok=0
    finish() {
        [ -z "$file" ] || [ "$ok" = 1 ] || { rm -f -- "$file"; note "$name: a chunk is missing or damaged"; }
        file=''
    }
    while IFS=$us read -r command coded a b; do
        case $command in
        e) # another extent of the file at hand
            [ "$ok" = 0 ] || append_extent "$file" "$coded" "$a" "$b" || ok=0
            continue
            ;;
        c) # its content, kept as content
            append_content "$file" <<<"$coded" || ok=0
            continue
            ;;
        esac
        finish
        decode "$coded"
        if ! safe "$path" || [ "$path" = . ]; then
            note "$coded: an unsafe path"
            continue
        fi
        name=$coded
        case $command in
        file)
            file=./$path ok=1
            : >"$file" || { note "$coded"; file='' ok=0; }
            ;;
        symlink)
            coded=./$path
            decode "$a"
            ln -sT -- "$path" "$coded" || note "$name"
            ;;
        link)
            coded=./$path
            decode "$a"
            safe "$path" && ln -PT -- "./$path" "$coded" || note "$name"
            ;;
        fifo) mkfifo -- "./$path" || note "$coded" ;;
        char) mknod -- "./$path" c "$a" "$b" || note "$coded" ;;
        block) mknod -- "./$path" b "$a" "$b" || note "$coded" ;;
        *) note "$coded: cannot restore a $command" ;;
        esac
    done
    finish
}

# Symbolic links come after all files, so that nothing is ever written through one; other names after what they name.
files="
    select(.link == null and .type == \"file\") | [\"file\", .path],
        (if (.content.depth // 0) > 0 then [\"c\", (.content | tojson)]
         else ((.content.extents // [])[] | [\"e\", .chunk // \"-\", .offset // 0, .length]) end)
    | map(tostring) | join(\"\u001f\")"
others="
    select(.link == null and .type != \"file\" and .type != \"dir\" and .type != \"symlink\")
    | [.type, .path] + (.device // []) | map(tostring) | join(\"\u001f\")"
symlinks="select(.link == null and .type == \"symlink\") | [.type, .path, .target] | join(\"\u001f\")"
links="select(.link != null) | [\"link\", .path, .link] | join(\"\u001f\")"

# The hexadecimal digits of the bytes that a text stands for.
hex='
    def digits: "0123456789abcdef" as $d | $d[. / 16 | floor:][:1] + $d[. % 16:][:1];
    def utf8: if . < 128 then [.]
        elif . < 2048 then [192 + (. / 64 | floor), 128 + . % 64]
        elif . < 65536 then [224 + (. / 4096 | floor), 128 + (. / 64 | floor) % 64, 128 + . % 64]
        else [240 + (. / 262144 | floor), 128 + (. / 4096 | floor) % 64, 128 + (. / 64 | floor) % 64, 128 + . % 64] end;
    def plain: explode | map(utf8[] | digits) | join("");
    def hex: split("%") | ((.[0] // "") | plain) + (.[1:] | map(.[:2] + (.[2:] | plain)) | join(""));'

set_attributes() {
    local coded name value
    while IFS=$us read -r coded name value; do
        decode "$name"
        name=$path
        decode "$coded"
        safe "$path" || continue
        [ -e "./$path" ] || [ -L "./$path" ] || continue
        if ! command -v setfattr >/dev/null; then
            note "$coded: setfattr, which sets extended attributes, is not installed"
        elif [ -n "$value" ]; then
            setfattr -h -n "$name" -v "0x$value" -- "./$path" || note "$coded"
        else
            setfattr -h -n "$name" -- "./$path" || note "$coded"
        fi
    done
}

check_sizes() {
    local size coded expected=() paths=() names=() sizes at
    compare() {
        [ ${#paths[@]} -gt 0 ] || return 0
        mapfile -t sizes < <(stat -c %s -- "${paths[@]}")
        for at in "${!paths[@]}"; do
            if [ "${sizes[at]:-}" != "${expected[at]}" ]; then
                rm -f -- "${paths[at]}"
                note "${names[at]}: it is not as long as it should be"
            fi
        done
        expected=() paths=() names=()
    }
    while IFS=$us read -r size coded; do
        decode "$coded"
        safe "$path" && [ -f "./$path" ] && [ ! -L "./$path" ] || continue
        expected+=("$size") paths+=("./$path") names+=("$coded")
        [ ${#paths[@]} -lt 200 ] || compare
    done
    compare
}

# Restores one source, a line of JSON, into the current folder.
restore_source() {
    local listing=$work/listing step=$work/step uid gid name kind
    : >"$listing"
    jq -c .listing <<<"$1" | append_content "$listing" || { note "a part of the listing is damaged"; }
    uid=$(id -u) gid=$(id -g)
    # A source that is one file has one entry, the root: it is restored under the name it had.
    if [ "$(head -n 1 -- "$listing" | jq -r '"\(.path) \(.type)"')" = ". file" ]; then
        # Rows that a safety snapshot kept are lines of JSON, and no database.
        name=$(jq -r 'if .kind == "rows" then .name + ".jsonl" else (.root | split("/") | last) end' <<<"$1")
        jq -c --arg name "$name" '.path = $name' "$listing" >"$step"
        mv -- "$step" "$listing"
    fi

    jq -r 'select(.type == "dir") | .path' "$listing" >"$step"
    make_folders <"$step"
    for kind in "$files" "$others" "$symlinks" "$links"; do
        jq -r "$kind" "$listing" >"$step"
        make_entries <"$step"
    done
    jq -r 'select(.link == null and .type == "file") | "\(.size // 0)\u001f\(.path)"' "$listing" >"$step"
    check_sizes <"$step"

    # Owners before attributes and modes, which a new owner would clear; folders close last, the deepest first.
    if [ "$uid" = 0 ]; then
        jq -r 'select(.link == null and (.uid != 0 or .gid != 0)) | "\(.uid):\(.gid)\u001f\(.path)"' "$listing" |
            sort >"$step"
        in_batches chown -h <"$step"
    fi
    jq -r "$hex"' select(.link == null) | .path as $path | (.xattrs // {}) | to_entries[]
        | [$path, .key, (.value | hex)] | join("\u001f")' "$listing" >"$step"
    set_attributes <"$step"
    jq -r 'select(.link == null) | "\(.mtime)\u001f\(.path)"' "$listing" | sort >"$step"
    in_batches touch -c -h -m -d <"$step"
    # Without the right owner, setuid and setgid would give rights to somebody else.
    local mode='
        def special($bit): .mode[:-3] | tonumber | . / $bit | floor % 2;
        def kept: if $root then .mode else
            ((if special(4) == 1 and .uid == $uid then 4 else 0 end)
                + (if special(2) == 1 and .gid == $gid then 2 else 0 end) + special(1) | tostring) + .mode[-3:] end;
        select(.link == null and .type != "symlink")'
    local me=(--argjson uid "$uid" --argjson gid "$gid" --argjson root "$([ "$uid" = 0 ] && echo true || echo false)")
    jq -r "${me[@]}" "$mode"' | select(.type != "dir") | "\(kept)\u001f\(.path)"' "$listing" | sort >"$step"
    in_batches chmod <"$step"
    jq -r "${me[@]}" "$mode"' | select(.type == "dir") | "\(kept)\u001f\(.path)"' "$listing" | tac >"$step"
    in_batches chmod <"$step"
}

# ---------------------------------------------------------------- PostgreSQL

# Prints a definition file as psql may read it, or fails. psql runs lines that begin with a backslash as commands of its own,
# a shell among them: what a forged snapshot could hold is not passed on. pg_dump's own lines of that kind are left out.
definitions() {
    local own='^\\\(un\)\{0,1\}restrict [[:alnum:]]*$' found
    [ -f "$1" ] || { note "$1 is missing"; return 1; }
    if found=$(grep -a -n -v -- "$own" "$1" | grep -a -m 1 -- '^[0-9]*:[[:space:]]*\\'); then
        note "$1, line ${found%%:*}, begins with a backslash: psql would run it as a command, so there is no load.sql"
        return 1
    fi
    sed -e "/$own/d" -- "$1"
}

# What jq takes to write names and texts as SQL has them.
sql='
    def doubled: gsub("\""; "\"\"");
    def name: if test("[\n\u001f]")
        then "U&\"" + (gsub("\\\\"; "\\\\") | doubled | gsub("\n"; "\\000A") | gsub("\u001f"; "\\001F")) + "\""
        else "\"" + doubled + "\"" end;
    def text: gsub("\u0027"; "\u0027\u0027")
        | if contains("\\") then "E\u0027" + gsub("\\\\"; "\\\\") + "\u0027" else "\u0027" + . + "\u0027" end;
    def qualified: (.schema | name) + "." + (.name | name);'

# Prints one script that loads the database that lies in the current folder: definitions, rows, large objects, numbers of
# sequences. $1 is the encoding of its rows.
load_script() {
    local word table columns rows oid
    # While psql is restricted it runs no commands but the one that ends it, and that takes a word that nobody can know.
    word=$(od -An -v -N 16 -tx1 /dev/urandom | tr -d ' \n')
    printf '%s\n' '-- Loads this database into an empty one. Roles and tablespaces are in globals.sql, where they are missing.' \
        '-- It is SQL out of a snapshot, and does whatever it says: whoever could write to the vault may have written it.' \
        '-- Do not run it as a superuser unless you trust the vault:  psql -X -d NAME -f load.sql' \
        '-- It takes a psql that knows \restrict: 13.22, 14.19, 15.14, 16.10, 17.6 or newer.' \
        '\set ON_ERROR_STOP on' '\o /dev/null' "\\restrict $word"
    definitions pre-data.sql || return 1
    printf '%s\n' "SET client_encoding = '$1';" 'SET DateStyle = ISO;' 'SET IntervalStyle = postgres;' \
        "SET TimeZone = 'UTC';" 'SET array_nulls = on;' "SET lc_monetary = 'C';" 'SET row_security = off;' 'SET statement_timeout = 0;' 'SET lock_timeout = 0;' \
        'SET client_min_messages = warning;' 'SET check_function_bodies = false;' "SET search_path = '';"
    jq -r "$sql"' [qualified, (.columns | map(.name | name) | join(", ") | if . == "" then "" else "(\(.))" end), .path]
        | join("\u001f")' tables.jsonl >"$work/tables" || return 1
    while IFS=$us read -r table columns rows; do
        if ! safe "$rows" || [ ! -f "./$rows" ]; then
            note "the rows of $table are missing"
            continue
        fi
        # A line like this ends the rows; as a value it is written otherwise.
        if grep -q -x -F -- '\.' "./$rows"; then
            note "$rows is no file of rows: it has a line that ends them"
            return 1
        fi
        printf 'COPY %s %s FROM stdin;\n' "$table" "$columns"
        cat -- "./$rows"
        printf '\\.\n'
    done <"$work/tables"
    for oid in large-objects/*; do
        case ${oid##*/} in *[!0-9]*) continue ;; esac
        # Line by line, each with its number, from which follows where its bytes begin.
        od -An -v -tx1 -w65536 -- "$oid" | tr -d ' ' | cat -n | sed -e \
            "s/^ *\([0-9]*\)\t\(.*\)/SELECT pg_catalog.lo_put(${oid##*/}, (\1 - 1)::bigint * 65536, '\\\\x\2');/"
    done
    jq -r "$sql"' "SELECT pg_catalog.setval(\(qualified | text), \(.last_value), \(.is_called));"' sequences.jsonl || return 1
    definitions post-data.sql || return 1
    definitions database.sql || return 1
    printf '%s\n' 'RESET search_path;' 'ANALYZE;' "\\unrestrict $word"
}

# Puts a script of our own in the place of the snapshot's, in the current folder. $1 is the source.
make_loadable() {
    local encoding
    encoding=$(jq -r 'if .databases[0].facts.encoding == "SQL_ASCII" then "SQL_ASCII" else "UTF8" end' <<<"$1")
    rm -f -- load.sql
    # In a process of its own: what is noted in it is known here by how it ends.
    if (incomplete=0; load_script "$encoding" && exit $((incomplete * 3))) >"$work/load.sql"; then
        mv -- "$work/load.sql" load.sql
    elif [ $? -eq 3 ]; then
        mv -- "$work/load.sql" load.sql
        incomplete=1
    else
        rm -f -- "$work/load.sql"
        note "there is no load.sql: the definitions and rows lie in $PWD"
    fi
}

check_vault_file
unwrap_keys
choose_manifest
say "unpacking …"
unpack
count=$(jq '.sources | length' "$work/manifest")
for ((at = 0; at < count; at++)); do
    source=$(jq -c ".sources[$at]" "$work/manifest")
    name=$(jq -r .name <<<"$source")
    kind=$(jq -r .kind <<<"$source")
    case $kind in
    files | sqlite | postgres | rows) ;;
    *)
        note "source $name: this script restores no sources of the kind $kind"
        continue
        ;;
    esac
    say "restoring $name …"
    folder=$out
    if [ "$count" -gt 1 ]; then
        case $name in */* | .*) die "source $name has an unsafe name" ;; esac
        folder=$out/$name
        mkdir -- "$folder"
    fi
    cd -- "$folder"
    restore_source "$source"
    [ "$kind" != postgres ] || make_loadable "$source"
    cd -- "$work"
done
cd /
if [ "$incomplete" -ne 0 ]; then
    say "restored, but not everything: see above"
    exit 3
fi
say "restored into $out"
