"""Entity tables, snapshots, channels and baselines: the state that each client must receive.

Pure; imports schemas only.
"""
