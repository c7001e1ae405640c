"""Measurements beside the peers; taken by hand, not by the test suite. ``python -m tests.bench --help`` says how."""
