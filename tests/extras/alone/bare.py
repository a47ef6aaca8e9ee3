"""Without any extra: a picture, a batch with its journal, files, and tests' own clock."""

from pathlib import Path

import anyio

from wavespeed_async import AsyncWaveSpeed, FluxDev, Folder
from wavespeed_async.testing import virtual_backend


async def main() -> None:
    """Make three pictures and save them."""
    requests = [FluxDev(prompt=f"lighthouse {number}", size=(512, 512)) for number in range(2)]
    async with AsyncWaveSpeed() as client:
        picture = await client.flux_dev(prompt="a lighthouse", size=(512, 512))
        [path] = await client.save(picture, Folder("one", metadata=True))
        assert await anyio.Path(path).stat()
        journal = Path("many/journal.sqlite")
        async with client.batch(requests, journal=journal, save_to="many") as outcomes:
            paths = [path async for outcome in outcomes for path in outcome.paths]
    assert len(paths) == len(requests)


async def wait() -> None:
    """Wait for an hour."""
    await anyio.sleep(3600)


anyio.run(main)
name, options = virtual_backend("asyncio")
anyio.run(wait, backend=name, backend_options=options)
