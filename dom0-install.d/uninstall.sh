# shellcheck shell=bash
# The steps of --uninstall, in their order. Needs all files but check.sh.

uninstall() {
    local code=0 marks=0 file path stock running=0
    [ "$(state_get flavour)" = "" ] || FLAVOUR=$(state_get flavour)
    stock=$(state_get stock | tail -n 1)
    [ -n "$stock" ] && [ -x "$ROOT$stock" ] || stock=${STOCK:-$stock}
    if [ -n "${BY_HAND:-}" ]; then
        refuse "$BY_HAND names our hook in setup-vif-rules: without the hook xenopsd could not" \
            "start. Remove that line first"
    fi
    if live && [ "$FLAVOUR" = xenopsd ] && [ -e "$HOOK" ] && [ ! -x "$stock" ]; then
        refuse "there is no stock script at ${stock:-$USUAL}: with neither the stock script nor" \
            "our hook xenopsd could not start. Put the stock script back first"
    fi

    # 1. Remove the setting. 2. Restart xenopsd, so that it runs without the setting. 3. Give the
    # stock script back to the VIFs that are plugged.
    remove_setting
    [ "$DRY" = 1 ] || point setting
    if live && [ "$FLAVOUR" != none ] && { have xenstore-ls || [ -e "$BASE" ]; }; then
        running=1
        if [ -n "$(state_get setting)" ] || [ -f "$UNREAD" ] || [ "$WOULD_CHANGE" = 1 ]; then
            restart
            code=$?
            point restart
            [ $code != 1 ] || die "$UNIT does not run since I restarted it: see journalctl -u $UNIT"
        fi
        if [ "$FLAVOUR" = xenopsd ]; then path=$HOOK; else path=$LIBXL_LINK; fi
        rewrite_keys "$path" "$stock" || die "xenstore can't be reached, and plugged VIFs may" \
            "name the hook there, so the hook stays. Run this script again"
        [ "$DRY" = 1 ] || point keys
        if [ $code = 4 ]; then
            say "$UNIT still has the old setting, and plugs VIFs with our hook, which therefore" \
                "stays. When no VM is being started, stopped or migrated, run this script again" \
                "(before or after xe-toolstack-restart)"
            exit "$RESTART_LATER"
        fi
    fi
    # 4. Stop the watcher. 5. Remove our marks, now that neither hook nor watcher writes new ones.
    remove_service
    if [ $running = 1 ]; then
        remove_marks || marks=$MARKS_LEFT
        [ "$DRY" = 1 ] || point marks
    fi

    # 6. Remove the links, 7. the config file, 8. all other files.
    remove_libxl_link
    while read -r file path; do
        if is_linked "$file" "$path" && step "remove $path"; then
            must rm -f "$ROOT$path"
            point links
        fi
    done < <(links)
    if [ -n "$(state_get config)" ] && [ -e "$ROOT$CONFIG" ]; then
        if is_our_config; then
            if step "remove $CONFIG"; then
                must rm -f "$ROOT$CONFIG"
                point config
            fi
        else
            say "$CONFIG was changed since it was installed, so the file stays"
        fi
    fi
    remove_files

    if [ "$STEPS" = 0 ]; then say "nothing to do: nothing of xenvif-tagger is installed here"; fi
    if [ "$marks" != 0 ]; then
        warn "the database can't be reached: our marks are still in it. They have no effect; to" \
            "remove the marks later: for p in \$(ovs-vsctl --bare --columns=_uuid find Port" \
            "'external_ids:xenvif-tagger!=\"\"'); do ovs-vsctl remove Port \$p external_ids" \
            "xenvif-tagger; done"
    fi
    exit "$marks"
}

# Removes the hook of libxl. While a guest's config names the hook, a stub that runs the stock
# script stays in the hook's place: xl restarts a guest from the config that xl has saved, so without
# the stub a guest that runs now would end at its next reboot.
remove_libxl_link() {
    local users
    if [ "$(readlink "$ROOT$LIBXL_LINK")" != "$BASE/hotplug/vif-openvswitch-tagger" ] &&
        ! is_stub; then return 0; fi
    users=$(hook_users)
    if [ -z "$users" ]; then
        if step "remove $LIBXL_LINK"; then
            must rm -f "$ROOT$LIBXL_LINK"
            point libxl-link
        fi
        return
    fi
    if ! is_stub && step "put a stub that runs $LIBXL_STOCK in the place of $LIBXL_LINK"; then
        put "$STUB" "$ROOT$LIBXL_LINK.new" "$ROOT$LIBXL_LINK.tmp"
        must chmod 755 "$ROOT$LIBXL_LINK.new"
        must mv -fT "$ROOT$LIBXL_LINK.new" "$ROOT$LIBXL_LINK"
        point libxl-link
    fi
    tell_users "$users"
}

remove_files() {
    local made=() new=() file path
    while read -r file path; do
        new+=("$ROOT$path.new")
    done < <(links)
    # An interrupted run may have left a new file that was not renamed yet.
    for path in "$ROOT$CONFIG.new" "$ROOT$LIBXL_LINK.new" "$ROOT$LIBXL_LINK.tmp" "$ROOT$SERVICE_FILE.new" \
        "$ROOT$SERVICE_LINK.new" ${SETTING:+"$ROOT${CONF_DIR%/*}/.$SETTING_NAME.new"} \
        "${new[@]}"; do
        if { [ -e "$path" ] || [ -L "$path" ]; } && step "remove ${path#"$ROOT"}"; then
            must rm -f "$path"
        fi
    done
    mapfile -t made < <(state_get made | sort -r)
    for path in "${made[@]+"${made[@]}"}"; do
        if [ -d "$ROOT$path" ] && [[ $BASE != "$path"/* ]] && step "remove $path, if empty"; then
            rmdir "$ROOT$path" 2>/dev/null
            point made
        fi
    done
    if { [ -e "$ROOT$BASE" ] || [ -L "$ROOT$BASE" ]; } && step "remove $BASE"; then
        # The state file goes last: if this run is interrupted, the next one needs it.
        must find "$ROOT$BASE" -mindepth 1 -maxdepth 1 ! -name state -exec rm -rf {} +
        point files
        must rm -rf "$ROOT$BASE"
        for path in "${made[@]+"${made[@]}"}"; do
            if [[ $BASE == "$path"/* ]]; then rmdir "$ROOT$path" 2>/dev/null; fi
        done
        point base
    fi
}

# end of uninstall.sh
