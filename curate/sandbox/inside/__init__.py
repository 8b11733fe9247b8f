"""What runs apart from curate, on the standard library alone: see `launcher` and `harness`."""
