"""In other people's applications: `backends.fastapi` and `backends.aiohttp`, one extra each.

Both give an application one client that all of its requests share, answers for this package's
errors, progress as server-sent events, and the route that webhooks call. What they say is the same,
and stands in the files that begin with an underscore; what they say it through is the framework's.
"""
