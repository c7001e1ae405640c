"""Processes: what runs where, start, ready, reload and stop."""
