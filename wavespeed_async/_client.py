"""AsyncWaveSpeed: where transport, limiter, poller and storage meet."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any, Self, overload

import anyio
import anyio.to_thread
from attrs import evolve

from wavespeed_async._account import (
    Price,
    balance,
    checked_ids,
    delete,
    in_time,
    listing,
    price_of,
)
from wavespeed_async._batch_runner import BatchRunner
from wavespeed_async._calls import Calls, Turn
from wavespeed_async._catalogue import Catalogue, Model
from wavespeed_async._codec import prediction_of, request_of
from wavespeed_async._folder import Folder
from wavespeed_async._media import Storage
from wavespeed_async._polling import Poller
from wavespeed_async._prediction import Outcome, Prediction, Status
from wavespeed_async._settings import (
    base_url_or_default,
    check_settings,
    check_timeout,
    checked_key,
    checked_url,
)
from wavespeed_async._sharing import forget, identity_of, shared_limiter
from wavespeed_async._stack import Defaults, Stack
from wavespeed_async._statistics import Counts
from wavespeed_async._uploads import Uploads
from wavespeed_async.batch import (
    Budget,
    Journaled,
    Outcomes,
    Plain,
    Prices,
    folder_of,
    store_of,
)
from wavespeed_async.batch import estimate as estimate_of
from wavespeed_async.errors import APIConnectionError, ConfigurationError, InvalidRequestError
from wavespeed_async.models._known import ModelMethods
from wavespeed_async.observe._observers import checked, stream
from wavespeed_async.webhooks import TOLERANCE, verify

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Iterable, Mapping
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    import httpx
    from PIL.Image import Image

    from wavespeed_async._deliveries import Deliveries
    from wavespeed_async._folder import Existing
    from wavespeed_async._poll_rule import PollRule
    from wavespeed_async._statistics import Statistics
    from wavespeed_async.batch import Estimate, Items
    from wavespeed_async.limits import AnyLimiter, Limits
    from wavespeed_async.models import Request
    from wavespeed_async.models._images import ImageSource
    from wavespeed_async.observe._observers import Observers
    from wavespeed_async.webhooks import Headers

__all__ = ["AsyncWaveSpeed"]

AT_ONCE = 256 * 1024
"""Bytes of a webhook that are verified on the event loop, in a millisecond; pictures in base64 have
more, and go to a thread."""


class AsyncWaveSpeed(ModelMethods):
    """Make pictures through one account of the WaveSpeedAI API, within its limits.

    Use it as an async context manager, or call `aclose`. Clients of one process that use the same
    key share one limiter, unless they are given one.

    Args:
        api_key: The account's key; by default the environment variable WAVESPEED_API_KEY.
        base_url: Where the API is; by default WAVESPEED_BASE_URL, or https://api.wavespeed.ai.
        limits: What the account is allowed.
        limiter: Shares its limits with others that use it; it brings its own `limits`.
        timeout: Seconds for a call, or for each request of a batch from its submission on.
        max_retries: How many times a failed read is made again; a submission only where it
            provably never arrived or was refused.
        transport: An httpx transport, with the proxies and certificates of your choice, or
            `"aiohttp"`: a fifth of the CPU, under asyncio only, with the extra `aiohttp`.
        choose_seeds: Draw a seed that is left open, so that every picture can be made again.
        check_raw: Check raw requests against what the API's catalogue says of their model; it is
            asked for once an hour at most.
        observe: Is called with every event: a function, what `wavespeed_async.observe` has, or
            several of them.
        deliveries: Carries webhooks between the workers of an application; by default those of
            this process alone are known.

    Raises:
        ConfigurationError: There is no key, or a setting cannot work.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        limits: Limits | None = None,
        limiter: AnyLimiter | None = None,
        timeout: float = 600.0,
        max_retries: int = 3,
        transport: httpx.AsyncBaseTransport | str | None = None,
        choose_seeds: bool = True,
        check_raw: bool = True,
        observe: Observers | None = None,
        deliveries: Deliveries | None = None,
    ) -> None:
        from wavespeed_async._transport import (  # noqa: PLC0415 (httpx comes with the first client)
            Transport,
            base_url_root,
        )

        key = checked_key(api_key)
        url = base_url_or_default(base_url)
        check_settings(timeout, max_retries, transport)
        observers = checked(observe)
        if limiter is None:
            limiter = shared_limiter(self, base_url_root(url), key, limits)
        elif limits is not None and limits != limiter.limits:
            message = "give a client limits or a limiter, not both: a limiter brings its own"
            raise ConfigurationError(message)
        counts = Counts.of(limiter)
        told = stream(observers, base_url_root(url), limiter, counts)
        wire = Transport(api_key=key, base_url=url, transport=transport, observe=told)
        dice = random.Random()
        calls = Calls(wire, limiter, max_retries=max_retries, observe=told, dice=dice)
        self._stack = Stack(
            transport=wire,
            limiter=limiter,
            calls=calls,
            poller=Poller(calls, max_retries=max_retries, dice=dice),
            catalogue=Catalogue(calls),
            storage=Storage(wire, max_retries=max_retries, observe=told, dice=dice),
            uploads=Uploads(calls, wire, max_retries=max_retries, dice=dice),
            dice=dice,
            deliveries=deliveries,
            identity=identity_of(base_url_root(url), key),
            counts=counts,
        )
        if deliveries is not None:
            deliveries.attach(self._stack.poller)
        self._defaults = Defaults(timeout, choose_seeds=choose_seeds, check_raw=check_raw)
        self._parent: AsyncWaveSpeed | None = None
        limiter.opened(self)

    def __repr__(self) -> str:
        return f"<AsyncWaveSpeed {self._stack.transport.root}, {self._stack.limiter!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the pool of connections; a client made by `with_options` leaves it open."""
        if self._parent is None:
            forget(self)
            if self._stack.deliveries is not None:
                self._stack.deliveries.detach(self._stack.poller)
            with anyio.CancelScope(shield=True):
                await self._stack.transport.aclose()
                await self._stack.limiter.closed(self)

    def with_options(
        self,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        choose_seeds: bool | None = None,
        webhook: str | None = None,
        check_raw: bool | None = None,
    ) -> AsyncWaveSpeed:
        """Answer a client with other defaults on the same pool and limiter.

        Args:
            timeout: Seconds for a call.
            priority: Lower numbers go first; 0 is the default. A batch comes one number later.
            choose_seeds: Whether to draw seeds that are left open.
            webhook: The URL that the API calls at the end of each prediction: see `run`.
            check_raw: Whether to check raw requests against the API's catalogue.
        """
        other = object.__new__(AsyncWaveSpeed)
        other._stack = self._stack
        now = self._defaults
        other._defaults = Defaults(
            timeout=now.timeout if timeout is None else timeout,
            priority=now.priority if priority is None else priority,
            choose_seeds=now.choose_seeds if choose_seeds is None else choose_seeds,
            webhook=now.webhook if webhook is None else checked_url(webhook),
            check_raw=now.check_raw if check_raw is None else check_raw,
        )
        other._parent = self  # while this one is in use, so is the account
        check_timeout(other._defaults.timeout)
        return other

    @property
    def limiter(self) -> AnyLimiter:
        """The limiter, to be shared with other clients or asked for what it sees."""
        return self._stack.limiter

    @property
    def poll_rule(self) -> PollRule:
        """What was learned of how long models take: `snapshot()` saves it, `restore` loads it."""
        return self._stack.poller.rule

    def statistics(self) -> Statistics:
        """Tell what was done and what goes on, in all clients of this account in this process.

        It asks for nothing over the network, and any thread may call it.
        """
        return self._stack.counts.statistics(self.limiter, self.poll_rule)

    # --- one request -----------------------------------------------------------------------------

    @overload
    async def run(
        self, request: Request, *, timeout: float | None = None, webhook: str | None = None
    ) -> Prediction: ...

    @overload
    async def run(
        self,
        request: str,
        *,
        timeout: float | None = None,
        webhook: str | None = None,
        **fields: Any,
    ) -> Prediction: ...

    async def run(
        self,
        request: Request | str,
        *,
        timeout: float | None = None,
        webhook: str | None = None,
        **fields: Any,
    ) -> Prediction:
        """Submit a request, wait, and answer the finished prediction.

        A model's id with its fields is short for its request: of the model's class, if it has one
        in this package, else raw. A field called `timeout` or `webhook` needs the long form.

        With a webhook it ends by the arrival (`receive`), in one request: it is polled only where
        the webhook is so late that it is probably lost.

        Args:
            request: What is asked, or the id of a model.
            timeout: Seconds for all of it; by default the client's.
            webhook: An http(s) URL that the API calls when it has ended. No event and no error
                tells its query.
            fields: The model's fields, where `request` is its id.

        Raises:
            InvalidRequestError: A field is not the model's, or out of range; nothing was sent.
            PredictionFailedError: It ended without pictures.
            PredictionTimeoutError: It still ran after `timeout`; its id resumes it.
            SubmissionUnconfirmedError: It may exist and be billed; it was not sent again.
            LimiterTimeoutError, APIConnectionError, APIStatusError: It does not exist, unless the
                error has a `prediction_id`: then it may still run, and waiting for it resumes it.
        """
        asked, defaults = request_of(request, fields), self._called_at(webhook)
        return await self._stack.run(asked, self._turn(timeout), defaults)

    @overload
    async def submit(
        self, request: Request, *, timeout: float | None = None, webhook: str | None = None
    ) -> Prediction: ...

    @overload
    async def submit(
        self,
        request: str,
        *,
        timeout: float | None = None,
        webhook: str | None = None,
        **fields: Any,
    ) -> Prediction: ...

    async def submit(
        self,
        request: Request | str,
        *,
        timeout: float | None = None,
        webhook: str | None = None,
        **fields: Any,
    ) -> Prediction:
        """Submit a request, or a model's id with its fields; answer what was just created.

        With a webhook a later `wait` ends by the arrival, as `run` does.

        Raises:
            InvalidRequestError: A field is not the model's, or out of range; nothing was sent.
            SubmissionUnconfirmedError: It may exist and be billed; it was not sent again.
            LimiterTimeoutError, APIConnectionError, APIStatusError: It does not exist.
        """
        asked = request_of(request, fields)
        account, defaults = self._stack, self._called_at(webhook)
        prediction = await account.submit(asked, self._turn(timeout), defaults)
        account.poller.leave(prediction)
        return prediction

    async def result(
        self, prediction: Prediction | str, *, timeout: float | None = None
    ) -> Prediction:
        """Ask for a prediction once, and answer it as it stands, ended or not.

        Raises:
            NotFoundError: There is none with this id; the API keeps them for 7 days.
            APIConnectionError, APIResponseError, APIStatusError: No usable answer came.
        """
        turn, known = self._turn(timeout), prediction_of(prediction)
        with anyio.CancelScope(deadline=turn.deadline):
            return await self._stack.poller.result(known, turn)
        message = f"no answer about prediction {known.id} within its time"
        raise APIConnectionError(message, prediction_id=known.id)

    async def wait(
        self, prediction: Prediction | str, *, timeout: float | None = None
    ) -> Prediction:
        """Wait for a prediction, from this process or another, and answer it finished.

        Raises:
            PredictionFailedError: It ended without pictures.
            PredictionTimeoutError: It still ran after `timeout`; its id resumes it.
            NotFoundError: There is none with this id; the API keeps them for 7 days.
        """
        return await self._stack.wait(prediction_of(prediction), self._turn(timeout))

    # --- files -----------------------------------------------------------------------------------

    async def upload(self, image: ImageSource, *, timeout: float | None = None) -> str:
        """Upload an image of this machine and answer its address, which is good for 7 days.

        Requests do so themselves for the images in their fields. What this client has uploaded
        before is not uploaded again.

        Args:
            image: A path, the bytes of a file, or a Pillow image.
            timeout: Seconds for it.

        Raises:
            InvalidRequestError: It cannot be read, or is no image that the API takes.
            APIConnectionError, APIStatusError, LimiterTimeoutError: It could not be uploaded.
        """
        return await self._stack.uploads.upload(image, self._turn(timeout))

    async def save(
        self,
        prediction: Prediction | Outcome,
        directory: str | os.PathLike[str] | Folder,
        *,
        name: str | None = None,
        existing: Existing | None = None,
        metadata: bool | None = None,
    ) -> list[Path]:
        """Write every output of a finished prediction into a folder, which is made if need be.

        Files are whole or not there. What `Folder` says of names, files that are there and
        metadata holds here; given beside a Folder, an argument comes before what that has.

        Args:
            prediction: A prediction, or the outcome of one, whose index the name may have.
            directory: The folder.
            name: The names of the files without their ending, `{id}` by default.
            existing: `replace` (the default) or `keep` files that are there.
            metadata: Whether to write into each picture how it was made; by default not.

        Raises:
            InvalidRequestError: The prediction is not completed, or the name cannot be.
            APIConnectionError, APIStatusError, APIResponseError: An output could not be fetched.
            OSError: A file could not be written.
        """
        folder = Folder.of(directory, name=name, existing=existing, metadata=metadata)
        index = prediction.index if isinstance(prediction, Outcome) else None
        prediction = prediction.unwrap() if isinstance(prediction, Outcome) else prediction
        return await self._stack.storage.save(prediction, folder, index)

    async def read(self, prediction: Prediction, number: int = 0) -> bytes:
        """Answer an output of a finished prediction, by its number from 0, as bytes.

        Raises:
            InvalidRequestError: The prediction is not completed, or has no such output.
            APIConnectionError, APIStatusError, APIResponseError: It could not be fetched.
        """
        return await self._stack.storage.read(prediction, number)

    async def image(self, prediction: Prediction, number: int = 0) -> Image:
        """Answer an output of a finished prediction as a Pillow image (extra `pillow`).

        Raises:
            ConfigurationError: Pillow is not there.
            APIResponseError: The output is no image.
            InvalidRequestError, APIConnectionError, APIStatusError: As `read`.
        """
        return await self._stack.storage.image(prediction, number)

    # --- webhooks --------------------------------------------------------------------------------

    async def receive(
        self, body: bytes | str, headers: Headers, secret: str, *, tolerance: float = TOLERANCE
    ) -> Prediction:
        """Take the call of a webhook: verify it, end the waits for its prediction, and answer it.

        Where the client has `deliveries`, the waits of all workers. Calls that come twice, early,
        late or out of order are all right.

        Args:
            body: The raw body, as it came.
            headers: The call's headers in any case, as a mapping or as pairs.
            secret: The account's webhook secret, `whsec_…`.
            tolerance: Seconds by which the call may be old, or early.

        Raises:
            WebhookVerificationError: It is not from the API: answer 401.
            DeliveryError: Nobody waits for it here, and the other workers cannot be told: answer
                503, and the API calls again.
        """
        check = partial(verify, body, headers, secret, tolerance=tolerance)
        prediction = check() if len(body) <= AT_ONCE else await anyio.to_thread.run_sync(check)
        deliveries = self._stack.deliveries
        is_awaited = self._stack.poller.hear(prediction)
        if deliveries is not None and prediction.status.ended:
            if is_awaited:
                deliveries.post(prediction)
            else:
                await deliveries.publish(prediction)
        return prediction

    def arrive(self, prediction: Prediction) -> bool:
        """Take what a verified webhook told; answer whether somebody here waited for it.

        It is what `receive` does after it has verified a call, without waiting for anything: the
        other workers are told soon. Call it in the client's event loop.

        Raises:
            ConfigurationError: This is another thread, or another event loop.
        """
        if not isinstance(prediction, Prediction):
            raise InvalidRequestError.of(
                owner="arrive", field="prediction", value=prediction, allowed="a prediction"
            )
        is_awaited = self._stack.poller.hear(prediction)
        if self._stack.deliveries is not None and prediction.status.ended:
            self._stack.deliveries.post(prediction)
        return is_awaited

    # --- models and the account ------------------------------------------------------------------

    async def models(
        self, *, max_age: float = 0.0, timeout: float | None = None
    ) -> tuple[Model, ...]:
        """List the API's models; `max_age=3600` takes an answer that is up to an hour old.

        Raises:
            LimiterTimeoutError, APIConnectionError, APIResponseError, APIStatusError: They cannot
                be had.
        """
        return await self._stack.catalogue.models(self._turn(timeout), max_age=max_age)

    async def check(self, request: Request, *, timeout: float | None = None) -> None:
        """Check a raw request against the API's catalogue, as submitting it does; send nothing.

        Where the catalogue cannot be had, or does not know the model, `observe` is told so. Other
        requests were checked when they were made.

        Raises:
            InvalidRequestError: For the first field that the model does not declare or refuses.
        """
        await self._stack.catalogue.check(request, self._turn(timeout))

    async def balance(self, *, timeout: float | None = None) -> float:
        """Ask what the account has left, in USD.

        Raises:
            LimiterTimeoutError, APIConnectionError, APIResponseError, APIStatusError: No usable
                answer came.
        """
        turn = self._turn(timeout)
        return await in_time(turn, partial(balance, self._stack.calls, turn))

    async def price(self, request: Request, *, timeout: float | None = None) -> Price:
        """Ask what a request would cost; a raw one is checked as if it were submitted.

        Raises:
            InvalidRequestError: A raw request is not what its model takes.
            LimiterTimeoutError, APIConnectionError, APIResponseError, APIStatusError: No usable
                answer came.
        """
        turn = self._turn(timeout)
        if self._defaults.check_raw:
            await self._stack.catalogue.check(request, turn)
        return await in_time(turn, partial(price_of, self._stack.calls, request, turn))

    def predictions(
        self,
        *,
        model: str | None = None,
        status: Status | str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        include_inputs: bool = False,
        page_size: int = 100,
    ) -> AsyncIterator[Prediction]:
        """Iterate over the account's predictions, the newest first; the API keeps them for 7 days.

        Pages are asked for as they are needed, each within the client's timeout.

        Args:
            model: Those of one model, by its id.
            status: Those that stand so.
            created_after: Those since then; a datetime with a time zone.
            created_before: Those until then.
            include_inputs: Have the API tell what was asked, in `raw` as `inputs` or `input`.
            page_size: How many one request brings, 1 to 100.

        Raises:
            InvalidRequestError: A filter cannot be.
            LimiterTimeoutError, APIConnectionError, APIResponseError, APIStatusError: While
                iterating: no usable page came. To iterate on asks for it again.
        """

        async def page(query: Mapping[str, object]) -> Mapping[str, Any]:
            turn = self._turn(None)
            return await in_time(turn, partial(self._stack.calls.listing, query, turn))

        return listing(
            page,
            model=model,
            status=status,
            created_after=created_after,
            created_before=created_before,
            include_inputs=include_inputs,
            page_size=page_size,
        )

    async def delete(
        self, predictions: Iterable[Prediction | str], *, timeout: float | None = None
    ) -> int:
        """Delete predictions with their outputs, and answer how many there were.

        Unknown ids are ignored; a try whose answer was lost is made again, and finds less.

        Raises:
            InvalidRequestError: One is no prediction and no id; nothing was deleted.
            LimiterTimeoutError, APIConnectionError, APIResponseError, APIStatusError: No usable
                answer came; some may be deleted.
        """
        turn, ids = self._turn(timeout), checked_ids(predictions)
        return await in_time(turn, partial(delete, self._stack.calls, ids, turn))

    # --- many requests ---------------------------------------------------------------------------

    def batch(
        self,
        requests: Items,
        *,
        journal: str | os.PathLike[str] | None = None,
        save_to: str | os.PathLike[str] | Folder | None = None,
        resubmit_unconfirmed: bool = False,
        max_cost: float | None = None,
        webhook: str | None = None,
    ) -> Outcomes:
        """Run any number of requests, and iterate over their outcomes as they end.

        Use it as `async with client.batch(…) as outcomes: async for outcome in outcomes: …`.

        With a journal the same call goes on where an earlier one stopped, however that ended:
        nothing is submitted twice, what ended is handed out again with its seed, a file that is
        missing is fetched again, and the limits hold across the restart. A submission whose answer
        was lost is looked for in the API's list, then and during the run.

        Args:
            requests: Requests, and predictions or ids that run already; iterable or async iterable,
                of any length: it is read no further than the limits allow. It is read on the event
                loop, so what blocks belongs into an async iterable.
            journal: A file that keeps what is sent and made; it is made if need be. One process at
                a time uses it, and only for requests of which it knows some. Or an address in
                PostgreSQL, `postgresql://host/database?journal=NAME`, for workers on several hosts:
                whichever is given the requests again goes on (`docs/journals.md`).
            save_to: A folder to write the outputs to, beside the run; a `Folder` says more.
            resubmit_unconfirmed: With a journal: submit again what may have been submitted and is
                not in the API's list. If it exists after all, it is billed twice.
            max_cost: What all requests may cost together, in the API's currency, those of earlier
                runs among them. Before this is passed nothing more is submitted. The API is asked
                for the price of each kind of request.
            webhook: The URL that the API calls at the end of each prediction: see `run`. What an
                earlier run left behind is polled.

        Raises:
            CostLimitError: While iterating: the next request would cost too much, or has no price.
                What runs has ended first.
            ConfigurationError: On entering, or at the first outcome: the journal is in use, of
                another version, damaged, or of other requests. Nothing was sent.
            JournalError: While iterating: it cannot be written any more. What runs has ended first.
        """
        folder = None if save_to is None else Folder.of(save_to)
        if folder is not None:
            folder.check_batch(journal=journal is not None)
        runner = BatchRunner(self._stack, self._called_at(webhook))
        course: Plain | Journaled = Plain(runner)
        if journal is not None:
            course = Journaled(
                runner,
                store_of(journal),
                folder_of(journal, None if folder is None else folder.path),
                resubmit=resubmit_unconfirmed,
            )
        budget = None if max_cost is None else Budget(max_cost, Prices(runner.price))
        return Outcomes(course, requests, width=runner.width, save_to=folder, budget=budget)

    async def run_all(
        self,
        requests: Iterable[Request | Prediction | str],
        *,
        journal: str | os.PathLike[str] | None = None,
        save_to: str | os.PathLike[str] | Folder | None = None,
        resubmit_unconfirmed: bool = False,
        max_cost: float | None = None,
        webhook: str | None = None,
    ) -> list[Outcome]:
        """Run requests as `batch` does, and answer their outcomes in the order of the requests."""
        batch = self.batch(
            requests,
            journal=journal,
            save_to=save_to,
            resubmit_unconfirmed=resubmit_unconfirmed,
            max_cost=max_cost,
            webhook=webhook,
        )
        async with batch as outcomes:
            ended = [outcome async for outcome in outcomes]
        return sorted(ended, key=lambda outcome: outcome.index)

    async def estimate(self, requests: Items) -> Estimate:
        """Say what requests would cost, and how long the limits would make them take at best.

        The API is asked for the price of each kind of request, under the limits; of 50 kinds at
        most. Nothing is submitted. Where prices cannot be asked for the answer says why.
        """
        runner = BatchRunner(self._stack, self._defaults)
        return await estimate_of(requests, Prices(runner.price), runner.limits)

    def _called_at(self, webhook: str | None) -> Defaults:
        if webhook is None:
            return self._defaults
        return evolve(self._defaults, webhook=checked_url(webhook))

    def _turn(self, timeout: float | None) -> Turn:
        seconds = self._defaults.timeout if timeout is None else timeout
        check_timeout(seconds)
        return Turn(deadline=anyio.current_time() + seconds, priority=self._defaults.priority)
