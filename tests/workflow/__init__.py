"""The verbs, with the world that the simulators make."""
