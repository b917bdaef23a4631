"""The world, one outside thing a module. Adapters do not import each other."""
