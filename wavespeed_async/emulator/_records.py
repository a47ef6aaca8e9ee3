"""What the emulator remembers and hands on: calls, replies, predictions, uploads, webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from attrs import Factory, evolve, field, frozen

from wavespeed_async._prediction import Status
from wavespeed_async.emulator._wishes import Wishes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wavespeed_async.emulator._requests import Submission

__all__ = [
    "Call",
    "Failure",
    "File",
    "Kind",
    "Listing",
    "PredictionRecord",
    "Reply",
    "RequestRecord",
    "Scripted",
    "UploadRecord",
    "WebhookRecord",
]

Kind: TypeAlias = Literal["submit", "result", "other"]
"""What a request of the API is for."""

SUCCESS = 200
CREATED_SHARE = 0.05


@frozen
class File:
    """Hold a file of a multipart body."""

    filename: str
    content: bytes = field(repr=False)


@frozen(kw_only=True)
class Call:
    """Hold one request of the API as it arrived; the names of headers are lower-case.

    Attributes:
        method: Its HTTP method.
        path: Its path.
        headers: Its headers.
        body: Its body.
        origin: The address under which the emulator was called.
        webhook: What `?webhook=` says, or None.
        file: What the multipart field `file` holds, or None.
        epoch: The wall-clock time at which the emulator's clock stood at 0.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    body: bytes = b""
    origin: str = "http://emulator"
    webhook: str | None = None
    file: File | None = None
    epoch: float = 0.0


@frozen(kw_only=True)
class RequestRecord:
    """Remember one request of the API.

    Attributes:
        at: When it arrived, in seconds of the emulator's clock.
        method: Its HTTP method.
        path: Its path.
        kind: What it was for: `submit`, `result` or `other`.
        status_code: What it was answered, or None where the answer was lost on purpose.
        prediction_id: The prediction that it made or asked for, or None.
        headers: Its headers in lower case, without the key.
        fault: What went wrong on purpose, or None.
    """

    at: float
    method: str
    path: str
    kind: Kind
    status_code: int | None
    prediction_id: str | None
    headers: Mapping[str, str]
    fault: str | None = None


@frozen
class Failure:
    """Say why a prediction fails: the API's number, and its words."""

    code: int
    message: str


@frozen(kw_only=True)
class PredictionRecord:
    """Remember one prediction.

    Attributes:
        id: 32 lower-case hexadecimal characters.
        model: The model's id.
        fields: What was asked, as received: unknown fields are still there.
        created: When it was submitted, in seconds of the emulator's clock.
        ready: When it ends; infinity if it never does.
        status: Where it stands now.
        polls: How often its result was asked for.
        request: What the model made of the fields.
        seed: The seed in use: the asked one, else a drawn one.
        origin: The address under which the emulator was called.
        failure: Why it fails, or None.
        pictures: Whether its outputs are drawn.
        started: When it leaves the queue; the same as `created` if there is none.
        outcome: How it ends, unless it fails.
        running_as: The word that stands for its status while it runs, or None.
        shape: How its answers look, or None.
        skew: By how many seconds `created_at` is wrong.
        price: What it costs, in millionths of a USD.
        webhook: Who is called when it has ended, or None.
        deleted: Whether it was deleted by request.
    """

    id: str
    model: str
    fields: Mapping[str, Any]
    created: float
    ready: float
    status: Status = Status.CREATED
    polls: int = 0
    request: Submission
    seed: int
    origin: str
    failure: Failure | None = None
    pictures: bool = True
    started: float = field(default=Factory(lambda self: self.created, takes_self=True))
    outcome: Status = Status.COMPLETED
    running_as: str | None = None
    shape: str | None = None
    skew: float = 0.0
    price: int = 0
    webhook: str | None = None
    deleted: bool = False

    @property
    def count(self) -> int:
        """How many pictures were asked for."""
        count: int = getattr(self.request, "num_images", 1)
        return count

    @property
    def output_format(self) -> str:
        """The format of its outputs, as files are named."""
        asked: str = getattr(self.request, "output_format", "png")
        return asked if self.pictures else "png"

    @property
    def wants_base64(self) -> bool:
        """Whether its outputs are told as base64 rather than as URLs."""
        return bool(getattr(self.request, "enable_base64_output", False))

    @property
    def is_held(self) -> bool:
        """Whether its submission is held until it has ended (sync mode)."""
        return bool(getattr(self.request, "enable_sync_mode", False))

    @property
    def shown_status(self) -> str:
        """The word that tells where it stands: while it runs, perhaps a wished one."""
        if self.running_as is not None and not self.status.ended:
            return self.running_as
        return str(self.status)

    def seen(self, now: float) -> PredictionRecord:
        """Answer the same prediction with its status at `now`."""
        return evolve(self, status=self._status(now))

    def _status(self, now: float) -> Status:
        if self.deleted:
            return Status.DELETED
        if now >= self.ready:
            return Status.FAILED if self.failure else self.outcome
        if now < self.started:
            return Status.QUEUED
        if now - self.started >= CREATED_SHARE * (self.ready - self.started):
            return Status.PROCESSING
        return Status.CREATED


@frozen(kw_only=True)
class UploadRecord:
    """Remember one upload.

    Attributes:
        id: 32 lower-case hexadecimal characters.
        filename: As the client named it.
        suffix: The kind of picture, such as `png`.
        size: How many bytes were announced or sent.
        created: When, in seconds of the emulator's clock.
        content: The bytes; None for a ticket that was not used yet.
    """

    id: str
    filename: str
    suffix: str
    size: int
    created: float
    content: bytes | None = field(default=None, repr=False)


@frozen(kw_only=True)
class WebhookRecord:
    """Remember one call of a webhook, or why there was none.

    Attributes:
        at: When, in seconds of the emulator's clock.
        url: Whom.
        prediction_id: About which prediction.
        webhook_id: The call's id, the same for each try.
        attempt: The number of the try, from 1.
        status_code: What was answered, or None.
        error: Why there was no answer, or None.
        fault: The fault that this call is one of, or None.
    """

    at: float
    url: str
    prediction_id: str
    webhook_id: str
    attempt: int
    status_code: int | None = None
    error: str | None = None
    fault: str | None = None


@frozen(kw_only=True)
class Scripted:
    """Hold one answer that a test wants; None for the kind takes the next request of any kind."""

    status_code: int = SUCCESS
    body: Mapping[str, Any] | str | bytes | None = None
    headers: Mapping[str, str] = Factory(dict)
    kind: Kind | None = None
    lose: bool = False
    wishes: Wishes | None = None

    @property
    def wish(self) -> Wishes | None:
        """What the request is to meet, where it is not simply answered."""
        return Wishes(fault="lost") if self.lose else self.wishes


@frozen(kw_only=True)
class Listing:
    """Hold one page of a list of predictions."""

    page: int
    total: int
    items: tuple[PredictionRecord, ...]
    inputs_as: str | None = None


@frozen(kw_only=True)
class Reply:
    """Say what a request is answered: `body`, or without one `prediction` as it stands.

    Attributes:
        status: The HTTP status.
        body: What is answered, if it is neither a prediction nor a list of them.
        headers: Further headers.
        prediction: The prediction that was made or asked for.
        version: The API version of the path.
        submitted: Whether the prediction was made by this request.
        lost: Whether the connection is closed instead of an answer.
        listing: A list of predictions.
        shape: How the answer looks, whatever the prediction's own shape.
        fault: What goes wrong on purpose.
        waits: Whether the request has to be asked again a little later.
    """

    status: int = SUCCESS
    body: Mapping[str, Any] | str | bytes | None = None
    headers: Mapping[str, str] = Factory(dict)
    prediction: PredictionRecord | None = None
    version: str = "v3"
    submitted: bool = False
    lost: bool = False
    listing: Listing | None = None
    shape: str | None = None
    fault: str | None = None
    waits: bool = False
