"""The admin API, its HTTP server, and the metrics' collectors."""
