# shellcheck shell=bash
# The watcher: a unit of systemd's. Needs files.sh, UNIT_PLACES of xenopsd.sh, HERE.

SERVICE=xenvif-tagger.service # the watcher
SERVICE_FILE=/etc/systemd/system/$SERVICE
SERVICE_LINK=/etc/systemd/system/multi-user.target.wants/$SERVICE

# Whether there is a systemd that could run it; below --root, one that it could be for.
has_systemd() {
    local place
    if live; then
        # As sd_booted(3): it is installed in many a place where it does not run.
        [ -d /run/systemd/system ] && have systemctl
        return
    fi
    for place in $UNIT_PLACES; do
        if [ -d "$ROOT$place" ]; then return 0; fi
    done
    return 1
}

# Sets WATCHER: the release that the watcher runs ("none" if it doesn't), and RELOAD: whether
# systemd has another unit than what is on the disk now.
look_at_service() {
    local line active="" pid=0
    WATCHER=none RELOAD=no
    while IFS= read -r line; do
        case $line in
            ActiveState=*) active=${line#*=} ;;
            MainPID=*) pid=${line#*=} ;;
            NeedDaemonReload=*) RELOAD=${line#*=} ;;
        esac
    done < <(systemctl show -p ActiveState -p MainPID -p NeedDaemonReload "$SERVICE" 2>/dev/null)
    if [ "$active" = active ] && [ "$pid" != 0 ]; then
        # Its working directory is $BASE/current, where that led to when it was started.
        WATCHER=$(readlink "/proc/$pid/cwd")
        WATCHER=${WATCHER#"$BASE/"}
    fi
}

service_there() { cmp -s "$ROOT$BASE/current/hotplug/$SERVICE" "$ROOT$SERVICE_FILE"; }

service_enabled() { [ "$(readlink "$ROOT$SERVICE_LINK")" = "$SERVICE_FILE" ]; }

service_runs() {
    look_at_service
    [ "$WATCHER" = "$(readlink "$BASE/current")" ] && [ "$RELOAD" != yes ]
}

# False if the watcher can't be started. That is told, and keeps nothing else from being installed:
# the hook does not need it.
install_service() {
    local release=$1
    if ! has_systemd; then
        say "there is no systemd here, so the watcher is not started: run '$COMMAND watch' by" \
            "what there is instead"
        return 0
    fi
    if ! { cmp -s "$HERE/hotplug/$SERVICE" "$ROOT$SERVICE_FILE" && service_enabled; } &&
        step "write the unit of the watcher, $SERVICE_FILE, and enable it"; then
        state_add service "$SERVICE"
        make_directory "${SERVICE_LINK%/*}"
        point service-noted
        put "$(cat "$HERE/hotplug/$SERVICE")" "$ROOT$SERVICE_FILE" "$ROOT$SERVICE_FILE.new"
        point service
        link "$SERVICE_FILE" "$ROOT$SERVICE_LINK"
        point service-link
    fi
    live || return 0
    look_at_service
    if [ "$WATCHER" = "releases/$release" ] && [ "$RELOAD" != yes ]; then return 0; fi
    step "start the watcher: systemctl restart $SERVICE" || return 0
    # (It waits until the watcher says that it is ready. An earlier one may have been told to stop
    # trying, by hand.)
    if ! systemctl daemon-reload || ! systemctl restart "$SERVICE"; then return 1; fi
    point service-started
    look_at_service
    [ "$WATCHER" = "releases/$release" ]
}

# Before our marks are taken out: it would write them again.
remove_service() {
    local path
    if [ -z "$(state_get service)" ]; then return 0; fi
    if step "stop the watcher, and remove $SERVICE_FILE"; then
        # First the link, so that it is not started either, should the host be booted in between.
        must rm -f "$ROOT$SERVICE_LINK"
        point service-link
        if live && has_systemd; then
            # (One that is not loaded can't be stopped, and need not be.)
            systemctl stop "$SERVICE" 2>/dev/null
            look_at_service
            [ "$WATCHER" = none ] || die "the watcher can't be stopped: systemctl status $SERVICE"
        fi
        point service-stopped
        must rm -f "$ROOT$SERVICE_FILE"
        point service
        if live && has_systemd; then
            systemctl reset-failed "$SERVICE" 2>/dev/null
            must systemctl daemon-reload
        fi
    fi
    for path in "$ROOT$SERVICE_FILE.d"/*; do
        if [ -e "$path" ]; then say "${path#"$ROOT"} is not ours: it stays"; fi
    done
}

# end of watcher.sh
