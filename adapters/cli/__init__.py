"""The `hexapost` command: the entry point of operators, over the same container as everything else."""
