# shellcheck shell=bash
# The watcher's systemd unit. Needs files.sh, UNIT_PLACES of xenopsd.sh, HERE.

SERVICE=xenvif-tagger.service
SERVICE_FILE=/etc/systemd/system/$SERVICE
SERVICE_LINK=/etc/systemd/system/multi-user.target.wants/$SERVICE

# Whether systemd runs here; with --root, whether the image has a directory for units.
has_systemd() {
    local place
    if live; then
        # The test of sd_booted(3): systemctl alone may be installed where systemd does not run.
        [ -d /run/systemd/system ] && have systemctl
        return
    fi
    for place in $UNIT_PLACES; do
        if [ -d "$ROOT$place" ]; then return 0; fi
    done
    return 1
}

# Sets WATCHER to the release from which the watcher runs ("none" if the watcher doesn't run), and
# RELOAD to "yes" if the unit on the disk is newer than the one that systemd has read.
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
        # The watcher's working directory is the release to which $BASE/current led at its start.
        # (The kernel shows this directory without symbolic links, and /opt may be such a link.)
        WATCHER=$(readlink "/proc/$pid/cwd")
        WATCHER=${WATCHER#"$(readlink -f "$BASE")/"}
    fi
}

service_there() { cmp -s "$ROOT$BASE/current/hotplug/$SERVICE" "$ROOT$SERVICE_FILE"; }

service_enabled() { leads_to "$SERVICE_FILE" "$ROOT$SERVICE_LINK"; }

service_runs() {
    look_at_service
    [ "$WATCHER" = "$(readlink "$BASE/current")" ] && [ "$RELOAD" != yes ]
}

# install_service RELEASE: false if the watcher can't be started. The install then does its other
# steps, because the hook works without the watcher, and reports the watcher in the end.
install_service() {
    local release=$1
    if ! has_systemd; then
        say "there is no systemd here, so the watcher is not started: have '$COMMAND watch'" \
            "started by this host's own init system"
        return 0
    fi
    if ! { cmp -s "$HERE/hotplug/$SERVICE" "$ROOT$SERVICE_FILE" && service_enabled; } &&
        step "write the unit of the watcher, $SERVICE_FILE, and enable it"; then
        state_add service "$SERVICE"
        make_directory "${SERVICE_LINK%/*}"
        point service-noted
        put "$(<"$HERE/hotplug/$SERVICE")" "$ROOT$SERVICE_FILE" "$ROOT$SERVICE_FILE.new"
        point service
        link "$SERVICE_FILE" "$ROOT$SERVICE_LINK"
        point service-link
    fi
    live || return 0
    look_at_service
    if [ "$WATCHER" = "releases/$release" ] && [ "$RELOAD" != yes ]; then return 0; fi
    step "start the watcher: systemctl restart $SERVICE" || return 0
    # (systemctl restart waits until the watcher has said that it is ready.)
    if ! systemctl daemon-reload || ! systemctl restart "$SERVICE"; then return 1; fi
    point service-started
    look_at_service
    [ "$WATCHER" = "releases/$release" ]
}

# Stops the watcher and removes its unit. Must run before remove_marks: the watcher would write our
# marks again.
remove_service() {
    local path
    if [ -z "$(state_get service)" ]; then return 0; fi
    if step "stop the watcher, and remove $SERVICE_FILE"; then
        # The link goes first: a reboot before the next step must not start the watcher.
        must rm -f "$ROOT$SERVICE_LINK"
        point service-link
        if live && has_systemd; then
            # (systemctl stop fails for a unit that is not loaded; such a unit does not run.)
            systemctl stop "$SERVICE" 2>/dev/null
            look_at_service
            [ "$WATCHER" = none ] ||
                die "the watcher can't be stopped: see systemctl status $SERVICE"
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
