# shellcheck shell=bash
# The steps of an install, in their order. Needs all but uninstall.sh and check.sh.

LIBXL_LINK=/etc/xen/scripts/vif-openvswitch-tagger

install() {
    local name release path old part file text hash again=0 code=0 watcher=0
    refuse_if_unfit
    release=$(release_name "$HERE")
    path=$ROOT$BASE/releases/$release
    old=$(readlink "$ROOT$BASE/current")

    # 1. What uninstall must know.
    if [ ! -f "$STATE" ] || [ "$(state_get stock)" != "$STOCK" ] ||
        [ "$(state_get flavour)" != "$FLAVOUR" ]; then
        if step "note down in $BASE/state: stock script $STOCK"; then
            part=""
            [ -d "$ROOT${BASE%/*}" ] || part=${BASE%/*}
            must mkdir -p "$ROOT$BASE"
            [ -z "$part" ] || state_add made "$part"
            state_only flavour "$FLAVOUR"
            state_only stock "$STOCK"
            point state
        fi
    fi

    # 2. The new release, beside the one in use; 3. into use by one rename. A plug that is under
    # way keeps the one that it began with: the last but one is deleted only in the end.
    # (One that was damaged is not repaired, it may be in use: another is put beside it.)
    name=$release
    case $old in
        "releases/$name".*) if [ "$(release_name "$ROOT$BASE/$old")" = "$name" ]; then
            release=${old#releases/} path=$ROOT$BASE/$old
        fi ;;
    esac
    while [ -d "$path" ] && [ "$(release_name "$path")" != "$name" ]; do
        again=$((again + 1)) release=$name.$again path=$ROOT$BASE/releases/$name.$again
    done
    if [ ! -d "$path" ]; then
        if step "copy xenvif-tagger $release into $BASE"; then
            copy_release "$path"
            point release
        fi
    elif [ "$DRY" = 0 ]; then
        compile "$path" # for a Python that is new since; does nothing where all is there
    fi
    if [ "$old" != "releases/$release" ] && step "put $release into use"; then
        link "releases/$release" "$ROOT$BASE/current"
        point current
    fi

    # 4. The links, there and to there.
    if ! linked && step "make the links in $BASE"; then
        for part in $PARTS; do
            if [ -e "$HERE/$part" ]; then link "current/$part" "$ROOT$BASE/$part"; fi
        done
        point links-inside
    fi
    while read -r file path; do
        if ! is_linked "$file" "$path" && step "link $path"; then
            link "$BASE/hotplug/$file" "$ROOT$path"
            point links
        fi
    done < <(links here)
    while read -r file path; do # what this release has no more
        if is_linked "$file" "$path" && [ ! -e "$HERE/hotplug/$file" ] && step "remove $path"; then
            must rm -f "$ROOT$path"
        fi
    done < <(links)

    # 5. The config file.
    if [ ! -e "$ROOT$CONFIG" ] || is_our_config; then
        text=$(shipped_config)
        hash=$(sha256sum <<<"$text" | cut -d' ' -f1)
        if [ "$hash" != "$(hash_of "$ROOT$CONFIG")" ] && step "write $CONFIG"; then
            state_add config "$hash"
            point config-noted
            put "$text" "$ROOT$CONFIG" "$ROOT$CONFIG.new"
            point config-written
            state_only config "$hash"
            point config
        fi
    fi

    # 6. The watcher, with the config that it reads at its start.
    install_service "$release" || watcher=1

    if [ "$FLAVOUR" = libxl ]; then
        if [ "$(readlink "$ROOT$LIBXL_LINK")" != "$BASE/hotplug/vif-openvswitch-tagger" ] &&
            step "link the hook: $LIBXL_LINK"; then
            link "$BASE/hotplug/vif-openvswitch-tagger" "$ROOT$LIBXL_LINK"
            point libxl-link
        fi
    else
        # Nothing may name the hook before it can be run.
        [ "$DRY" = 1 ] || { [ -f "$ROOT$BASE/current/hotplug/setup-vif-rules" ] &&
            [ -x "$ROOT$BASE/current/hotplug/setup-vif-rules" ]; } ||
            die "$HOOK can't be run: nothing names it yet"
        install_setting
        if live; then
            restart
            code=$?
            point restart
            [ $code != 1 ] || take_setting_back
            # 9. VIFs plugged before that.
            rewrite_keys "$STOCK" "$HOOK" || die "xenstore can't be reached: VIFs that are plugged" \
                "now are not covered until they are unplugged or this is run again"
            [ "$DRY" = 1 ] || point keys
        fi
    fi

    # 10. What an upgrade leaves, but for the release that was in use until now.
    for path in "$ROOT$BASE/releases"/* "$ROOT$BASE/releases"/.new; do
        case $path in
            */"$release" | "$ROOT$BASE/${old:-releases/$release}" | *'/*') continue ;;
        esac
        if [ -e "$path" ] && step "remove ${path#"$ROOT"}"; then must rm -rf "$path"; fi
    done
    [ "$DRY" = 1 ] || point tidy

    [ "$STEPS" != 0 ] || say "nothing to do"
    if [ "$FLAVOUR" = libxl ]; then
        say "to use it for a guest: script=vif-openvswitch-tagger in its vif line (xl), or" \
            "<script path='$LIBXL_LINK'/> in its interface (libvirt)"
    fi
    if [ $code = 4 ]; then
        say "$UNIT has not read the setting yet. When no VM is being started, stopped or migrated:" \
            "run this again, or xe-toolstack-restart. Until then new VIFs are plugged as before"
    fi
    [ $watcher = 0 ] || die "the watcher does not run: systemctl status $SERVICE. All else is done;" \
        "run this again once that is mended"
    [ $code != 4 ] || [ "$NO_RESTART" = 1 ] || exit "$RESTART_LATER"
}

# end of install.sh
