"""Test support for services that are built on Hexapost: `pytest_plugins = ["adapters.testing"]`."""

pytest_plugins = ["adapters.testing.fixtures"]
