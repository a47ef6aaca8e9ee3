"""Images of this machine to addresses that the API can read: looked at first, uploaded once.

Known by content. An image is digested before anything is sent, and one that was uploaded within
this client's life is not uploaded again, wherever it lies: the API keeps uploads for 7 days. What
is uploaded must have that digest: the last part of a file leaves only once the whole was the same.

Shared. Those who need the same content wait for one upload. If its caller is cancelled or runs out
of time, the next one that waits begins anew; if it fails, all that wait learn why, and whoever
comes later tries again.

Two ways. By ticket the file goes to a storage of the server's choice, without the key; a server
that has no tickets gets it as a form. A ticket may have expired, so each try gets one of its own.
"""

from __future__ import annotations

import copy
import math
import secrets
import time
from collections import OrderedDict
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
from anyio import to_thread
from attrs import define, field, frozen

from wavespeed_async._codec import decode_data, encode_json, encode_request
from wavespeed_async._contents import Contents, as_base64, images_of, parts_of
from wavespeed_async._events import ImageUploaded
from wavespeed_async._retry import is_passing, pauses
from wavespeed_async._transport import Body
from wavespeed_async.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    InvalidRequestError,
    LimiterTimeoutError,
    WaveSpeedError,
)
from wavespeed_async.models._fields import Media
from wavespeed_async.models._images import (
    FORMATS,
    Inline,
    LocalImage,
    described,
    frozen_image,
    is_local,
)

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncGenerator, Mapping

    from wavespeed_async._calls import Calls, Turn
    from wavespeed_async._contents import Content
    from wavespeed_async._transport import Transport
    from wavespeed_async.models._images import ImageSource
    from wavespeed_async.models._request import Request

__all__ = ["Uploads"]

GOOD_FOR = 6 * 24 * 3600.0
"""Seconds for which an upload is used again: the API keeps it for 7 days, and a prediction that
waits for its turn has to find it."""
TICKETS, FORM = "/api/v3/media/uploads", "/api/v3/media/upload/binary"
LARGEST_ANSWER = 1024 * 1024
"""Bytes of the largest answer about an upload, far beyond any."""
REMEMBERED = 10_000
"""Uploads whose address is remembered."""
NO_SUCH_WAY = {404, 405, 501}
"""How a server says that it has no tickets; as the name of a model it says so by 400."""
FINAL = {405, 411, 413, 415, 501}
"""Refusals of a storage that no other ticket would change; the others may be an expired one."""
_OURS = {"authorization", "content-length", "host", "transfer-encoding", "connection"}
"""Headers of a ticket that are not taken from it: no file is sent with anybody's key."""


@define(eq=False)
class _Flight:
    """Be an upload that is under way."""

    over: anyio.Event = field(factory=anyio.Event)
    error: WaveSpeedError | None = None


class Uploads:
    """Bring images of this machine to where the API can read them.

    Args:
        calls: Asks the API.
        transport: Sends files to where a ticket says.
        max_retries: How many times a failed upload is made again.
        dice: Draws the jitter of pauses.
    """

    def __init__(
        self, calls: Calls, transport: Transport, *, max_retries: int, dice: random.Random
    ) -> None:
        self.contents = Contents()
        self._calls = calls
        self._transport = transport
        self._max_retries = max_retries
        self._dice = dice
        self._has_tickets = True
        self._addresses: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._flights: dict[str, _Flight] = {}

    async def body(self, request: Request, turn: Turn) -> bytes | None:
        """Answer what to send for a request with images of this machine; None for any other.

        All of them are looked at before the first is uploaded.

        Raises:
            InvalidRequestError: One cannot be read, or is none that the API takes.
            APIConnectionError, APIStatusError, LimiterTimeoutError: It could not be uploaded.
        """
        contents = await self.contents.of_request(request)
        if not contents:
            return None
        standing: dict[LocalImage, str] = {}
        with anyio.CancelScope(deadline=turn.deadline):
            for name, image in images_of(request):
                if image not in standing:
                    standing[image] = await self._standing(name, image, contents[image], turn)
            body = encode_request(request, standing.__getitem__)
            return await to_thread.run_sync(encode_json, body)
        raise _late()

    async def upload(self, source: ImageSource, turn: Turn) -> str:
        """Upload an image, unless that was done before, and answer its address.

        Raises:
            InvalidRequestError, APIConnectionError, APIStatusError: As `body`.
        """
        image = frozen_image(Path(source) if isinstance(source, str) else source)
        if isinstance(image, Inline | str) or not is_local(image):
            allowed = f"a path, or {FORMATS} as bytes or as a Pillow image"
            raise InvalidRequestError.of(
                owner="upload", field="image", value=source, allowed=allowed
            )
        content = await self.contents.of("upload", "image", image)
        with anyio.CancelScope(deadline=turn.deadline):
            return await self._address("image", image, content, turn)
        raise _late()

    # --- sending ---------------------------------------------------------------------------------

    async def _standing(self, name: str, image: LocalImage, content: Content, turn: Turn) -> str:
        """Answer what is sent for an image: its address, or itself as base64."""
        if isinstance(image, Inline):
            return await to_thread.run_sync(as_base64, name, image, content)
        return await self._address(name, image, content, turn)

    async def _address(self, name: str, image: LocalImage, content: Content, turn: Turn) -> str:
        """Answer where a content is, or have it uploaded once for all who ask meanwhile."""
        while True:
            address, at = self._addresses.get(content.sha256, ("", -math.inf))
            if time.monotonic() - at < GOOD_FOR:
                return address
            flight = self._flights.get(content.sha256)
            if flight is None:
                return await self._fly(name, image, content, turn)
            await flight.over.wait()
            if flight.error is not None:
                raise copy.copy(flight.error)

    async def _fly(self, name: str, image: LocalImage, content: Content, turn: Turn) -> str:
        flight = self._flights[content.sha256] = _Flight()
        started = anyio.current_time()
        try:
            address = await self._sent(name, image, content, turn)
        except LimiterTimeoutError:  # its own; the others may have more time
            raise
        except (APIConnectionError, APIResponseError, APIStatusError) as error:
            flight.error = error
            raise
        finally:
            del self._flights[content.sha256]
            flight.over.set()
        self._addresses[content.sha256] = (address, time.monotonic())
        while len(self._addresses) > REMEMBERED:
            self._addresses.popitem(last=False)
        seconds = anyio.current_time() - started
        shown = described(image)
        event = ImageUploaded(image=shown, url=address, size=content.size, seconds=seconds)
        self._calls.tell(event)
        return address

    async def _sent(self, name: str, image: LocalImage, content: Content, turn: Turn) -> str:
        body = Body(content.size, content.media_type, partial(parts_of, name, image, content))
        if self._has_tickets:
            try:
                return await self._sent_by_ticket(body, content, turn)
            except _NoTicketsError:
                self._has_tickets = False
        return await self._sent_as_form(body, content, turn)

    async def _sent_by_ticket(self, body: Body, content: Content, turn: Turn) -> str:
        waits = pauses(self._dice)
        tries_left = self._max_retries
        while True:
            ticket = await self._ticket(content, turn)
            try:
                await self._transport.put(ticket.url, ticket.headers, body)
            except WaveSpeedError as error:
                pause = self._pause(error, turn, tries_left, next(waits))
                self._calls.failed("PUT", urlsplit(ticket.url).path, error, pause)
                if pause is None:
                    raise
            else:
                return ticket.address
            tries_left -= 1
            await anyio.sleep(pause)

    def _pause(
        self, error: WaveSpeedError, turn: Turn, tries_left: int, pause: float
    ) -> float | None:
        """Decide on another try with another ticket: after how many seconds, or None for no."""
        is_open = is_passing(error)
        if isinstance(error, APIStatusError):
            is_open = error.status_code >= 400 and error.status_code not in FINAL  # noqa: PLR2004 (all that refuses; a redirect stays one)
        return pause if is_open and tries_left > 0 and pause < turn.left() else None

    async def _ticket(self, content: Content, turn: Turn) -> _Ticket:
        asked = {
            "filename": _filename(content),
            "size": content.size,
            "content_type": content.media_type,
        }
        try:
            data = await self._asked(TICKETS, asked, turn)
            return _ticket_of(data, self._transport.root)
        except APIStatusError as error:
            is_a_model = error.status_code == 400 and "not found" in error.message.lower()  # noqa: PLR2004 (as is said above)
            if is_a_model or error.status_code in NO_SUCH_WAY:
                raise _NoTicketsError from None
            raise

    async def _sent_as_form(self, body: Body, content: Content, turn: Turn) -> str:
        form = _form_of(body, _filename(content))
        waits = pauses(self._dice)
        tries_left = self._max_retries
        while True:
            data = await self._asked(FORM, form, turn)
            if data.get("size") in {None, content.size}:
                return _address_in(data)
            text = f"the server has {data['size']} of the file's {content.size} bytes"
            error = APIResponseError(text)
            if tries_left == 0:
                raise error
            tries_left -= 1
            await anyio.sleep(next(waits))

    async def _asked(
        self, path: str, query: Mapping[str, object] | Body, turn: Turn
    ) -> Mapping[str, Any]:
        ask, limit = self._calls.asked, LARGEST_ANSWER
        return await ask(
            "upload", "POST", path, turn, query=query, decode=decode_data, largest=limit
        )


class _NoTicketsError(Exception):
    """Say that the server has no tickets."""


def _late() -> APIConnectionError:
    return APIConnectionError("the image was not uploaded within its time", sent=False)


# --- what the API says, and is told --------------------------------------------------------------


@frozen
class _Ticket:
    """Say where a file may be put, and where it is then."""

    address: str
    url: str
    headers: Mapping[str, str]


def _ticket_of(data: Mapping[str, Any], root: str) -> _Ticket:
    upload = data.get("upload")
    told: Mapping[str, Any] = upload if isinstance(upload, dict) else {}
    url, headers = str(told.get("url")), told.get("headers") or {}
    if told.get("method") != "PUT" or not _is_target(url, root) or not isinstance(headers, dict):
        text = "the ticket for an upload does not say where to put the file"
        raise APIResponseError(text)
    kept = {str(key): str(value) for key, value in headers.items() if key.lower() not in _OURS}
    return _Ticket(_address_in(data), url, kept)


def _is_target(url: str, root: str) -> bool:
    """Tell whether a file may go there: not without encryption where the API has it."""
    if not _is_web(url) or urlsplit(url).username is not None:
        return False
    return urlsplit(url).scheme == "https" or root.startswith("http://")


def _address_in(data: Mapping[str, Any]) -> str:
    address = data.get("download_url")
    if not isinstance(address, str) or not _is_web(address):
        text = "the answer to an upload has no address"
        raise APIResponseError(text)
    return address


def _is_web(url: str) -> bool:
    return not url.startswith("data:") and Media(required=True).accepts(url)


def _filename(content: Content) -> str:
    """Name a file by what it is; its name on this machine is nobody's business."""
    ending = content.media_type.removeprefix("image/").replace("jpeg", "jpg")
    return f"{content.sha256[:16]}.{ending}"


def _form_of(body: Body, filename: str) -> Body:
    """Wrap a file as the field `file` of a form."""
    boundary = secrets.token_hex(16)
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        f"Content-Type: {body.media_type}\r\n\r\n"
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()

    async def parts() -> AsyncGenerator[bytes]:
        yield head
        async with aclosing(body.parts()) as file:
            async for part in file:
                yield part
        yield tail

    size = len(head) + body.size + len(tail)
    return Body(size, f"multipart/form-data; boundary={boundary}", parts)
