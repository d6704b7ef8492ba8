"""How xenvif-tagger is installed by pip. In dom0, where there is none, dom0-install.sh does it."""

import os
import re

from setuptools import find_packages, setup

HERE = os.path.dirname(os.path.abspath(__file__))


def read(*path):
    with open(os.path.join(HERE, *path), encoding="utf-8") as stream:
        return stream.read()


# Read, not imported: an import would need the dependencies, which may not be there yet.
VERSION = re.search(r'^__version__ = "(.+)"$', read("xenvif_tagger", "__init__.py"), re.M).group(1)

setup(
    name="xenvif-tagger",
    version=VERSION,
    description="Keeps the two Open vSwitch ports of a Xen guest's network card alike",
    long_description=read("README.md") if os.path.exists(os.path.join(HERE, "README.md")) else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.6",
    packages=find_packages(include=["xenvif_tagger", "xenvif_tagger.*"]),
    # From 3.4 on ovs needs Python 3.7 for ssl: remotes (ssl.TLSVersion), though it says 3.6.
    install_requires=["ovs<3.4; python_version<'3.7'", "ovs; python_version>='3.7'", "click",
                      "XenAPI"],
    extras_require={"test": ["pytest", "pytest-mock", "pytest-xdist", "hypothesis", "pyte"]},
    entry_points={"console_scripts": ["xenvif-tagger = xenvif_tagger.cli.main:main"]},
)
