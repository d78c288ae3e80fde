"""Connections to external systems, one package per technology."""

import sys

if sys.platform not in {"linux", "darwin"}:  # here, because modules of this package import modules of POSIX
    raise SystemExit("Hexapost runs on Linux and macOS.")
