"""Parts of the drill `migrations`: revisions, rows, the previous release, and checks."""
