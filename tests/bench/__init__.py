"""Measurements beside the peers; never run by the test suite. ``python -m tests.bench --help`` says how."""
