"""Sockets and sessions: whatever a network does stays in here. Imports schemas and tickwire.server.rooms."""
