"""The command line, end to end: real processes, real files, real uv, a simulated index."""
