"""The only part that speaks HTTP: one pool of connections, and what may go wrong on the wire.

The key. It is put on a request as that request goes to the API's own origin, and taken off again
when it is over: no output URL, redirect, response or exception ever holds it. Where a server says
it back, it is blotted out.

What has left. httpx's own transport tells when it connects and when it begins to send, aiohttp's
when it has a connection; of another one a request counts as sent from its start, unless the error
is one of connecting.

The short way. A request of the API needs neither cookies nor redirects, so it goes to the transport
at once and not through httpx's client, which would take a fifth of the CPU of all (over aiohttp);
its headers are made once, and its body is read as it comes where nothing is to be unpacked.

Files. A body that comes in parts (`Body`) is made anew for each try and closed after it. What a
ticket names gets such a body without the key, and no redirect is followed with it.

The pool. The queue is before it (`room`), so that no caller waits inside it and it has no time
limit of its own. Idle connections are closed after 4 s, sooner than servers do (5 s is the shortest
default met: Node's and uvicorn's): a submission on a connection that the server was just closing
could not be told from one that was lost.
"""

from wavespeed_async._transport._reading import Download
from wavespeed_async._transport._sending import Transport, base_url_root
from wavespeed_async._transport._wire import Answer, Body, Wire

__all__ = ["Answer", "Body", "Download", "Transport", "Wire", "base_url_root"]
