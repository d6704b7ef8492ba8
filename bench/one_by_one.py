"""Prints VMs' names as the script of an admin with few VMs would: asks XAPI for each VIF by itself.
bench/names.py measures this script.

    one_by_one.py XAPI-URL NUMBER     NUMBER: of VIFs; finds the database as ovs-vsctl does

The URL is as XenAPI.Session takes it for XenAPI's own transport over a unix socket.
"""
import json
import subprocess
import sys

import XenAPI

url, number = sys.argv[1], int(sys.argv[2])
listed = json.loads(subprocess.check_output([
    "ovs-vsctl", "--format=json", "--columns=external_ids", "list", "Interface"]).decode())
ids = [dict(row[0][1]) for row in listed["data"]]
uuids = sorted({each["xs-vif-uuid"] for each in ids if "xs-vif-uuid" in each})
session = XenAPI.Session(url, transport=XenAPI.UDSTransport())
session.xenapi.login_with_password("root", "", "1.0", "bench")
for uuid in uuids[:number]:
    vm = session.xenapi.VIF.get_VM(session.xenapi.VIF.get_by_uuid(uuid))
    print(uuid, session.xenapi.VM.get_name_label(vm))
session.xenapi.session.logout()
