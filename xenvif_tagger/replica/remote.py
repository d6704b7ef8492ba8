"""The remotes that Open vSwitch's Python library can take: unix:, tcp: and ssl:, also several."""
import os
import ssl
from typing import Mapping, Optional

import ovs.stream

from ..host.paths import parse_remote
from ..ovsdb.client import BadRemote

LONGEST_PATH = 107  # bytes: unix(7), sun_path


def prepare(remote: str, pem: Optional[Mapping[str, Optional[str]]] = None) -> None:
    """Check that the library can take a remote, and give it the PEM files for ssl:.

    :param str remote: one, or several with commas between them
    :param dict pem: "private_key", "certificate", "ca_cert": paths of PEM files, or None
    :raises BadRemote: the library can't take the remote
    """
    pem = pem or {"private_key": None, "certificate": None, "ca_cert": None}
    for one_remote in remote.split(","):
        try:
            kind, where, port = parse_remote(one_remote)
        except ValueError:
            kind, where, port = "", "", None
        if kind != "unix" and not port:
            raise BadRemote("%s: must be unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT" % one_remote)
        if kind == "unix" and len(os.fsencode(where)) > LONGEST_PATH:
            raise BadRemote("%s: a socket's path has at most %d bytes" % (
                one_remote, LONGEST_PATH))
        if kind == "ssl":
            _check_pem(one_remote, pem["private_key"], pem["certificate"], pem["ca_cert"])
    ovs.stream.Stream.ssl_set_private_key_file(pem["private_key"])
    ovs.stream.Stream.ssl_set_certificate_file(pem["certificate"])
    ovs.stream.Stream.ssl_set_ca_cert_file(pem["ca_cert"])


def _check_pem(remote: str, private_key: Optional[str], certificate: Optional[str],
               ca_cert: Optional[str]) -> None:
    if not (private_key and certificate and ca_cert):
        raise BadRemote("%s: an ssl: remote needs --private-key, --certificate and --ca-cert" % (
            remote))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(certificate, private_key)
    except (OSError, ValueError) as error:
        raise BadRemote("%s, %s: not a certificate and its key: %s" % (
            certificate, private_key, error))
    try:
        context.load_verify_locations(ca_cert)
    except (OSError, ValueError) as error:
        raise BadRemote("%s: not a CA certificate: %s" % (ca_cert, error))
