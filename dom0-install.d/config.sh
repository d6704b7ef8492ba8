# shellcheck shell=bash
# Our own config file. Needs files.sh, HERE, and of look.sh STOCK.

CONFIG=/etc/xenvif-tagger.conf

# setting_in FILE SECTION KEY: of our own config file.
setting_in() {
    awk -v section="$2" -v key="$3" '
        { sub(/^[ \t]+/, ""); sub(/[ \t\r]+$/, "") }
        /^\[.*\]$/ { now = substr($0, 2, length($0) - 2); gsub(/^[ \t]+|[ \t]+$/, "", now); next }
        now == section && index($0, "=") {
            name = substr($0, 1, index($0, "=") - 1); sub(/[ \t]+$/, "", name)
            value = substr($0, index($0, "=") + 1); sub(/^[ \t]+/, "", value)
            if (name == key && value != "") { print value; exit }
        }' "$1"
}

# Where the hook would not find the stock script by itself, the config must say it: ours will
# (NAME_STOCK), another's is refused if it does not.
settle_stock() {
    local needed="" told
    NAME_STOCK=
    if [ "$FLAVOUR" = xenopsd ] && [ "$STOCK" != "$(usual_stock)" ]; then needed=$STOCK; fi
    if [ -f "$ROOT$CONFIG" ] && ! is_our_config; then
        told=$(setting_in "$ROOT$CONFIG" plug stock_script)
        if [ -n "$needed" ] && [ -z "$told" ]; then
            refuse "xenopsd uses $needed, and $CONFIG does not say so: put" \
                "'stock_script = $needed' into it, under [plug]"
        elif [ "$FLAVOUR" = xenopsd ] && [ -n "$told" ] && [ "$told" != "$STOCK" ]; then
            warn "$CONFIG says stock_script = $told; xenopsd itself uses $STOCK"
        fi
    else
        NAME_STOCK=$needed
    fi
}

is_our_config() { state_has config "$(hash_of "$ROOT$CONFIG")"; }

shipped_config() {
    if [ -n "$NAME_STOCK" ]; then
        awk -v line="stock_script = $NAME_STOCK" \
            '/^#stock_script =/ { print line; next } { print }' "$HERE/hotplug/xenvif-tagger.conf"
    else
        cat "$HERE/hotplug/xenvif-tagger.conf"
    fi
}

# end of config.sh
