"""Calling other services, from coroutines, threads and scripts."""
