"""Load generator in a separate process, and its workloads."""
