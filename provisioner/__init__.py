"""Find out what the GPUs of a machine can run, and set up the matching CUDA environment once."""

__version__ = "0.1.0"
