"""Games to read and to start from."""
