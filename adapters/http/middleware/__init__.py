"""The ASGI middleware and the HTTP protocol: the life of a request outside FastAPI."""
