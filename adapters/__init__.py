"""Everything that touches the world, each package named by its technology."""
