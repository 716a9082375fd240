"""Metrics, logs and health. Imported by anyone; imports none of ours but the errors."""
