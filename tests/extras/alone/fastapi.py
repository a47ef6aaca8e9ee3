"""With `fastapi` alone: an application, whose visitors get pictures, problems and progress."""

import anyio
import httpx
from fastapi import FastAPI

from wavespeed_async import FluxDev
from wavespeed_async.backends.fastapi import Client, PredictionEvents, handle_errors, lifespan

app = FastAPI(lifespan=lifespan())
handle_errors(app)


@app.get("/")
async def make(client: Client, size: str) -> list[str]:
    """Make a picture for a visitor."""
    return [*(await client.flux_dev(prompt="a lighthouse", size=size)).outputs]


@app.post("/", response_model=None)
async def follow(client: Client) -> PredictionEvents:
    """Tell a visitor how the picture comes along."""
    return PredictionEvents(client, FluxDev(prompt="a lighthouse"))


async def main() -> None:
    """Be a visitor."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://here") as visitor,
    ):
        assert len((await visitor.get("/", params={"size": "512*512"})).json()) == 1
        refused = await visitor.get("/", params={"size": "9*9"})
        assert refused.headers["content-type"] == "application/problem+json"
        assert "event: finished" in (await visitor.post("/")).text


anyio.run(main)
