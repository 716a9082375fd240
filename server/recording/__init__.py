"""Recordings of rooms: their format, the recorder, the flight recorder, and the replay."""
