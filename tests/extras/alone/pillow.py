"""With `pillow` alone: an output as an image, and an image as an input."""

import anyio

from wavespeed_async import AsyncWaveSpeed


async def main() -> None:
    """Make a picture, and another one of it."""
    async with AsyncWaveSpeed() as client:
        picture = await client.flux_dev(prompt="a lighthouse", size=(512, 512))
        image = await client.image(picture)
        assert image.size == (512, 512)
        again = await client.flux_redux(image=image)
        assert again.outputs


anyio.run(main)
