# shellcheck shell=bash
# Files and links that are replaced by one rename; and the state file $STATE, which has in lines
# KEY=VALUE the changes that --uninstall must undo. A key may stand in several lines. Needs
# steps.sh, ROOT.

BASE=/opt/xenvif-tagger
STATE=$ROOT$BASE/state

# put TEXT FILE NEW: writes TEXT to NEW, and renames NEW to FILE. (fsync: otherwise a power cut
# could leave FILE renamed and empty.)
put() {
    {
        printf '%s\n' "$1" | dd of="$3" conv=fsync 2>/dev/null && chmod 644 "$3" &&
            mv -fT "$3" "$2"
    } || {
        rm -f "$3"
        die "can't write $2"
    }
}

# leads_to TARGET PATH: whether PATH is a symbolic link to TARGET.
leads_to() { [ -L "$2" ] && [ "$(readlink "$2")" = "$1" ]; }

# link TARGET PATH: makes PATH a symbolic link to TARGET, by one rename.
link() {
    ! leads_to "$1" "$2" || return 0
    { ln -sfn "$1" "$2.new" && mv -fT "$2.new" "$2"; } || die "can't make the link $2"
}

hash_of() { sha256sum 2>/dev/null <"$1" | cut -d" " -f1; }

state_get() {
    [ -f "$STATE" ] || return 0
    local line
    while IFS= read -r line; do
        [ "${line%%=*}" != "$1" ] || printf '%s\n' "${line#*=}"
    done <"$STATE"
}

state_has() {
    [ -f "$STATE" ] || return 1
    local line
    while IFS= read -r line; do
        [ "$line" != "$1=$2" ] || return 0
    done <"$STATE"
    return 1
}

state_add() {
    ! state_has "$1" "$2" || return 0
    local all=""
    [ ! -f "$STATE" ] || all=$(<"$STATE")$'\n'
    put "$all$1=$2" "$STATE" "$STATE.new"
}

state_del() {
    state_has "$1" "$2" || return 0
    put "$(grep -vxF -- "$1=$2" "$STATE")" "$STATE" "$STATE.new"
}

# state_only KEY VALUE: makes VALUE the one value of KEY.
state_only() {
    local old
    state_add "$1" "$2"
    while IFS= read -r old; do
        [ "$old" = "$2" ] || state_del "$1" "$old"
    done < <(state_get "$1")
}

# make_directory PATH: makes a directory and its parents, and notes those that were missing in the
# state file.
make_directory() {
    local path=$1 missing=()
    while [ ! -d "$ROOT$path" ]; do
        missing+=("$path")
        path=$(dirname "$path")
    done
    for path in "${missing[@]+"${missing[@]}"}"; do
        state_add made "$path"
    done
    must mkdir -p "$ROOT$1"
}

# end of files.sh
