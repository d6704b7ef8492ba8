"""The calls that the command makes to XAPI, and the ways in which a call can fail."""
import uuid

from support.zoo import identity


def vif_uuid(domid, devid=0):
    return identity(domid, devid)["xs-vif-uuid"]


LOGIN, VIFS, VMS, LOGOUT = ("session.login_with_password", "VIF.get_all_records_where",
                            "VM.get_all_records_where", "session.logout")


NO_SUCH_UUID = str(uuid.UUID(int=0))


FAULTS = [
    (["HOST_IS_SLAVE", "10.0.0.1"], ["10.0.0.1", "--xapi https://10.0.0.1"]),
    (["HOST_IS_SLAVE"], ["--xapi https://MASTER"]),
    (["SESSION_AUTHENTICATION_FAILED", "root", "x"], ["--user", "--password-file"]),
    (["SESSION_INVALID", "x"], ["SESSION_INVALID"]),
    (["HOST_STILL_BOOTING"], ["HOST_STILL_BOOTING"]),
    (["two\nlines"], ["two"]),
    ("drop", ["dropped the connection"]), ("cut", ["dropped the connection"]),
    ("boast", []),  # the library allocates that length (MemoryError), or reads on (IncompleteRead)
    ("garbage", ["not XAPI"]), ("empty", ["not XAPI"]), ("http", ["not XAPI", "500"]),
    ("no value", ["not XAPI"]), ("text", ["not XAPI"]),
]
