"""The `hexapost` command for operators. It uses the container of the service."""
