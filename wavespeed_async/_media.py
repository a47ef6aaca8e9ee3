"""Outputs to files, or into memory: fetched without the key, and the rest of what broke off.

Where a server names the version of an output (ETag, Last-Modified), a broken download goes on
where it broke off; where it does not, or has another version by then, it begins anew.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from wavespeed_async._events import PictureSaved, notify
from wavespeed_async._extras import need
from wavespeed_async._files import Memory, part_of, present
from wavespeed_async._folder import Folder
from wavespeed_async._metadata import parameters_of
from wavespeed_async._prediction import Status
from wavespeed_async._retry import is_passing, pauses
from wavespeed_async.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    InvalidRequestError,
    WaveSpeedError,
)

if TYPE_CHECKING:
    import os
    import random
    from pathlib import Path

    from PIL import Image

    from wavespeed_async._events import Observer
    from wavespeed_async._files import Sink
    from wavespeed_async._prediction import Prediction
    from wavespeed_async._transport import Download, Transport

__all__ = ["Storage"]

PARTIAL, UNSATISFIABLE = 206, 416
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.ASCII)


class Storage:
    """Fetch outputs and keep them as files.

    Args:
        transport: Fetches them, without the key.
        max_retries: How many times a failed fetch is made again.
        observe: Is told each set of files.
        dice: Draws the jitter of pauses.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        max_retries: int,
        observe: Observer | None,
        dice: random.Random,
    ) -> None:
        self._transport = transport
        self._max_retries = max_retries
        self._observe = observe
        self._dice = dice

    async def save(
        self,
        prediction: Prediction,
        folder: str | os.PathLike[str] | Folder,
        index: int | None = None,
    ) -> list[Path]:
        """Write every output of a finished prediction into a folder, which is made if need be.

        Raises:
            InvalidRequestError: The prediction is not completed, or the name needs an index.
            APIConnectionError, APIStatusError, APIResponseError: An output could not be fetched.
            OSError: A file could not be written; nothing half-written is left behind.
        """
        folder = Folder.of(folder)
        _check_completed("save", prediction)
        stems = folder.stems(prediction, index)
        started = anyio.current_time()
        await to_thread.run_sync(partial(folder.path.mkdir, parents=True, exist_ok=True))
        paths: list[Path] = []
        for output, stem in zip(prediction.outputs, stems, strict=True):
            try:
                paths.append(await self._save_one(prediction, output, stem, folder))
            except WaveSpeedError as error:
                error.prediction_id = prediction.id
                raise
        seconds = anyio.current_time() - started
        saved = PictureSaved(prediction=prediction, paths=tuple(paths), seconds=seconds)
        notify(self._observe, saved)
        return paths

    async def read(self, prediction: Prediction, number: int = 0) -> bytes:
        """Answer one output, by its number from 0.

        Raises:
            InvalidRequestError: The prediction is not completed, or has no such output.
            APIConnectionError, APIStatusError, APIResponseError: It could not be fetched.
        """
        _check_completed("read", prediction)
        count = len(prediction.outputs)
        if not isinstance(number, int) or not 0 <= number < count:
            allowed = f"0 to {count - 1}: it has {count} outputs"
            raise InvalidRequestError.of(
                owner="read", field="number", value=number, allowed=allowed
            )
        try:
            return await self.fetched(prediction.outputs[number])
        except WaveSpeedError as error:
            error.prediction_id = prediction.id
            raise

    async def fetched(self, output: str) -> bytes:
        """Answer what is at an address, or within base64.

        Raises:
            APIConnectionError, APIStatusError, APIResponseError: It could not be fetched.
        """
        memory = Memory()
        await self._receive(output, memory)
        return memory.content()

    async def image(self, prediction: Prediction, number: int = 0) -> Image.Image:
        """Answer one output as a Pillow image, by its number from 0.

        Raises:
            ConfigurationError: Pillow is not there.
            APIResponseError: The output is no image.
            InvalidRequestError, APIConnectionError, APIStatusError: As `read`.
        """
        with need("pillow", of="an output as an image"):
            from PIL import Image  # noqa: F401, PLC0415 (an extra, asked for before the fetch)
        content = await self.read(prediction, number)
        try:
            return await to_thread.run_sync(_opened, content)
        except Exception as error:  # what broken bytes raise has no base in common
            text = f"the output is no image: {error}"
            raise APIResponseError(text, prediction_id=prediction.id) from error

    async def _save_one(
        self, prediction: Prediction, output: str, stem: Path, folder: Folder
    ) -> Path:
        if folder.keeps_same:
            found = await to_thread.run_sync(present, stem)
            if found is not None:
                return found
        parameters = parameters_of(prediction) if folder.metadata else None
        async with part_of(stem) as part:
            await self._receive(output, part)
            return await part.keep(replace=folder.existing == "replace", parameters=parameters)

    # --- fetching --------------------------------------------------------------------------------

    async def _receive(self, output: str, sink: Sink) -> None:
        """Bring an output into a sink, whole; what failed in passing is tried again."""
        if not output.startswith(("http://", "https://")):
            await sink.add(await to_thread.run_sync(_decoded, output))
            return
        waits = pauses(self._dice)
        tries_left = self._max_retries
        while True:
            try:
                await self._fetch(output, sink)
            except WaveSpeedError as error:
                is_past_end = _is_past_end(error) and sink.size > 0
                if tries_left == 0 or not (is_past_end or is_passing(error)):
                    raise
                if is_past_end or not isinstance(error, APIConnectionError):
                    await sink.restart()
            else:
                return
            tries_left -= 1
            await anyio.sleep(next(waits))

    async def _fetch(self, output: str, sink: Sink) -> None:
        """Fetch an output, or the rest of it where some has come."""
        async with self._transport.download(output, _asked(sink)) as download:
            total = await _settle(download, sink)
            async for chunk in download:
                await sink.add(chunk)
        if total not in {None, sink.size}:
            text = f"the output broke off at {sink.size} of {total} bytes"
            raise APIConnectionError(text)
        sink.check()


def _asked(sink: Sink) -> dict[str, str]:
    """Ask for the rest of that very version, if some of it has come."""
    if sink.size == 0 or sink.version is None:
        return {}
    return {"Range": f"bytes={sink.size}-", "If-Range": sink.version}


async def _settle(download: Download, sink: Sink) -> int | None:
    """Have a sink begin where the answer does; answer how large the whole is, if that is said.

    Raises:
        APIResponseError: That is nowhere near.
    """
    if download.status_code == PARTIAL:
        found = _RANGE.fullmatch(download.headers.get("content-range", ""))
        if found is None or int(found[1]) != sink.size or not _is_same(download, sink):
            text = "the server answered with another part of the output than was asked for"
            raise APIResponseError(text)
        return None if found[3] == "*" else int(found[3])
    if sink.size > 0:
        await sink.restart()
    sink.version = _version(download)
    return None


def _version(download: Download) -> str | None:
    """Name the version of an output; a weak name is none, nor is one of what is packed."""
    headers = download.headers
    if "content-encoding" in headers:
        return None
    tag = headers.get("etag", "")
    return (tag if tag.startswith('"') else None) or headers.get("last-modified")


def _is_same(download: Download, sink: Sink) -> bool:
    version = _version(download)
    return version is None or version == sink.version


def _is_past_end(error: WaveSpeedError) -> bool:
    return isinstance(error, APIStatusError) and error.status_code == UNSATISFIABLE


def _check_completed(owner: str, prediction: Prediction) -> None:
    if prediction.status is not Status.COMPLETED:
        raise InvalidRequestError.of(owner, "prediction", prediction, "completed")


def _opened(content: bytes) -> Image.Image:
    from PIL import Image  # noqa: PLC0415 (an extra)

    image = Image.open(BytesIO(content))
    image.load()
    return image


def _decoded(output: str) -> bytes:
    """Read a base64 output, with or without a `data:` prefix."""
    encoded = output.partition(",")[2] if output.startswith("data:") else output
    try:
        content = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if not content:
        text = "the output is neither a URL nor base64"
        raise APIResponseError(text, body=output[:100])
    return content
