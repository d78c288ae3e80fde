"""The HTTP server: uvicorn, the supervisor and its workers."""
