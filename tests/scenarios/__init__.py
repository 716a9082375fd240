"""Scenario vectors: the events and commands of a session machine, for the clients of all languages to agree with.

`python -m tests.scenarios` writes schemas/scenarios from the Python machine; `make scenarios` calls it. The README
there defines the format.
"""
