# shellcheck shell=bash
# Our setting in xenopsd's config, and the restart by which xenopsd reads it. Needs files.sh, and of
# look.sh UNIT, CONF_DIR, SETTING.

HOOK=$BASE/hotplug/setup-vif-rules
WOULD_CHANGE=0 # with --dry-run: whether it is not what xenopsd has read
UNREAD=$ROOT$BASE/unread # which xenopsd has not read the setting

setting_text() {
    cat <<TEXT
# Written by dom0-install.sh of xenvif-tagger, and taken away by its --uninstall. xenopsd reads
# every file in this directory: leave no copy of this one here.
setup-vif-rules=$HOOK
TEXT
}

# 7. The setting.
install_setting() {
    local other new same=1
    setting_text | cmp -s - "$ROOT$SETTING" || same=0
    if [ "$same$DRY" = 01 ]; then WOULD_CHANGE=1; fi
    if [ $same = 0 ] && step "write the setting $SETTING"; then
        state_add setting "$SETTING"
        make_directory "$CONF_DIR"
        point setting-noted
        # Every file in there is read, and one that goes away meanwhile stops xenopsd from
        # starting: so the new file is made elsewhere, beside the directory.
        new=${CONF_DIR%/*}/.$SETTING_NAME.new
        rm -f "$UNREAD"
        put "$(setting_text)" "$ROOT$SETTING" "$ROOT$new"
        point setting-written
        if live; then note_unread; fi
        point setting
    fi
    # The unit may have been told of another directory since.
    while IFS= read -r other; do
        if [ "$other" != "$SETTING" ] && step "remove the setting $other, which is not read"; then
            must rm -f "$ROOT$other"
            state_del setting "$other"
        fi
    done < <(state_get setting)
}

# remove_setting: whatever we have recorded, the place where we would write it now included.
remove_setting() {
    local file
    while IFS= read -r file; do
        [ -e "$ROOT$file" ] || continue
        [ "$DRY" = 0 ] || WOULD_CHANGE=1
        if step "remove the setting $file"; then
            rm -f "$UNREAD"
            must rm -f "$ROOT$file"
            point setting-removed
            if live && [ -n "$UNIT" ]; then note_unread; fi
        fi
    done < <({ state_get setting; [ -z "${SETTING:-}" ] || echo "$SETTING"; } | sort -u)
}

take_setting_back() {
    warn "$UNIT does not run with the new setting, so I take that back"
    remove_setting
    systemctl reset-failed "$UNIT" >/dev/null 2>&1
    systemctl restart "$UNIT"
    if [ "$(running)" = none ]; then die "$UNIT does not run without it either: journalctl -u $UNIT"; fi
    die "$UNIT runs again, without it; nothing else was taken back (--uninstall does that)"
}

# Which process xenopsd is, "none" if it doesn't run. (Of the boot, too: numbers come again.)
running() {
    local line pid=0 active="" since=""
    while IFS= read -r line; do
        case $line in
            MainPID=*) pid=${line#*=} ;;
            ActiveState=*) active=${line#*=} ;;
            ExecMainStartTimestampMonotonic=*) since=${line#*=} ;;
        esac
    done < <(systemctl show -p MainPID -p ActiveState -p ExecMainStartTimestampMonotonic "$UNIT")
    if [ "$active" != active ] || [ "$pid" = 0 ]; then
        echo none
    else
        echo "$(cat /proc/sys/kernel/random/boot_id) $pid $since"
    fi
}

# Note down which xenopsd has not read the setting as it is now.
note_unread() { put "$(running)" "$UNREAD" "$UNREAD.new"; }

# Whether the xenopsd that runs has not read it. Where nothing is noted down (killed in between),
# it has not.
is_unread() {
    local now
    now=$(running)
    [ "$now" != none ] && { [ $WOULD_CHANGE = 1 ] || [ ! -f "$UNREAD" ] || [ "$now" = "$(cat "$UNREAD")" ]; }
}

# Whether xenopsd has tasks in progress: 0 yes, 1 no, 2 can't be told. BUSY says which.
is_busy() {
    local tasks
    # "ID DATE WHO ["Pending",0.5]", and below each its parts, which we leave: a failed task may
    # have pending ones. What is completed or failed stays listed until xapi takes it away.
    if have xenops-cli && tasks=$(timeout 10 xenops-cli tasks 2>/dev/null); then
        BUSY=$(grep -v '^  |_' <<<"$tasks" | grep -F '["Pending"' | sed 's/ *\["Pending".*//')
    elif have xe && tasks=$(timeout 20 xe task-list status=pending --minimal 2>/dev/null); then
        BUSY=$tasks
    else
        return 2
    fi
    [ -n "$BUSY" ]
}

# Restart xenopsd if it has not read the setting. 0 done or not needed, 1 it does not run now,
# 4 it was not tried.
restart() {
    local deadline busy told="" before now
    if [ -z "$UNIT" ] || ! live || ! is_unread; then return 0; fi
    # Nothing noted down means: killed between the change and the note.
    [ "$DRY" = 1 ] || [ -f "$UNREAD" ] || note_unread
    [ "$NO_RESTART" = 0 ] || return 4
    if [ "$DRY" = 1 ]; then step "restart $UNIT when it has no task in progress"; return 0; fi
    deadline=$((SECONDS + WAIT))
    while :; do
        is_busy
        busy=$?
        [ $busy != 1 ] || break
        if [ $busy = 2 ]; then
            warn "neither xenops-cli nor xe says whether $UNIT has tasks in progress"
            return 4
        fi
        if [ -z "$told" ]; then say "wait until $UNIT has no task in progress: ${BUSY//$'\n'/; }"; fi
        told=1
        if [ $SECONDS -ge $deadline ]; then
            warn "after $WAIT s $UNIT still has tasks in progress"
            return 4
        fi
        sleep "${XENVIF_TAGGER_INSTALL_POLL:-1}"
    done
    before=$(running)
    step "restart $UNIT"
    systemctl restart "$UNIT" || return 1
    # The unit is of the simple kind: started counts as running, so look whether it stays.
    now=$(running)
    deadline=$((SECONDS + ${XENVIF_TAGGER_INSTALL_SETTLE:-3}))
    while :; do
        if [ "$now" = none ] || [ "$now" = "$before" ] || [ "$now" != "$(running)" ]; then
            return 1
        fi
        if [ $SECONDS -ge $deadline ]; then return 0; fi
        sleep 0.2
    done
}

# end of setting.sh
