"""The main job on real files of the public package index."""
