"""What one would write to name VMs without thinking of how many there are: each VIF asked for by
itself. For ./names, which measures it.

    one_by_one.py XAPI-URL NUMBER     NUMBER: for so many VIFs; the database as for ovs-vsctl

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
