"""Accounts of players: identities, login, link, unlink, merge, export and deletion."""
