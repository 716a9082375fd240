"""The Python client: a Sans-I/O core, and an asyncio client on top. Imports schemas only."""
