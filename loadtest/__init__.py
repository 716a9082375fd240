"""Swarms of players for Tickwire, on locust: see docs/loadtesting.md.

locustfile.py            the file that locust loads: players, options, shapes, hooks
players/                 the behaviour of players, one file for each kind
session.py               one player's session, over the client's Sans-I/O core
connection.py            the connections of a session
gevent_connection.py     one WebSocket on gevent
frames.py                splits the server's bytes into messages                     (pure)
observer.py              a player's view: states, acknowledged inputs, blackouts     (pure)
open_loop_scheduler.py   schedules inputs, and measures how late the load itself is
recorder.py              collects each second, for locust and for the master
swarm.py                 the state that all players of one process share
metrics.py               the figures of one second: histograms, counts, failures     (pure)
results.py               all seconds of a run, from all workers                      (pure)
slo.py                   service levels: parsing and evaluation                      (pure)
load_plan.py             shapes: the number of players and the events over time      (pure)
locust_shapes.py         drives locust by a load plan
options.py               the command line
option_limits.py         the ranges of its numbers
preflight.py             checks before a run that the server accepts the swarm
summary.py               the summary of a run, as JSON and as text                   (pure)
html_report.py           the report in HTML
charts.py                the charts of the report
faults.py                schedules the faults of a stress run                        (pure)
local_fleet.py           a fleet on this machine, and the process of a swarm
local_run.py             runs a local fleet and a swarm against it
fault_run.py             the same, while shards stop and stores restart
"""
