"""Recordings of rooms: the format, the recorder, and the replay."""
