"""With `emulator` alone: it starts, and makes a picture over real sockets."""

import anyio

from wavespeed_async import AsyncWaveSpeed
from wavespeed_async.emulator import Emulator


async def main() -> None:
    """Make a picture."""
    async with (
        Emulator(latency=0.05) as emulator,
        AsyncWaveSpeed("any key", base_url=emulator.url) as client,
    ):
        picture = await client.flux_dev(prompt="a lighthouse", size=(512, 512))
        [path] = await client.save(picture, "pictures")
        assert (await anyio.Path(path).read_bytes())[:2] in {b"\xff\xd8", b"\x89P"}
    assert emulator.predictions[0].fields["prompt"] == "a lighthouse"


anyio.run(main)
