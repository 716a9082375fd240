"""Generates client code from the rooms of a game: one description of the game's API, and one renderer a language."""
