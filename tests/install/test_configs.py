"""dom0-install.sh finds, writes and keeps xenopsd's config files and our own."""
import ctypes
import os
import re
import struct

import pytest

from support.constants import ROOT
from support.install_host import (
    CONFIG,
    DONE,
    EXEC,
    FAILED,
    HOOK,
    OLD_STOCK,
    PLUGGED,
    SETTING,
    STOCK,
    UNIT,
    default_directory,
    set_unit,
    write,
)
from xenvif_tagger.host import config


def equals_sign(host):
    set_unit(host, "/usr/sbin/xenopsd-xc --config=/etc/xenopsd.conf --config-dir=/etc/dir.d/")
    return "/etc/dir.d"


def deep_directory(host):
    set_unit(host, "/usr/sbin/xenopsd-xc --config /etc/xenopsd.conf --config-dir /srv/new/a/b")
    return "/srv/new/a/b"


def by_variable(host):
    set_unit(host, "/usr/sbin/xenopsd-xc --config /etc/xenopsd.conf $OPTIONS")
    write(host.at("/etc/sysconfig/xenopsd"), 'X=1\nOPTIONS="--config-dir /etc/other.d"')
    return "/etc/other.d"


def by_config_file(host):
    """xenopsd's config file names the config directory."""
    with open(host.at("/etc/xenopsd.conf"), "a") as stream:
        stream.write("config-dir = '/etc/third.d'\n")
    return "/etc/third.d"


def with_a_space(host):
    with open(host.at("/etc/xenopsd.conf"), "a") as stream:
        stream.write('config-dir="/etc/a b.d"\n')
    return "/etc/a b.d"


@pytest.mark.parametrize("variant", [
    default_directory, equals_sign, deep_directory, by_variable, by_config_file, with_a_space],
    ids=lambda variant: variant.__name__)
def test_writes_the_setting_where_the_unit_reads_it(host, variant):
    directory = variant(host)
    host.start()
    result = host.install()
    assert result.code == DONE, result
    host.assert_installed()
    assert directory + "/zz-xenvif-tagger.conf" in host.changes() and SETTING not in host.changes()
    assert host.install("--uninstall").code == DONE
    host.assert_as_before()


def test_asks_an_old_systemctl(host):
    """systemctl of systemd 219, in XCP-ng 8.3, prints the property EnvironmentFiles under the name
    EnvironmentFile."""
    host.unit(FILES="EnvironmentFile")
    by_variable(host)
    host.start()
    assert host.install().code == DONE
    host.assert_installed()


def test_follows_a_unit_that_names_another_directory_now(installed):
    start = EXEC.replace("/etc/xenopsd.conf.d", "/etc/new.d")
    installed.write(UNIT, "[Service]\nExecStart=%s\n" % start)
    assert installed.install("--check").code == FAILED
    result = installed.install()
    assert result.code == DONE, result
    installed.assert_installed()
    assert not installed.exists(SETTING)
    assert installed.install("--uninstall").code == DONE
    assert set(installed.changes()) == {UNIT}


@pytest.mark.parametrize("name, setting, stock", [
    ("b", "setup-vif-rules=%s", "/third/party one"),
    ("A.bak", "  setup-vif-rules \t=  '%s'   # a comment", "/third/party"),
    (".hidden~", "some words setup-vif-rules=%s", "/third/party"),
])
def test_the_script_that_xenopsd_runs_becomes_the_stock_script(host, name, setting, stock):
    """If xenopsd runs a script of a third party when we install, our hook runs that script as the
    stock script."""
    write(host.at(stock), "#!/bin/sh\n", 0o755)
    write(host.at("/etc/xenopsd.conf.d/.0"), "setup-vif-rules=/overridden\n")
    write(host.at("/etc/xenopsd.conf.d/" + name), setting % stock + "\nsetup-vif-rulez=/x\n")
    host.keys[PLUGGED % ("a", 0)] = host.keys[PLUGGED % ("a", 1)] = stock
    host.store(host.keys)
    host.start()
    assert host.xenopsd_would_run() == stock
    assert host.install().code == DONE
    assert config.parse(host.text(CONFIG))[0]["plug", "stock_script"] == stock
    assert host.store()[PLUGGED % ("a", 0)] == HOOK
    assert host.install("--uninstall").code == DONE
    assert host.changes() == {} and host.store() == host.keys


def test_the_stock_script_by_the_search_path_and_in_the_other_usual_place(host):
    os.rename(host.at(STOCK), host.at(OLD_STOCK))
    write(host.at("/etc/xenopsd.conf"), "search-path=/x:/opt/xensource/libexec\n")
    host.start()
    result = host.install()
    assert result.code == DONE, result
    assert "stock script " + OLD_STOCK in result.out
    assert config.parse(host.text(CONFIG))[0]["plug", "stock_script"] is None


def test_a_third_partys_script_that_goes_again(up):
    """The third party's setting goes: after the next install our hook runs the usual stock script,
    and our config is as shipped."""
    up.write("/third", "#!/bin/sh\n")
    up.run("chmod", "+x", "/third")
    up.write("/etc/xenopsd.conf.d/a", "setup-vif-rules=/third\n")
    assert up.install().code == DONE
    up.run("rm", "/etc/xenopsd.conf.d/a")
    assert up.install().code == DONE
    assert config.parse(up.text(CONFIG))[0]["plug", "stock_script"] is None
    up.assert_installed()


class Watched(object):
    """Watches the files of a directory by inotify; events() returns a list of (name, event)."""

    EVENTS = {0x2: "written", 0x100: "created", 0x40: "moved away", 0x80: "moved here",
              0x200: "deleted"}

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self._fd, path.encode(), sum(self.EVENTS)) > 0

    def events(self):
        found = []
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            data = b""
        while data:
            _, event, _, length = struct.unpack_from("iIII", data)
            found.append((data[16:16 + length].rstrip(b"\0").decode(), self.EVENTS[event]))
            data = data[16 + length:]
        return found


def test_no_half_or_temporary_file_in_the_directory_that_xenopsd_reads(up):
    """xenopsd reads all files of the directory, and does not start if a file goes away while
    xenopsd reads the directory."""
    watched = Watched(up.path(os.path.dirname(SETTING)))
    name = os.path.basename(SETTING)
    up.install()
    assert watched.events() == [(name, "moved here")]
    up.install()
    assert watched.events() == []
    up.install("--uninstall")
    assert watched.events() == [(name, "deleted")]


def test_an_existing_config_is_kept(host):
    write(host.at(CONFIG), "[hold]\nbridges = br7\n", 0o640)
    host.start()
    assert host.install().code == DONE
    assert CONFIG not in host.changes()
    assert host.install("--uninstall").code == DONE
    host.assert_as_before()


def test_a_config_that_was_changed_after_the_install_stays(installed):
    installed.write(CONFIG, "[hold]\nbridges = br7\n")
    assert installed.install().code == DONE
    assert installed.text(CONFIG) == "[hold]\nbridges = br7\n"
    result = installed.install("--uninstall")
    assert result.code == DONE and "so the file stays" in result.out, result
    assert set(installed.changes()) == {CONFIG}


def test_an_upgrade_renews_a_config_that_nobody_changed(installed):
    with open(installed.bundle("hotplug/xenvif-tagger.conf"), "a") as stream:
        stream.write("# more to say\n")
    assert installed.install().code == DONE
    assert installed.text(CONFIG).endswith("# more to say\n")
    assert installed.install("--uninstall").code == DONE
    installed.assert_as_before()


def test_check_finds_a_mistake_in_the_config(installed):
    installed.write(CONFIG, "[hold]\nbridge = br7\n")
    result = installed.install("--check")
    assert result.code == FAILED and re.search("MISSING.*" + CONFIG, result.out), result


def test_the_config_as_shipped_has_all_keys_and_changes_nothing():
    with open(os.path.join(ROOT, "hotplug", "xenvif-tagger.conf")) as stream:
        text = stream.read()
    assert config.parse(text) == config.parse("")
    values, problems = config.parse(re.sub(r"(?m)^#(\w+ =)", r"\1", text))
    assert not problems and values == config.parse("")[0]
    section, keys = None, set()
    for line in text.splitlines():
        section = line[1:-1] if line.startswith("[") else section
        if re.match(r"#\w+ =", line):
            keys.add((section, line[1:].split(" =")[0]))
    assert keys == set(config.KEYS)
