"""Simulators for the tests: real sockets, real files, a real shared library."""
