"""With `postgres` alone: where no server is, a clear error, before anything is submitted."""

import anyio

from wavespeed_async import AsyncWaveSpeed, FluxDev
from wavespeed_async.errors import ConfigurationError


async def main() -> None:
    """Ask for a journal that cannot be had."""
    journal = "postgresql://127.0.0.1:1/app"
    async with AsyncWaveSpeed() as client:
        try:
            async with client.batch([FluxDev(prompt="a lighthouse")], journal=journal):
                pass
        except ConfigurationError as error:
            assert "refused" in str(error), error  # noqa: PT017 (no pytest here)
        else:
            message = "no error"
            raise AssertionError(message)


anyio.run(main)
