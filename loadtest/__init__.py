"""Swarms of players for Tickwire, on locust: see docs/loadtesting.md.

locustfile.py    what locust loads: players, options, shapes, hooks
players/         what players do, one file a kind
session.py       one player's session, over client's Sans-I/O core; connected.py: its connections
watching.py      what a player sees: states, inputs, darkness                  (pure)
wire.py          one WebSocket on gevent (frames.py cuts its bytes)
worlds.py        worlds of one process: equal bytes on equal worlds are decoded once
metronome.py     when each input is due, and by how much the load itself is late
recorder.py      second by second: to locust, and to the master
swarm.py         what all players of one process share
measures.py      figures of one second: histograms, counts, failures          (pure)
findings.py      all seconds of a run, from all workers                       (pure)
levels.py        service levels: parsed, and held against the findings        (pure)
plans.py         shapes: how many players when, and what happens then         (pure)
options.py       the command line
probe.py         is there a server, and does it want us
summary.py       JSON for CI; page.py and charts.py: the report for people
faults.py        which faults a fleet suffers under a swarm, and when           (pure)
trial.py         a server of its own, and a swarm against it
"""
