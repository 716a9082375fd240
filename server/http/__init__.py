"""HTTP for the player API, the admin API and the operations port: Litestar applications on uvicorn.

Knows no setting, no room and no session: callers pass what an application needs.
"""
