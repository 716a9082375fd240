"""Example games, to read and to build on."""
