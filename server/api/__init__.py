"""The role `tickwire api`: serves the player HTTP API. It is stateless; any number of processes may run."""
