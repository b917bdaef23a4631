"""The tests mirror `provisioner/`; simulators stand in for the world."""
