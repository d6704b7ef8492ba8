# shellcheck shell=bash
# --check. Needs all files but uninstall.sh.

# expect WHAT COMMAND...: prints OK and WHAT if the command succeeds, else MISSING and WHAT.
expect() {
    local what=$1
    shift
    if "$@" >/dev/null 2>&1; then
        say "OK       $what"
    else
        say "MISSING  $what"
        ALL=1
    fi
}

config_is_good() {
    (cd / && "$PYTHON" -IS - "$BASE/current" "$CONFIG" <<'CODE'
import sys
sys.path.insert(0, sys.argv[1])
from xenvif_tagger.host import config
problems = config.read(sys.argv[2])[1]
sys.exit("\n".join(problems) or None)
CODE
    )
}

compiled() {
    "$PYTHON" -IS - "$BASE/current/xenvif_tagger" <<'CODE'
import os, sys
from importlib.util import cache_from_source
for where, _, names in os.walk(sys.argv[1]):
    for name in names:
        if name.endswith(".py"):
            os.stat(cache_from_source(os.path.join(where, name)))
CODE
}

# Whether xenopsd's config names our hook, and no later file names another script.
hook_counts() {
    [ -z "$OVERRIDES" ] && [ "$(values setup-vif-rules "$ROOT$SETTING")" = "$HOOK" ]
}

# no_key_with VALUE: whether no plugged VIF's key in xenstore has this value. False, too, if
# xenstore can't be read.
no_key_with() { [ -z "$(keys_with "$1" || echo failed)" ]; }

check() {
    local file path
    ALL=0
    if [ "$FLAVOUR" = none ]; then
        refuse "this is not a dom0: there is neither xenopsd nor $LIBXL_STOCK"
    fi
    expect "the stock script${STOCK:+ $STOCK}" test -x "$ROOT$STOCK"
    if [ "$FLAVOUR" = xenopsd ]; then
        expect "the hook $HOOK" test -f "$ROOT$BASE/current/hotplug/setup-vif-rules" \
            -a -x "$ROOT$BASE/current/hotplug/setup-vif-rules"
    else
        expect "the hook $LIBXL_LINK" test -x "$ROOT$BASE/current/hotplug/vif-openvswitch-tagger" \
            -a -L "$ROOT$LIBXL_LINK"
    fi
    expect "the package in $BASE" test -f "$ROOT$BASE/current/xenvif_tagger/__init__.py"
    if live; then
        expect "the package is compiled for $PYTHON" compiled
        expect "the command $COMMAND runs" "$COMMAND" --version
        expect "the config file $CONFIG is there, and has no mistakes" config_is_good
    else
        expect "the config file $CONFIG" test -f "$ROOT$CONFIG"
    fi
    while read -r file path; do
        expect "the link $path" is_linked "$file" "$path"
    done < <(links here)
    if has_systemd; then
        expect "the watcher's unit $SERVICE_FILE" service_there
        expect "the watcher is enabled" service_enabled
        ! live || expect "the watcher runs, from the release in use" service_runs
    fi
    if is_stub; then
        path=$(hook_users)
        if [ -n "$path" ]; then tell_users "$path"; else
            say "no config names $LIBXL_LINK any more: --uninstall removes this stub"
        fi
    fi
    if [ "$FLAVOUR" = xenopsd ]; then
        expect "the setting $SETTING, which no other file overrides" hook_counts
        if live; then
            expect "$UNIT has read the setting" eval "[ -f '$UNREAD' ] && ! is_unread"
            expect "all VIFs that are plugged have the hook in xenstore" no_key_with "$STOCK"
        fi
    fi
    exit $ALL
}

# end of check.sh
