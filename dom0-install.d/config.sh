# shellcheck shell=bash
# The config file of xenvif-tagger. Needs files.sh, release.sh, HERE, and of look.sh STOCK.

CONFIG=/etc/xenvif-tagger.conf

# config_value SECTION KEY: prints the text that the config file gives for a key, read by the reader
# that the hook, the watcher and the commands use. Prints nothing if the file is not there, does not
# set the key, or sets the key to a value that this reader rejects. False if the file can't be read.
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

# If the stock script that xenopsd uses is in none of the usual places, the config file must name
# that script for the hook. Sets NAME_STOCK to the script's path if the config file that we write
# must name the script, or else to "". Refuses a config file of the admin's that must name the script
# and names none.
settle_stock() {
    local needed="" told
    NAME_STOCK=
    if [ "$FLAVOUR" = xenopsd ] && [ "$STOCK" != "$(usual_stock)" ]; then needed=$STOCK; fi
    if [ -f "$ROOT$CONFIG" ] && ! is_our_config; then
        told=$(config_value plug stock_script) || refuse "$CONFIG can't be read with $PYTHON"
        if [ -n "$needed" ] && [ -z "$told" ]; then
            refuse "xenopsd uses $needed as its setup-vif-rules, and $CONFIG does not name" \
                "that script: add the line 'stock_script = $needed' below [plug] there"
        elif [ "$FLAVOUR" = xenopsd ] && [ -n "$told" ] && [ "$told" != "$STOCK" ]; then
            warn "stock_script in $CONFIG has the hook run $told; xenopsd itself uses $STOCK"
        fi
    else
        NAME_STOCK=$needed
    fi
}

# Whether the config file is as we wrote it.
is_our_config() { state_has config "$(hash_of "$ROOT$CONFIG")"; }

# Prints the config file to be installed.
shipped_config() {
    if [ -n "$NAME_STOCK" ]; then
        awk -v line="stock_script = $NAME_STOCK" \
            '/^#stock_script =/ { print line; next } { print }' "$HERE/hotplug/xenvif-tagger.conf"
    else
        cat "$HERE/hotplug/xenvif-tagger.conf"
    fi
}

# end of config.sh
