# shellcheck shell=bash
# The steps of an install, in their order. Needs all files but uninstall.sh and check.sh.

install() {
    local name release path old part file text hash again=0 code=0 watcher=0
    refuse_if_unfit
    release=$(release_name "$HERE")
    path=$ROOT$BASE/releases/$release
    old=$(readlink "$ROOT$BASE/current")

    # 1. Note what uninstall will need.
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

    # 2. Copy the new release beside the one in use. 3. Put the new release into use by one rename.
    # A plug that is under way goes on with the release with which it began: so step 10 keeps the
    # release that was in use until now, and deletes only older releases.
    # (A damaged release is not repaired, because a plug may be using it: a copy with another number
    # is put beside it.)
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
        compile "$path" # because dom0 may have got another Python since the last install
    fi
    if [ "$old" != "releases/$release" ] && step "put $release into use"; then
        link "releases/$release" "$ROOT$BASE/current"
        point current
    fi

    # 4. Make the links in $BASE, and the links from elsewhere into $BASE.
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
    while read -r file path; do # links to files that this release no longer has
        if [ ! -e "$HERE/hotplug/$file" ] && is_linked "$file" "$path" && step "remove $path"; then
            must rm -f "$ROOT$path"
        fi
    done < <(links)

    # 5. Write the config file.
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

    # 6. Start the watcher, which reads the config file at its start.
    install_service "$release" || watcher=1

    if [ "$FLAVOUR" = libxl ]; then
        if ! is_linked vif-openvswitch-tagger "$LIBXL_LINK" &&
            step "link the hook: $LIBXL_LINK"; then
            link "$BASE/hotplug/vif-openvswitch-tagger" "$ROOT$LIBXL_LINK"
            point libxl-link
        fi
    else
        # xenopsd's config may name the hook only after the hook can be run.
        [ "$DRY" = 1 ] || { [ -f "$ROOT$BASE/current/hotplug/setup-vif-rules" ] &&
            [ -x "$ROOT$BASE/current/hotplug/setup-vif-rules" ]; } ||
            die "$HOOK can't be run, so xenopsd's config was not changed"
        install_setting
        if live; then
            restart
            code=$?
            point restart
            [ $code != 1 ] || take_setting_back
            # 9. Give the hook to VIFs that are plugged already.
            rewrite_keys "$STOCK" "$HOOK" || die "xenstore can't be reached: VIFs that are" \
                "plugged now keep the stock script until they are unplugged or you run this again"
            [ "$DRY" = 1 ] || point keys
        fi
    fi

    # 10. Remove older releases, and keep the release that was in use until now (see step 2).
    for path in "$ROOT$BASE/releases"/* "$ROOT$BASE/releases"/.new; do
        case $path in
            */"$release" | "$ROOT$BASE/${old:-releases/$release}" | *'/*') continue ;;
        esac
        if [ -e "$path" ] && step "remove ${path#"$ROOT"}"; then must rm -rf "$path"; fi
    done
    [ "$DRY" = 1 ] || point tidy

    [ "$STEPS" != 0 ] || say "nothing to do"
    if [ "$FLAVOUR" = libxl ]; then
        say "to use the hook for a guest, put script=vif-openvswitch-tagger into its vif line" \
            "(xl) or <script path='$LIBXL_LINK'/> into its interface (libvirt)"
    fi
    if [ $code = 4 ]; then
        say "$UNIT has not read the setting yet, and plugs new VIFs as before until it has. When" \
            "no VM is being started, stopped or migrated, run this script again, or" \
            "xe-toolstack-restart"
    fi
    [ $watcher = 0 ] || die "the watcher does not run: see systemctl status $SERVICE, mend that," \
        "and run this script again. All other steps are done"
    [ $code != 4 ] || [ "$NO_RESTART" = 1 ] || exit "$RESTART_LATER"
}

# end of install.sh
