"""The page that plays recordings of rooms: a local HTTP server, and the replays behind it."""
