# shellcheck shell=bash
# The script that xenstore names for each VIF. Needs FLAVOUR of look.sh.

# keys_with VALUE: the paths of the keys that name the script of a VIF and are VALUE.
keys_with() {
    local trees tree listed pattern path value
    if [ "$FLAVOUR" = xenopsd ]; then
        trees=/xapi
        pattern='/xapi/[^/ ]*/private/vif/[0-9]*/setup-vif-rules'
    else
        trees="/local/domain/0/backend/vif /libxl"
        pattern='/[^ ]*/vif/[0-9/]*/script'
    fi
    for tree in $trees; do
        # (With -f values are not cut to the width of a terminal.)
        if ! listed=$(xenstore-ls -f "$tree" 2>&1); then
            case $listed in
                *"No such file"*) continue ;; # no VM yet
                *) warn "xenstore-ls $tree: ${listed##*$'\n'}"; return 1 ;;
            esac
        fi
        while read -r path value; do
            if [ "$value" = "= \"$1\"" ]; then printf '%s\n' "$path"; fi
        done < <(grep "^$pattern = " <<<"$listed")
    done
}

# rewrite_keys FROM TO: false if xenstore can't be reached.
rewrite_keys() {
    local found path count=0
    found=$(keys_with "$1") || return 1
    [ -n "$found" ] || return 0
    step "set $2 in xenstore for VIFs that are plugged with $1: $(wc -l <<<"$found")" || return 0
    while IFS= read -r path; do
        # (Unplugged since it was listed: a write would make it anew.)
        if [ "$(xenstore-read "$path" 2>/dev/null)" = "$1" ]; then
            xenstore-write "$path" "$2" || return 1
        fi
        count=$((count + 1))
        [ $count != 1 ] || point key
    done <<<"$found"
}

# end of xenstore.sh
