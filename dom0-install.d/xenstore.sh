# shellcheck shell=bash
# The keys in xenstore that name the script of each plugged VIF. Needs FLAVOUR of look.sh.

# keys_with VALUE: prints the paths of those keys that have this value. False if xenstore can't be
# read.
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
        # (Without -f xenstore-ls cuts values to the width of the terminal.)
        if ! listed=$(xenstore-ls -f "$tree" 2>&1); then
            case $listed in
                *"No such file"*) continue ;; # no VM has been started since boot
                *) warn "xenstore-ls $tree: ${listed##*$'\n'}"; return 1 ;;
            esac
        fi
        while read -r path value; do
            if [ "$value" = "= \"$1\"" ]; then printf '%s\n' "$path"; fi
        done < <(grep "^$pattern = " <<<"$listed")
    done
}

# rewrite_keys FROM TO: changes the keys that have the value FROM to TO. False if xenstore can't be
# reached.
rewrite_keys() {
    local found path count=0
    found=$(keys_with "$1") || return 1
    [ -n "$found" ] || return 0
    step "set $2 in xenstore for VIFs that are plugged with $1: $(wc -l <<<"$found")" || return 0
    while IFS= read -r path; do
        # (If the VIF was unplugged meanwhile, its key is gone, and a write would create it again.)
        if [ "$(xenstore-read "$path" 2>/dev/null)" = "$1" ]; then
            xenstore-write "$path" "$2" || return 1
        fi
        count=$((count + 1))
        [ $count != 1 ] || point key
    done <<<"$found"
}

# end of xenstore.sh
