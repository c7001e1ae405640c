"""Processes: what runs where, start, ready, reload and stop."""

import os

# Read when numpy is imported: its linear algebra would start threads and give each a buffer, and nothing here uses it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
