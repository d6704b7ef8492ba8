# shellcheck shell=bash
# What is here: FLAVOUR and STOCK; of xenopsd, what its config says; and whether that will do for
# an install. Needs xenopsd.sh, config.sh, release.sh.

SETTING_NAME=zz-xenvif-tagger.conf # sorts last: of several settings the last one counts
USUAL="/usr/libexec/xenopsd/setup-vif-rules /opt/xensource/libexec/setup-vif-rules"
LIBXL_STOCK=/etc/xen/scripts/vif-openvswitch

# Sets FLAVOUR, UNIT and, for xenopsd, all that is known of its config.
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

# Sets CONF and CONF_DIR, and SETTING: our file there.
find_config_dir() {
    local daemon=${ARGV[0]##*/} value
    CONF=$(option config)
    CONF=${CONF:-/etc/$daemon.conf}
    CONF_DIR=$(option config-dir)
    CONF_DIR=${CONF_DIR:-/etc/$daemon.conf.d}
    # The config file, too, can say where the directory is: it is read first.
    value=$(values config-dir "$ROOT$CONF" | tail -n 1)
    CONF_DIR=${value:-$CONF_DIR}
    while [[ $CONF_DIR == ?*/ ]]; do CONF_DIR=${CONF_DIR%/}; done
    SETTING=$CONF_DIR/$SETTING_NAME
}

# The config files, in the order in which they are read; hidden ones are read, too.
config_files() {
    printf '%s\n' "$CONF"
    [ ! -d "$ROOT$CONF_DIR" ] || find "$ROOT$CONF_DIR" -mindepth 1 -maxdepth 1 -printf '%f\n' |
        sort | while IFS= read -r file; do printf '%s\n' "$CONF_DIR/$file"; done
}

# Sets STOCK to the script that xenopsd uses without us, OVERRIDES to a file whose setting would
# count instead of ours, and BY_HAND to a file that names our hook and is not ours.
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

# What the hook finds without being told.
usual_stock() {
    local place
    for place in $USUAL; do
        if [ -x "$ROOT$place" ]; then printf '%s\n' "$place"; return; fi
    done
}

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
        [ -n "$STOCK" ] || refuse "no stock setup-vif-rules: neither does xenopsd's config name" \
            "one, nor is it in one of the usual places ($USUAL)"
        if [ ! -f "$ROOT$STOCK" ] || [ ! -x "$ROOT$STOCK" ]; then
            refuse "xenopsd's setup-vif-rules is $STOCK, and that is missing or not executable"
        fi
        first=$(head -c 200 "$ROOT$STOCK" | head -n 1 | tr -d '\0')
        case $first in
            '#!'*python3*) ;;
            '#!'*python*) refuse "$STOCK is for Python 2 ($first), as in XCP-ng 8.2 and older:" \
                "xenvif-tagger needs XCP-ng 8.3 or XenServer 8, or newer" ;;
        esac
        [ -z "$OVERRIDES" ] || refuse "$OVERRIDES sets setup-vif-rules, and is read after our own" \
            "$SETTING_NAME: give it a name that sorts before it"
        [ -z "$BY_HAND" ] || refuse "$BY_HAND names our hook in setup-vif-rules: take that line out"
        # networkd goes by the file, the scripts by the module.
        [ ! -r "$ROOT/etc/xensource/network.conf" ] ||
            network=$(tr -d '[:space:]' <"$ROOT/etc/xensource/network.conf")
        if ! live || [ -e /sys/module/openvswitch ]; then loaded=yes; fi
        if [ "$network" = bridge ] || [ -z "$network$(grep yes <<<$loaded)" ]; then
            refuse "this host uses the Linux bridge, not Open vSwitch (/etc/xensource/network.conf," \
                "/sys/module/openvswitch): there is nothing to tag"
        fi
        [ $loaded = yes ] || warn "/etc/xensource/network.conf says $network, but the module is not" \
            "loaded: until then the scripts use the Linux bridge, and the hook does nothing"
    fi

    [ -x "$ROOT$PYTHON" ] || [ -L "$ROOT$PYTHON" ] || refuse "there is no $PYTHON"
    if live; then
        version=$("$PYTHON" -IS -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
    else # not to be run, and its name says it
        version=$(readlink "$ROOT$PYTHON")
        version=${version##*python}
    fi
    case $version in
        3.[0-5] | [0-2].*) refuse "$PYTHON is Python $version: it takes 3.6 or newer" ;;
        3.*) ;;
        *) ! live || refuse "$PYTHON does not run" ;;
    esac

    while read -r file path; do
        if { [ -e "$ROOT$path" ] || [ -L "$ROOT$path" ]; } && ! is_linked "$file" "$path"; then
            refuse "$path is there already, and not ours: take it away first"
        fi
    done < <(links here)

    settle_stock
}

# end of look.sh
