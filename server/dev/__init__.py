"""The development server: local stores, bots, and `tickwire dev`."""
