"""What the service tells about itself: logs now, metrics and traces as they come."""
