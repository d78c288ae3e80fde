"""The load: a process of its own that asks, and what drills say to it and hear of it."""
