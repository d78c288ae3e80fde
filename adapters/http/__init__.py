"""HTTP: the FastAPI application, a driving adapter over the use cases."""
