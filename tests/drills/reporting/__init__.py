"""What is told of drills: on the screen, as a table, as a page with pictures."""
