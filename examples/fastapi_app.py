"""Type prompts, watch the pictures arrive, see the limiter: a small FastAPI application.

    pip install 'wavespeed-async[fastapi,aiohttp,emulator]'
    python examples/fastapi_app.py

Without a key in WAVESPEED_API_KEY it starts the emulator beside it, where nothing costs anything.
Under a server of your own it is `uvicorn fastapi_app:app`.
"""

from __future__ import annotations

import argparse
import gc
import os
import secrets
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from wavespeed_async import AsyncWaveSpeed, FluxDev
from wavespeed_async.backends.fastapi import Client, PredictionEvents, handle_errors, lifespan
from wavespeed_async.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

__all__ = ["Order", "app", "create_app"]

PAGE = (Path(__file__).parent / "fastapi_page.html").read_text(encoding="utf-8")
POLICY = "default-src 'self'; img-src * data:; script-src 'nonce-{0}'; style-src 'nonce-{0}'"

make_client = partial(AsyncWaveSpeed, transport="aiohttp")
"""Over aiohttp a crowd of visitors takes a fraction of the time that it takes over httpx."""

Prompt = Annotated[str, Field(min_length=1, max_length=1000)]


class Order(BaseModel):
    """Hold what a visitor asks for: up to 24 pictures of one size."""

    prompts: Annotated[list[Prompt], Field(min_length=1, max_length=24)]
    size: str = "1024*1024"


def create_app(make: Callable[[], AsyncWaveSpeed] = make_client) -> FastAPI:
    """Put the application together around one client for all visitors."""

    @asynccontextmanager
    async def opened(app: FastAPI) -> AsyncGenerator[None]:
        async with lifespan(make)(app):
            # What is there by now stays: the collector need not look at it again while visitors
            # wait, which in a crowd is the longest stall of the event loop.
            gc.collect()
            gc.freeze()
            yield
            gc.unfreeze()

    app = FastAPI(title="Pictures", lifespan=opened)
    handle_errors(app)
    app.get("/", response_class=HTMLResponse, include_in_schema=False)(show_page)
    app.get("/limiter")(show_limiter)
    app.post("/pictures", response_model=None)(make_pictures)
    app.get("/pictures/{prediction_id}/events", response_model=None)(resume_picture)
    return app


async def show_page() -> HTMLResponse:
    """Show the page, which loads nothing from elsewhere but the pictures."""
    nonce = secrets.token_urlsafe(16)
    headers = {"Content-Security-Policy": POLICY.format(nonce)}
    return HTMLResponse(PAGE.replace("{{ nonce }}", nonce), headers=headers)


async def show_limiter(client: Client) -> dict[str, Any]:
    """Tell how much of the account's limits is in use."""
    limiter, limits = client.limiter, client.limiter.limits
    return {
        "requests": {"now": limiter.requests_used, "most": limits.requests, "per": limits.per},
        "running": {"now": limiter.running, "most": limits.concurrency},
        "waiting": {"now": limiter.waiting},
    }


async def make_pictures(order: Order, client: Client) -> PredictionEvents:
    """Make pictures, and tell of each until it is there; a bad field is refused before that."""
    requests = [FluxDev(prompt=prompt, size=order.size) for prompt in order.prompts]
    return PredictionEvents(client, *requests)


async def resume_picture(prediction_id: str, client: Client) -> PredictionEvents:
    """Go on telling of a picture, for a visitor whose connection was cut off."""
    return PredictionEvents(client, prediction_id)


app = create_app()


def main() -> None:
    """Serve the application, with the emulator where there is no key."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--latency", type=float, default=6.0, help="of the emulator, in seconds")
    wanted = parser.parse_args()
    served = app
    with ExitStack() as stack:
        if not os.environ.get("WAVESPEED_API_KEY"):
            emulator = stack.enter_context(Emulator(latency=wanted.latency))
            served = create_app(partial(make_client, "any key", base_url=emulator.url))
        uvicorn.run(served, host=wanted.host, port=wanted.port)


if __name__ == "__main__":
    main()
