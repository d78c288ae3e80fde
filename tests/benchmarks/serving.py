"""Runs a yardstick under uvicorn, set as `hexapost serve` sets it."""

import argparse

import uvicorn


def main() -> None:
    """Serve the application that the command line names until a signal ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("app")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvicorn.run(
        options.app,
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
