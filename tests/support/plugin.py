"""Calls our XAPI plugin as XAPI does."""
import json
import os

from support.constants import PATIENT_CONFIG, ROOT
from support.xapi_server import run_plugin

PLUGIN = os.path.join(ROOT, "hotplug", "xapi-plugin")


def host_env(ovs, **more):
    """The environment by which a plugin finds its host's files and database."""
    return dict({"XENVIF_TAGGER_DB": ovs.remote, "XENVIF_TAGGER_CONFIG": PATIENT_CONFIG,
                 "OVS_RUNDIR": ovs.dir}, **more)


def call(ovs, function, env=None, path=PLUGIN, **arguments):
    """Call the plugin; returns XAPI's answer (dict)."""
    return run_plugin(path, function, arguments, host_env(ovs, **(env or {})))


def result(answer):
    """Check that an answer of XAPI is a success; returns the plugin's result, parsed from JSON."""
    assert answer["Status"] == "Success", answer
    assert list(answer) == ["Status", "Value"]
    return json.loads(answer["Value"])


def assert_failure(answer, code, *words):
    assert answer["Status"] == "Failure", answer
    assert answer["ErrorDescription"][0] == code, answer
    text = " ".join(answer["ErrorDescription"][1:])
    assert "\n" not in text and not text.startswith("xenvif-tagger"), answer
    for word in words:
        assert word in text, answer
    return text
