"""Lets pip install xenvif-tagger. dom0 has no pip: there dom0-install.sh installs xenvif-tagger."""

import os
import re

from setuptools import find_packages, setup

HERE = os.path.dirname(os.path.abspath(__file__))


def read(*path):
    with open(os.path.join(HERE, *path), encoding="utf-8") as stream:
        return stream.read()


# The version is read from the text of the file, because the Python that runs setup.py need not find
# the package.
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
    # From version 3.4 on the package ovs needs Python 3.7 for ssl: remotes (ssl.TLSVersion),
    # though its own setup.py asks only for Python 3.6.
    install_requires=["ovs<3.4; python_version<'3.7'", "ovs; python_version>='3.7'", "click",
                      "XenAPI"],
    extras_require={"test": ["pytest", "pytest-xdist", "hypothesis", "pyte"]},
    entry_points={"console_scripts": ["xenvif-tagger = xenvif_tagger.__main__:run"]},
)
