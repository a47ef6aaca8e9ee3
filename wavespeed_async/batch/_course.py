"""What one item of a batch goes through: taken from the input, brought to its end, then to files.

`_plain.py` does it without a journal, `_journaled.py` with one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from attrs import define, field

from wavespeed_async._codec import decode_id
from wavespeed_async._prediction import Prediction
from wavespeed_async.errors import InvalidRequestError
from wavespeed_async.models._request import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from wavespeed_async._contents import Content
    from wavespeed_async._folder import Folder
    from wavespeed_async.batch._entries import Known
    from wavespeed_async.batch._journal import Group
    from wavespeed_async.batch._store import Claim
    from wavespeed_async.errors import JournalError
    from wavespeed_async.models._images import LocalImage

__all__ = ["Course", "Items", "Taken", "can_be", "each", "existing"]

Items: TypeAlias = Iterable[Request | Prediction | str] | AsyncIterable[Request | Prediction | str]


@define(eq=False)
class Taken:
    """Hold an item that was taken from the input, and how far it has come.

    Attributes:
        item: The request, prediction or id; or what is none.
        index: Its number in this run's input.
        request: The request with its seed.
        claim: The question for its entry.
        group: When that will be answered.
        known: The answer.
        contents: What its images of this machine are.
        refusal: Why it cannot be asked for: one of these cannot be read.
    """

    item: Any
    index: int = 0
    request: Request | None = None
    claim: Claim | None = None
    group: Group | None = None
    known: Known | None = None
    contents: Mapping[LocalImage, Content] = field(factory=dict)
    refusal: InvalidRequestError | None = None


class Course(Protocol):
    """Take items through a batch."""

    @property
    def failure(self) -> JournalError | None:
        """Why nothing more is to be sent, if so."""
        ...

    def running(self) -> Any:
        """Answer the context in which items are taken."""
        ...

    def admitted(self, items: Items) -> AsyncGenerator[Any, None]:
        """Answer the items that may be taken."""
        ...

    async def take(self, index: int, item: Any) -> Taken:
        """Take an item, in the order of the input."""
        ...

    async def finish(self, taken: Taken, note: Callable[[Prediction], object]) -> Prediction:
        """Bring it to its end; tell a prediction as soon as it is known."""
        ...

    async def save(self, taken: Taken, prediction: Prediction, folder: Folder) -> tuple[Path, ...]:
        """Bring its outputs into a folder."""
        ...

    def failed(self, taken: Taken, error: Exception) -> None:
        """Hear why it has no picture."""
        ...


# --- items ---------------------------------------------------------------------------------------


async def each(items: Items) -> AsyncGenerator[Any, None]:
    """Iterate over either kind of iterable; an async generator is closed in any case."""
    if not isinstance(items, AsyncIterable):
        for item in items:
            yield item
        return
    try:
        async for item in items:
            yield item
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()


def can_be(item: object) -> bool:
    """Tell whether an item can be asked for: a request, or what has an id that can be one."""
    if isinstance(item, Prediction):
        item = item.id
    return isinstance(item, Request) or decode_id({"id": item}) is not None


def existing(item: Any) -> Prediction:
    """Take a prediction, or an id.

    Raises:
        InvalidRequestError: It is neither.
    """
    if isinstance(item, Prediction):
        return item
    if isinstance(item, str):
        return Prediction(id=item)
    allowed = "a request, a prediction or an id"
    raise InvalidRequestError.of(owner="batch", field="an item", value=item, allowed=allowed)
