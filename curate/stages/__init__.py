"""The built-in stages; importing this package registers them."""
