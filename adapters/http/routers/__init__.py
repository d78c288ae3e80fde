"""One module per resource: routes, request and response models."""
