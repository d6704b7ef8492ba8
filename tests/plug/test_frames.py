"""Ctrl-C while our code runs in a plug: the traceback of the stock script shows no frame of
ours."""
import re
import signal
import subprocess
import sys

import pytest

from dom0.xapi import SETUP_VIF_RULES as STOCK
from support.constants import ROOT

# A function of each room that a plug passes through.
STEPS = ("host/paths.default_remote", "core/birth.born", "ovsdb/client.Client.transact",
         "plug/hook.Plug.additions", "plug/hook.Plug.look_again")
HOW = {"at once": "raise KeyboardInterrupt",
       "handling": "try:\n        {}[0]\n    except KeyError:\n        raise KeyboardInterrupt",
       "because of": "try:\n        {}[0]\n    except KeyError as error:\n"
                     "        raise KeyboardInterrupt from error"}


def interrupted(dom0, copy, module, line):
    """Plug the tap while one of our modules ends with this line."""
    path = copy / "xenvif_tagger" / (module + ".py")
    text = path.read_text(encoding="utf-8")
    path.write_text(text + line, encoding="utf-8")
    done = dom0.run(str(copy / "hotplug/setup-vif-rules"), "classic", "tap1.0",
                    dom0.vifs[1, 0].vm_uuid, 0, "filter")
    path.write_text(text, encoding="utf-8")
    return done


def test_ctrl_c_during_our_imports_shows_no_traceback(dom0, copy):
    """The stock script has not begun yet, so there is no traceback of the stock script."""
    for module in "host/paths", "core/names", "ovsdb/client", "plug/hook":
        done = interrupted(dom0, copy, module, "\n\nraise KeyboardInterrupt\n")
        assert done.returncode in (-signal.SIGINT, 128 + signal.SIGINT), (module, done)
        assert done.stderr == "KeyboardInterrupt\n", (module, done)


@pytest.mark.parametrize("how", sorted(HOW))
def test_ctrl_c_in_a_plug_shows_none_of_our_frames(dom0, copy, how):
    found = {}
    for step in STEPS:
        module, _, name = step.partition(".")
        done = interrupted(dom0, copy, module, "\n\ndef broken(*_, **__):\n    %s\n\n\n%s = "
                           "broken\n" % (HOW[how], name))
        files = re.findall(r'^  File "(.+?)", line', done.stderr, re.M)
        ended = -signal.SIGINT if sys.version_info >= (3, 8) else 1
        if (done.returncode not in (ended, 128 + signal.SIGINT) or STOCK not in files
                or any(file.startswith(str(copy)) for file in files)
                or done.stderr.splitlines()[-1] != "KeyboardInterrupt"):
            found[step] = done.returncode, done.stderr
    assert not found


def test_the_steps_have_each_room_that_a_plug_imports():
    code = "import sys; sys.path.insert(0, %r); from xenvif_tagger.plug import stock; " \
        "print(*sys.modules)"
    told = subprocess.check_output([sys.executable, "-I", "-c", code % ROOT]).decode().split()
    rooms = {name.split(".")[1] for name in told if name.startswith("xenvif_tagger.")}
    assert rooms == {step.split("/")[0] for step in STEPS}
