"""Which remotes Open vSwitch's Python library can take: unix:, tcp: and ssl:, several too."""
import os
import ssl

import ovs.stream

from ..host.paths import parse_remote
from ..ovsdb.client import BadRemote

LONGEST_PATH = 107  # bytes: unix(7), sun_path


def prepare(remote, pem=None):
    """Look whether the library can take this remote, and tell it what ssl: is reached with.

    :param str remote: several with commas between them
    :param dict pem: "private_key", "certificate", "ca_cert": paths of PEM files, or None
    :raises BadRemote: it can't
    """
    pem = pem or dict.fromkeys(("private_key", "certificate", "ca_cert"))
    for each in remote.split(","):
        try:
            kind, where, port = parse_remote(each)
        except ValueError:
            kind = port = None
        if kind != "unix" and not port:
            raise BadRemote("%s: must be unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT" % each)
        if kind == "unix" and len(os.fsencode(where)) > LONGEST_PATH:
            raise BadRemote("%s: a socket's path has at most %d bytes" % (each, LONGEST_PATH))
        if kind == "ssl":
            _check_pem(each, **pem)
    ovs.stream.Stream.ssl_set_private_key_file(pem["private_key"])
    ovs.stream.Stream.ssl_set_certificate_file(pem["certificate"])
    ovs.stream.Stream.ssl_set_ca_cert_file(pem["ca_cert"])


def _check_pem(remote, private_key, certificate, ca_cert):
    if not (private_key and certificate and ca_cert):
        raise BadRemote("%s: it takes --private-key, --certificate and --ca-cert" % remote)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_cert_chain(certificate, private_key)
    except (OSError, ValueError) as error:
        raise BadRemote("%s, %s: no certificate and its key: %s" % (
            certificate, private_key, error))
    try:
        context.load_verify_locations(ca_cert)
    except (OSError, ValueError) as error:
        raise BadRemote("%s: no CA certificate: %s" % (ca_cert, error))
