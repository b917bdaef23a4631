"""What the adapters promise, tried on the world as the simulators repeat it."""
