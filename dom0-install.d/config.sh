# shellcheck shell=bash
# Our own config file. Needs files.sh, release.sh, HERE, and of look.sh STOCK.

CONFIG=/etc/xenvif-tagger.conf

# config_value SECTION KEY: the text that the config file gives for a key, read by the reader that
# the hook, the watcher and the commands have. Empty if the file is not there, or does not set the
# key, or sets it to a value that they ignore. False if the file can't be read.
config_value() {
    [ -f "$ROOT$CONFIG" ] || return 0
    "$PYTHON" -BIS - "$HERE" "$ROOT$CONFIG" "$@" 2>/dev/null <<'CODE'
import sys
here, path, section, key = sys.argv[1:]
sys.path.insert(0, here)
from xenvif_tagger.host import config
sys.stdout.buffer.write((config.read(path)[0][section, key] or "").encode())
CODE
}

# Where the hook would not find the stock script by itself, the config must say it: ours will
# (NAME_STOCK), another's is refused if it does not.
settle_stock() {
    local needed="" told
    NAME_STOCK=
    if [ "$FLAVOUR" = xenopsd ] && [ "$STOCK" != "$(usual_stock)" ]; then needed=$STOCK; fi
    if [ -f "$ROOT$CONFIG" ] && ! is_our_config; then
        told=$(config_value plug stock_script) || refuse "$CONFIG can't be read with $PYTHON"
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
