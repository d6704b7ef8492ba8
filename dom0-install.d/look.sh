# shellcheck shell=bash
# Looks at the host: which toolstack it has (FLAVOUR), which script plugs its VIFs (STOCK), what
# xenopsd's config says, and whether the host is fit for an install. Needs xenopsd.sh, config.sh,
# release.sh.

SETTING_NAME=zz-xenvif-tagger.conf # sorts last: xenopsd keeps the last of several values
USUAL="/usr/libexec/xenopsd/setup-vif-rules /opt/xensource/libexec/setup-vif-rules"
LIBXL_STOCK=/etc/xen/scripts/vif-openvswitch

# Sets FLAVOUR, STOCK and UNIT; for xenopsd also the variables of the functions below.
look_around() {
    SETTING="" STOCK="" OVERRIDES="" BY_HAND=""
    find_unit
    if [ -n "$UNIT" ]; then
        FLAVOUR=xenopsd
        read_unit
        find_config_dir
        find_stock
    elif [ -e "$ROOT$LIBXL_STOCK" ]; then
        FLAVOUR=libxl
        STOCK=$LIBXL_STOCK
    else
        FLAVOUR=none
    fi
}

# Sets CONF and CONF_DIR to xenopsd's config file and config directory, and SETTING to the path of
# our own file in that directory.
find_config_dir() {
    local daemon=${ARGV[0]##*/} value
    CONF=$(option config)
    CONF=${CONF:-/etc/$daemon.conf}
    CONF_DIR=$(option config-dir)
    CONF_DIR=${CONF_DIR:-/etc/$daemon.conf.d}
    # xenopsd reads the config file before the directory, and the file may name the directory.
    value=$(values config-dir "$ROOT$CONF" | tail -n 1)
    CONF_DIR=${value:-$CONF_DIR}
    while [[ $CONF_DIR == ?*/ ]]; do CONF_DIR=${CONF_DIR%/}; done
    SETTING=$CONF_DIR/$SETTING_NAME
}

# Prints xenopsd's config files in the order in which xenopsd reads them, hidden files included.
config_files() {
    printf '%s\n' "$CONF"
    [ ! -d "$ROOT$CONF_DIR" ] || find "$ROOT$CONF_DIR" -mindepth 1 -maxdepth 1 -printf '%f\n' |
        sort | while IFS= read -r file; do printf '%s\n' "$CONF_DIR/$file"; done
}

# Sets STOCK to the script that xenopsd uses without us, OVERRIDES to a config file that is read
# after ours and sets setup-vif-rules too, and BY_HAND to a config file that somebody else wrote and
# that names our hook.
find_stock() {
    local file value place chosen search
    chosen=$(option setup-vif-rules)
    search=$(option search-path)
    while IFS= read -r file; do
        [ "$file" != "$SETTING" ] || continue
        while IFS= read -r value; do
            if [[ $value == "$BASE"/* ]]; then
                BY_HAND=$file
                continue
            fi
            chosen=$value
            if [[ $file == "$CONF_DIR"/* && ${file##*/} > $SETTING_NAME ]]; then OVERRIDES=$file; fi
        done < <(values setup-vif-rules "$ROOT$file")
        while IFS= read -r value; do
            search=$value:$search
        done < <(values search-path "$ROOT$file")
    done < <(config_files)
    case $chosen in
        /*) STOCK=$chosen; return ;;
    esac
    chosen=${chosen:-setup-vif-rules}
    local IFS=:
    for place in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin $search; do
        if [ -n "$place" ] && [ -e "$ROOT$place/$chosen" ]; then
            STOCK=$place/$chosen
            return
        fi
    done
    unset IFS
    STOCK=$(usual_stock)
}

# Prints the stock script that the hook finds without stock_script in its config file.
usual_stock() {
    local place
    for place in $USUAL; do
        if [ -x "$ROOT$place" ]; then printf '%s\n' "$place"; return; fi
    done
}

# Refuses a host on which an install can't succeed, and a bundle that is incomplete.
refuse_if_unfit() {
    local version first network="" loaded=no part file path
    if [ "$FLAVOUR" = none ]; then
        refuse "this is not a dom0: there is neither xenopsd nor $LIBXL_STOCK"
    fi
    for part in xenvif_tagger/__init__.py hotplug/setup-vif-rules hotplug/xenvif-tagger \
        hotplug/xenvif-tagger.conf hotplug/$SERVICE \
        $([ "$FLAVOUR" = xenopsd ] || echo hotplug/vif-openvswitch-tagger); do
        [ -f "$HERE/$part" ] || refuse "$HERE/$part is missing: unpack the whole bundle"
    done

    if [ "$FLAVOUR" = xenopsd ]; then
        [ -n "$STOCK" ] || refuse "there is no stock setup-vif-rules: xenopsd's config names" \
            "none, and none of the usual files is there ($USUAL)"
        if [ ! -f "$ROOT$STOCK" ] || [ ! -x "$ROOT$STOCK" ]; then
            refuse "xenopsd uses $STOCK as its setup-vif-rules, and that file is missing or not" \
                "executable"
        fi
        first=$(head -c 200 "$ROOT$STOCK" | head -n 1 | tr -d '\0')
        case $first in
            '#!'*python3*) ;;
            '#!'*python*) refuse "$STOCK is a script for Python 2 ($first), as in XCP-ng 8.2 and" \
                "older: xenvif-tagger needs XCP-ng 8.3 or XenServer 8, or newer" ;;
        esac
        [ -z "$OVERRIDES" ] || refuse "$OVERRIDES sets setup-vif-rules, and xenopsd reads that" \
            "file after our $SETTING_NAME: give that file a name that sorts before $SETTING_NAME"
        [ -z "$BY_HAND" ] || refuse "$BY_HAND names our hook in setup-vif-rules: take that line out"
        # xcp-networkd reads this file to know whether to use Open vSwitch; the stock scripts look
        # whether the kernel's module is loaded.
        [ ! -r "$ROOT/etc/xensource/network.conf" ] ||
            network=$(tr -d '[:space:]' <"$ROOT/etc/xensource/network.conf")
        if ! live || [ -e /sys/module/openvswitch ]; then loaded=yes; fi
        if [ "$network" = bridge ] || [ -z "$network$(grep yes <<<$loaded)" ]; then
            refuse "this host uses the Linux bridge, not Open vSwitch (see" \
                "/etc/xensource/network.conf and /sys/module/openvswitch): a Linux bridge has no" \
                "ports to tag"
        fi
        [ $loaded = yes ] || warn "/etc/xensource/network.conf says $network, but the module" \
            "openvswitch is not loaded: until it is loaded, the stock scripts use the Linux" \
            "bridge, and the hook does nothing"
    fi

    [ -x "$ROOT$PYTHON" ] || [ -L "$ROOT$PYTHON" ] || refuse "there is no $PYTHON"
    if live; then
        version=$("$PYTHON" -IS -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
    else # the Python below --root can't be run here, but the name of its file has the version
        version=$(readlink "$ROOT$PYTHON")
        version=${version##*python}
    fi
    case $version in
        3.[0-5] | [0-2].*) refuse "$PYTHON is Python $version: xenvif-tagger needs 3.6 or newer" ;;
        3.*) ;;
        *) ! live || refuse "$PYTHON does not run" ;;
    esac

    while read -r file path; do
        if { [ -e "$ROOT$path" ] || [ -L "$ROOT$path" ]; } && ! is_linked "$file" "$path"; then
            refuse "$path is there already, and not ours: move it away first"
        fi
    done < <(links here)

    # Below --root an absolute symbolic link leads out of the image, into this machine.
    path=$(readlink -m "$ROOT${BASE%/*}")
    [[ $path == "$ROOT"/* ]] || refuse "$ROOT${BASE%/*} is a link to $path, outside of $ROOT:" \
        "make it a relative link"

    settle_stock
}

# end of look.sh
