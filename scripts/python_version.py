"""Stop with a clear word where Python is too old or too new; runs on any Python 3."""

import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    found = ".".join(map(str, sys.version_info[:2]))
    sys.exit("edgecv needs Python 3.11 to 3.13, this is " + found + ": make PYTHON=python3.11 ...")
