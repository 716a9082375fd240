"""Entity tables, snapshots and channels: what each client must be told. Pure; imports schemas only."""
