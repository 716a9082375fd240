"""Rooms: their declarations, players and seats, the tick loop, checkpoints and transactions."""
