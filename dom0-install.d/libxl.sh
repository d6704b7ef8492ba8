# shellcheck shell=bash
# The configs of libxl's guests that name our hook, and the stub that stays for them after an
# uninstallation. Needs look.sh, ROOT.

LIBXL_LINK=/etc/xen/scripts/vif-openvswitch-tagger
STUB="#!/bin/sh
# A stub that xenvif-tagger left when it was uninstalled, because configs of guests named this file.
# It runs the stock script. dom0-install.sh --uninstall removes it when no config names it any more.
exec $LIBXL_STOCK \"\$@\""

is_stub() {
    [ -f "$ROOT$LIBXL_LINK" ] && [ ! -L "$ROOT$LIBXL_LINK" ] &&
        [ "$(cat "$ROOT$LIBXL_LINK")" = "$STUB" ]
}

# Prints the files that name our hook as the script of a VIF: the configs that xl has saved for
# guests that run, those of libvirt, and those at xl's usual place. (Save images, and configs in
# other places, can't be found.)
hook_users() {
    local path
    for path in "$ROOT"/var/lib/xen/userdata-d.*.libxl-json "$ROOT"/etc/libvirt/libxl/*.xml \
        "$ROOT"/var/run/libvirt/libxl/*.xml "$ROOT"/etc/xen/*.cfg "$ROOT"/etc/xen/auto/*; do
        if [ -f "$path" ] && grep -q "${LIBXL_LINK##*/}" "$path"; then
            printf '%s\n' "${path#"$ROOT"}"
        fi
    done
}

# tell_users FILES: says which configs name the hook, and how to change each.
tell_users() {
    local path domid
    while IFS= read -r path; do
        case $path in
            */userdata-d.*)
                domid=${path##*/userdata-d.} domid=${domid%%.*}
                say "$path names $LIBXL_LINK: take script= out of the guest's config file CFG, and" \
                    "run: xl config-update $domid CFG" ;;
            /var/run/libvirt/* | /etc/libvirt/*)
                path=${path##*/}
                say "libvirt's guest ${path%.xml} names $LIBXL_LINK: take <script> out with virsh" \
                    "edit ${path%.xml}; a running guest keeps the link until the guest is started" \
                    "anew" ;;
            *) say "$path names $LIBXL_LINK: take script= out of this file" ;;
        esac
    done <<<"$1"
    say "$LIBXL_LINK stays as long as one of these configs names this path, and runs the stock" \
        "script. When none names it, run dom0-install.sh --uninstall of the bundle again"
}

# end of libxl.sh
