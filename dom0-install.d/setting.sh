# shellcheck shell=bash
# The setting by which xenopsd runs our hook, and the restart after which xenopsd has read that
# setting. Needs files.sh, and UNIT, CONF_DIR and SETTING of look.sh.

HOOK=$BASE/hotplug/setup-vif-rules
WOULD_CHANGE=0 # with --dry-run: 1 if a real run would change the setting
UNREAD=$ROOT$BASE/unread # a file that names the process of xenopsd that has not read the setting

setting_text() {
    cat <<TEXT
# Written by dom0-install.sh of xenvif-tagger, and removed by its --uninstall. xenopsd reads every
# file in this directory, whatever its name: leave no copy of this file here.
setup-vif-rules=$HOOK
TEXT
}

# 7. Write the setting. (install.sh counts the steps.)
install_setting() {
    local other new same=1
    setting_text | cmp -s - "$ROOT$SETTING" || same=0
    if [ "$same$DRY" = 01 ]; then WOULD_CHANGE=1; fi
    if [ $same = 0 ] && step "write the setting $SETTING"; then
        state_add setting "$SETTING"
        make_directory "$CONF_DIR"
        point setting-noted
        # xenopsd reads every file in the directory, and does not start if one of them vanishes
        # while it reads: so the new file is written beside the directory and then renamed.
        new=${CONF_DIR%/*}/.$SETTING_NAME.new
        rm -f "$UNREAD"
        put "$(setting_text)" "$ROOT$SETTING" "$ROOT$new"
        point setting-written
        if live; then note_unread; fi
        point setting
    fi
    # If xenopsd reads another config directory since the last install, our old file is still in the
    # former directory.
    while IFS= read -r other; do
        if [ "$other" != "$SETTING" ] &&
            step "remove the setting $other, which xenopsd no longer reads"; then
            must rm -f "$ROOT$other"
            state_del setting "$other"
        fi
    done < <(state_get setting)
}

# Removes the setting from every place that the state file names, and from the place to which an
# install would write it now.
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
    warn "$UNIT does not run with the new setting, so I remove the setting again"
    remove_setting
    systemctl reset-failed "$UNIT" >/dev/null 2>&1
    systemctl restart "$UNIT"
    if [ "$(running)" = none ]; then
        die "$UNIT does not run without the setting either: see journalctl -u $UNIT"
    fi
    die "$UNIT runs again, without the setting. All else stays installed: --uninstall removes it"
}

# Prints which process xenopsd is (boot id, process number, time of its start), or "none" if xenopsd
# doesn't run. (Without the boot id a process of another boot could look the same.)
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
        echo "$(</proc/sys/kernel/random/boot_id) $pid $since"
    fi
}

# Notes that the process of xenopsd that runs now has not read the setting that the file has now.
note_unread() { put "$(running)" "$UNREAD" "$UNREAD.new"; }

# Whether xenopsd runs and has not read the setting. Without the file $UNREAD the setting counts as
# not read: this script may have been killed after it changed the setting and before it wrote that
# file.
is_unread() {
    local now
    now=$(running)
    [ "$now" != none ] && {
        [ $WOULD_CHANGE = 1 ] || [ ! -f "$UNREAD" ] || [ "$now" = "$(<"$UNREAD")" ]
    }
}

# Exit status 0: xenopsd has tasks in progress, and BUSY names them; 1: xenopsd has none; 2: neither
# xenops-cli nor xe could be asked.
is_busy() {
    local tasks
    # xenops-cli prints a line for each task, "ID DATE WHO ["Pending",0.5]", and below it the lines
    # of its subtasks. Subtasks are left out, because a failed task may have pending subtasks. A
    # task that is completed or failed stays in the list until xapi removes it.
    if have xenops-cli && tasks=$(timeout 10 xenops-cli tasks 2>/dev/null); then
        BUSY=$(grep -v '^  |_' <<<"$tasks" | grep -F '["Pending"' | sed 's/ *\["Pending".*//')
    elif have xe && tasks=$(timeout 20 xe task-list status=pending --minimal 2>/dev/null); then
        BUSY=$tasks
    else
        return 2
    fi
    [ -n "$BUSY" ]
}

# Restarts xenopsd if it has not read the setting. Exit status 0: done, or not needed; 1: xenopsd
# does not run now; 4: the restart was not tried.
restart() {
    local deadline busy told="" before now
    if [ -z "$UNIT" ] || ! live || ! is_unread; then return 0; fi
    # The file is missing if this script was killed after it changed the setting and before it wrote
    # the file.
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
        [ -n "$told" ] || say "I wait until $UNIT has no task in progress: ${BUSY//$'\n'/; }"
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
    # systemd takes a unit of Type=simple for running as soon as the unit's process is started: so
    # this script looks for some seconds whether the same process goes on running.
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
