"""The API's behaviour as a state machine. Pure: no I/O, no clock, every method takes `now`.

Times are seconds on one clock that never goes back. Decisions, where the API is not known:

- The window slides: a request counts until it is `per` seconds old.
- Every request of the API counts (polls can be exempted; outputs and samples are no API requests),
  but one that is refused counts nowhere: neither a 401 nor a 429 uses up the window.
- A prediction runs from its submission until it is ready, whether or not anybody asks.
- It is `created` for the first twentieth of its latency, then `processing`.
"""

from __future__ import annotations

import heapq
import math
import random
import re
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from attrs import Factory, evolve, field, frozen, validators

from wavespeed_async._prediction import Status
from wavespeed_async.emulator._answers import envelope
from wavespeed_async.emulator._requests import Refusal, Submission, read_submission

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Call",
    "Failure",
    "Kind",
    "PredictionRecord",
    "Reply",
    "RequestRecord",
    "Scripted",
    "Settings",
    "State",
]

Kind: TypeAlias = Literal["submit", "result", "other"]
"""What a request of the API is for."""

SUCCESS = 200
UNAUTHORISED = 401
NOT_FOUND = 404
LIMITED = 429
CREATED_SHARE = 0.05
DRAWN_SEEDS = (0, 2147483647)


@frozen(kw_only=True)
class Settings:
    """Say how the API behaves; times are seconds.

    Attributes:
        requests: How many requests are answered in any window.
        per: Length of the window.
        concurrency: How many predictions may run at once.
        latency: Mean time from submission to completion.
        latency_cv: Its coefficient of variation; 0 makes it constant.
        api_key: The only key that is known; with None any key will do.
        seed: Where ids, latencies and seeds that were left open are drawn from.
        polls_count: Whether asking for results counts in the window.
        sync_timeout: How long a submission is held in sync mode.
        pictures: Whether pictures are drawn; else every output is one tiny PNG.
        base64_prefix: Whether base64 outputs start with `data:`.
    """

    requests: int = field(default=120, validator=validators.ge(1))
    per: float = field(default=60.0, validator=validators.gt(0.0))
    concurrency: int = field(default=20, validator=validators.ge(1))
    latency: float = field(default=5.0, validator=validators.ge(0.0))
    latency_cv: float = field(default=0.3, validator=validators.ge(0.0))
    api_key: str | None = field(default=None, repr=False)
    seed: int = 0
    polls_count: bool = True
    sync_timeout: float = field(default=90.0, validator=validators.ge(0.0))
    pictures: bool = True
    base64_prefix: bool = False


@frozen(kw_only=True)
class Call:
    """Hold one request of the API as it arrived; the names of headers are lower-case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    body: bytes = b""
    origin: str = "http://emulator"


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
    """

    at: float
    method: str
    path: str
    kind: Kind
    status_code: int | None
    prediction_id: str | None
    headers: Mapping[str, str]


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
        ready: When it ends.
        status: Where it stands now.
        polls: How often its result was asked for.
        request: What the model made of the fields.
        seed: The seed in use: the asked one, else a drawn one.
        origin: The address under which the emulator was called.
        failure: Why it fails, or None.
        pictures: Whether its outputs are drawn.
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

    def seen(self, now: float) -> PredictionRecord:
        """Answer the same prediction with its status at `now`."""
        if now >= self.ready:
            status = Status.FAILED if self.failure else Status.COMPLETED
        elif now - self.created >= CREATED_SHARE * (self.ready - self.created):
            status = Status.PROCESSING
        else:
            status = Status.CREATED
        return evolve(self, status=status)


@frozen(kw_only=True)
class Scripted:
    """Hold one answer that a test wants; None for the kind takes the next request of any kind."""

    status_code: int = SUCCESS
    body: Mapping[str, Any] | str | bytes | None = None
    headers: Mapping[str, str] = Factory(dict)
    kind: Kind | None = None
    lose: bool = False


@frozen(kw_only=True)
class Reply:
    """Say what a request is answered: `body`, or without one `prediction` as it stands."""

    status: int = SUCCESS
    body: Mapping[str, Any] | str | bytes | None = None
    headers: Mapping[str, str] = Factory(dict)
    prediction: PredictionRecord | None = None
    version: str = "v3"
    submitted: bool = False
    lost: bool = False


class State:
    """Be one account of the API."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.requests: list[RequestRecord] = []
        self.refused = 0
        self.most_requests_in_window = 0
        self.most_running = 0
        self._predictions: dict[str, PredictionRecord] = {}
        self._window: deque[float] = deque()
        self._running: list[float] = []
        self._scripted: deque[Scripted] = deque()
        self._ids = random.Random(f"ids {settings.seed}")
        self._latencies = random.Random(f"latencies {settings.seed}")
        self._seeds = random.Random(f"seeds {settings.seed}")

    def receive(self, now: float, call: Call) -> Reply:
        """Answer one request of the API, and remember it."""
        kind, version, name = _route(call)
        scripted: Scripted | None = None
        try:
            self._authorise(call)
            scripted = self._next_scripted(kind)
            if scripted is not None and not scripted.lose:
                reply = _scripted_reply(scripted)
            else:
                self._admit(now, kind)
                reply = self._handle(now, call, kind, name)
        except Refusal as refusal:
            reply = Reply(status=refusal.status, body=envelope(refusal.status, refusal.message))
        reply = evolve(reply, version=version, lost=scripted is not None and scripted.lose)
        self._remember(now, call, kind, reply)
        return reply

    def find(self, now: float, prediction_id: str) -> PredictionRecord | None:
        """Look at a prediction as it stands, without counting a request."""
        found = self._predictions.get(prediction_id)
        return found.seen(now) if found else None

    def predictions(self, now: float) -> tuple[PredictionRecord, ...]:
        """List all predictions as they stand, in the order of their submission."""
        return tuple(prediction.seen(now) for prediction in self._predictions.values())

    def spoil(self, prediction_id: str, failure: Failure) -> None:
        """Let a prediction end as failed."""
        found = self._predictions[prediction_id]
        self._predictions[prediction_id] = evolve(found, failure=failure)

    def script(self, scripted: Scripted) -> None:
        """Queue an answer for the next request of its kind."""
        self._scripted.append(scripted)

    # --- one request, step by step ---------------------------------------------------------------

    def _authorise(self, call: Call) -> None:
        scheme, _, key = call.headers.get("authorization", "").partition(" ")
        known = self.settings.api_key
        is_known = bool(key.strip()) if known is None else key.strip() == known
        if scheme.lower() != "bearer" or not is_known:
            raise Refusal(UNAUTHORISED, "")

    def _next_scripted(self, kind: Kind) -> Scripted | None:
        found = next((s for s in self._scripted if s.kind in {None, kind}), None)
        if found is not None:
            self._scripted.remove(found)
        return found

    def _admit(self, now: float, kind: Kind) -> None:
        if self._is_counted(kind) and self._requests_in_window(now) >= self.settings.requests:
            raise Refusal(LIMITED, "")
        if kind == "submit" and self._running_now(now) >= self.settings.concurrency:
            raise Refusal(LIMITED, "")

    def _handle(self, now: float, call: Call, kind: Kind, name: str) -> Reply:
        if kind == "submit":
            return Reply(prediction=self._submit(now, call, name), submitted=True)
        if kind == "result":
            return Reply(prediction=self._result(now, name))
        raise Refusal(NOT_FOUND, "")

    def _submit(self, now: float, call: Call, model: str) -> PredictionRecord:
        request, fields = read_submission(model, call.body)
        asked = getattr(request, "seed", None)
        prediction = PredictionRecord(
            id=f"{self._ids.getrandbits(128):032x}",
            model=model,
            fields=fields,
            created=now,
            ready=now + self._latency(),
            request=request,
            seed=self._seeds.randint(*DRAWN_SEEDS) if asked in {None, -1} else asked,
            origin=call.origin,
            pictures=self.settings.pictures,
        )
        self._predictions[prediction.id] = prediction
        heapq.heappush(self._running, prediction.ready)
        self.most_running = max(self.most_running, self._running_now(now))
        return prediction

    def _result(self, now: float, prediction_id: str) -> PredictionRecord:
        found = self._predictions.get(prediction_id)
        if found is None:
            raise Refusal(NOT_FOUND, "prediction not found")
        found = self._predictions[prediction_id] = evolve(found, polls=found.polls + 1)
        return found.seen(now)

    def _latency(self) -> float:
        """Draw from the log-normal distribution of that mean and coefficient of variation."""
        mean, cv = self.settings.latency, self.settings.latency_cv
        if not mean or not cv:
            return mean
        variance = math.log1p(cv * cv)
        return self._latencies.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance))

    # --- what is counted -------------------------------------------------------------------------

    def _is_counted(self, kind: Kind) -> bool:
        return kind != "result" or self.settings.polls_count

    def _requests_in_window(self, now: float) -> int:
        while self._window and self._window[0] <= now - self.settings.per:
            self._window.popleft()
        return len(self._window)

    def _running_now(self, now: float) -> int:
        while self._running and self._running[0] <= now:
            heapq.heappop(self._running)
        return len(self._running)

    def _remember(self, now: float, call: Call, kind: Kind, reply: Reply) -> None:
        if reply.status == LIMITED:
            self.refused += 1
        elif reply.status != UNAUTHORISED and self._is_counted(kind):
            self._window.append(now)
            most = max(self.most_requests_in_window, self._requests_in_window(now))
            self.most_requests_in_window = most
        record = RequestRecord(
            at=now,
            method=call.method,
            path=call.path,
            kind=kind,
            status_code=None if reply.lost else reply.status,
            prediction_id=reply.prediction.id if reply.prediction else None,
            headers={k: v for k, v in call.headers.items() if k != "authorization"},
        )
        self.requests.append(record)


def _scripted_reply(scripted: Scripted) -> Reply:
    body = envelope(scripted.status_code) if scripted.body is None else scripted.body
    return Reply(status=scripted.status_code, body=body, headers=scripted.headers)


_RESULT = re.compile(r"/api/(v[23])/predictions/([^/]+)/result")
_SHORT_RESULT = re.compile(r"/api/(v3)/predictions/([^/]+)")
_SUBMIT = re.compile(r"/api/(v[23])/(?!predictions/|media/|model/)([^/]+/.+)")


def _route(call: Call) -> tuple[Kind, str, str]:
    """Tell what a request is for, its version, and the model or id that it names."""
    if call.method == "POST" and (found := _SUBMIT.fullmatch(call.path)):
        return "submit", found[1], found[2]
    if call.method == "GET":
        found = _RESULT.fullmatch(call.path) or _SHORT_RESULT.fullmatch(call.path)
        if found:
            return "result", found[1], found[2]
    return "other", "", ""
