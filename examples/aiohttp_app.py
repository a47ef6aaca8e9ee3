"""Pictures over HTTP, as server-sent events or as JSON: a small aiohttp application.

    pip install 'wavespeed-async[aiohttp]'
    python examples/aiohttp_app.py
    curl -N -d 'a lighthouse at dusk' http://127.0.0.1:8080/pictures

Without a key: start `wavespeed-async emulator --port 8765` in another terminal, and put
WAVESPEED_API_KEY=any WAVESPEED_BASE_URL=http://127.0.0.1:8765 before the command.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from wavespeed_async import AsyncWaveSpeed, FluxDev
from wavespeed_async.backends.aiohttp import CLIENT, answer_errors, client_context, send_events

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["create_app"]


async def make_picture(request: web.Request) -> web.StreamResponse:
    """Make a picture from a prompt, and tell of it until it is there."""
    prompt = await request.text()
    return await send_events(request, request.config_dict[CLIENT], FluxDev(prompt=prompt))


async def resume_picture(request: web.Request) -> web.StreamResponse:
    """Go on telling of a picture, for a visitor whose connection was cut off."""
    return await send_events(request, request.config_dict[CLIENT], request.match_info["id"])


async def show_picture(request: web.Request) -> web.Response:
    """Tell where a picture stands."""
    prediction = await request.config_dict[CLIENT].result(request.match_info["id"])
    return web.json_response({"status": prediction.status, "outputs": prediction.outputs})


def create_app(make: Callable[[], AsyncWaveSpeed] | None = None) -> web.Application:
    """Put the application together around one client for all visitors."""
    app = web.Application(middlewares=[answer_errors])
    app.cleanup_ctx.append(client_context(make or partial(AsyncWaveSpeed, transport="aiohttp")))
    app.router.add_post("/pictures", make_picture)
    app.router.add_get("/pictures/{id}", show_picture)
    app.router.add_get("/pictures/{id}/events", resume_picture)
    return app


if __name__ == "__main__":
    web.run_app(create_app(), handler_cancellation=True)  # who leaves is not waited for
