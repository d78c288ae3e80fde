"""Drills: fault-injection tests.

`python -m tests.drills NAME` starts the service as a process on a real PostgreSQL (`service`), sends load from another
process (`load`), injects faults (`faults`), and compares acknowledged writes with stored rows (`reconciliation`). A new
drill is a module with a `Scenario`, and a line in `registry`.
"""
