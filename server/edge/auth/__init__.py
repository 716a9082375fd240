"""Authentication of players: JWT, keys, guests."""
