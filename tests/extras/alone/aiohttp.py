"""With `aiohttp` alone: a picture through aiohttp, and an application of aiohttp's."""

import anyio
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from wavespeed_async import AsyncWaveSpeed
from wavespeed_async.backends.aiohttp import CLIENT, answer_errors, client_context


async def make(request: web.Request) -> web.Response:
    """Make a picture for a visitor."""
    picture = await request.config_dict[CLIENT].flux_dev(
        prompt="a lighthouse", size=request.query["size"]
    )
    return web.json_response([*picture.outputs])


async def main() -> None:
    """Be a visitor."""
    app = web.Application(middlewares=[answer_errors])
    app.cleanup_ctx.append(client_context(lambda: AsyncWaveSpeed(transport="aiohttp")))
    app.add_routes([web.get("/", make)])
    async with TestServer(app) as server, ClientSession() as visitor:
        async with visitor.get(server.make_url("/?size=512*512")) as answer:
            assert len(await answer.json()) == 1
        async with visitor.get(server.make_url("/?size=9*9")) as answer:
            assert answer.content_type == "application/problem+json"


anyio.run(main)
