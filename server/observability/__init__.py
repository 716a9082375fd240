"""Logs, metrics, traces, health, and the loop monitor."""
