"""Constants of many tests: places, times, and forms of a port."""
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # the checkout
HOOK = os.path.join(ROOT, "hotplug", "setup-vif-rules")
LONG = 600  # seconds: far more than a busy machine needs, so a test that waits so long fails
CONFIG = "/etc/xenvif-tagger.conf"
# A config of the hook that gives the database more than the usual second: on a busy machine the
# hook may need more, and then leaves the plug to the stock script.
PATIENT = "[plug]\ntimeout = 20\n"
# The path of a config file for the command, with more time for the database than the usual 5 s.
PATIENT_CONFIG = os.path.join(ROOT, "tests", "support", "patient.conf")
SIDES = ("vif", "tap")
# The unit of a held port, and the unit of a port that Neutron's agent has set dead.
HELD = {"tag": 4095, "vlan_mode": "dot1q-tunnel", "cvlans": [4095]}
DEAD_FORM = {"tag": 4095, "vlan_mode": "trunk", "trunks": [4095]}
# The notes of Neutron's agent in a Port's other_config.
NEUTRON = {"net_uuid": "net-1", "network_type": "vlan", "segmentation_id": "1005", "tag": "5"}
