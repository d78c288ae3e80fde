"""What the drill `migrations` needs: revisions, rows, the release before, and its conclusions."""
