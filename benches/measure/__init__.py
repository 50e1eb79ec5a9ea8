"""Measures libreuse.so against the limit and against its peers: run it by scripts/check/bench."""
