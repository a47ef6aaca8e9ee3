# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What type checkers make of the public interface: nothing here runs, mypy and pyright read it.

A line with `type: ignore` is a mistake that both have to find: else the comment itself is an error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, assert_type

import attrs

from wavespeed_async import (
    AsyncWaveSpeed,
    Estimate,
    Event,
    FluxDev,
    FluxDevLora,
    FluxFillDev,
    FluxKontextDevMulti,
    FluxReduxDev,
    Folder,
    Limiter,
    Limits,
    Lora,
    Model,
    Outcome,
    Outcomes,
    Prediction,
    PredictionError,
    PredictionFailedError,
    PredictionSubmitted,
    Price,
    RateLimitError,
    RawRequest,
    Request,
    Status,
    SubmissionUnconfirmedError,
)
from wavespeed_async.emulator import Emulator
from wavespeed_async.limits import AnyLimiter
from wavespeed_async.models import ImageValue
from wavespeed_async.webhooks import verify

if TYPE_CHECKING:
    from PIL.Image import Image

URL = "https://example.com/a.png"


async def methods_of_models(client: AsyncWaveSpeed) -> None:
    """A model's method has the fields of its class, and answers a prediction."""
    assert_type(await client.flux_dev(prompt="a", size=(512, 512)), Prediction)
    assert_type(await client.flux_dev(image=Path("a.png"), strength=1, loras=[]), Prediction)
    assert_type(await client.flux_dev_lora(prompt="a", loras=[Lora("a/b", 1)]), Prediction)
    assert_type(await client.flux_redux(image=b"a picture's bytes", seed=None), Prediction)
    assert_type(await client.flux_fill(image=URL, mask_image=URL), Prediction)
    assert_type(await client.flux_fill(image=URL, mask_image=URL, prompt=None), Prediction)
    assert_type(await client.flux_kontext_multi(prompt="a", images=(URL, URL)), Prediction)

    await client.flux_dev(promt="a")  # type: ignore[call-arg]  # no such field
    await client.flux_dev("a")  # type: ignore[call-arg]  # fields have names
    await client.flux_dev(num_images="2")  # type: ignore[arg-type]  # a number
    await client.flux_fill(image=URL)  # type: ignore[call-arg]  # a mask is required
    await client.flux_redux(image=URL, prompt="a")  # type: ignore[call-arg]  # it takes none
    await client.flux_kontext_multi(prompt="a", images=5)  # type: ignore[arg-type]  # several
    await client.flux_dev(prompt="a", timeout=3.0)  # type: ignore[call-arg]  # see with_options


async def calls(client: AsyncWaveSpeed, request: Request) -> None:
    """One request: run, submit, look, wait; by a class or by a model's id."""
    assert_type(await client.run(request), Prediction)
    assert_type(await client.run(FluxDev(prompt="a"), timeout=3, webhook=URL), Prediction)
    assert_type(await client.run("google/nano-banana", prompt="a", seed=3), Prediction)
    assert_type(await client.submit(request, webhook=URL), Prediction)
    assert_type(await client.submit("google/nano-banana", prompt="a"), Prediction)
    assert_type(await client.result("an-id"), Prediction)
    assert_type(await client.wait(await client.submit(request), timeout=9.0), Prediction)
    assert_type(client.with_options(timeout=3.0, priority=-1), AsyncWaveSpeed)

    await client.run(request, prompt="a")  # type: ignore[call-overload]  # it has its fields
    await client.wait(5)  # type: ignore[arg-type]  # no id


async def files(client: AsyncWaveSpeed, prediction: Prediction, outcome: Outcome) -> None:
    """Images of this machine go up, outputs come down."""
    assert_type(await client.upload(Path("a.png")), str)
    assert_type(await client.save(prediction, "pictures"), list[Path])
    assert_type(await client.save(outcome, Folder("pictures", name="{index}")), list[Path])
    assert_type(await client.read(prediction), bytes)
    picture: Image = await client.image(prediction, 1)
    await client.upload(picture)

    await client.save(prediction, "pictures", existing="ask")  # type: ignore[arg-type]  # no such word


async def batches(client: AsyncWaveSpeed, requests: AsyncIterator[FluxFillDev]) -> None:
    """A batch is a context around an iterator of outcomes."""
    async with client.batch(requests, journal="journal.sqlite", save_to="pictures") as outcomes:
        assert_type(outcomes, Outcomes)
        async for outcome in outcomes:
            assert_type(outcome, Outcome)
            assert_type(outcome.request, Request | None)
            assert_type(outcome.prediction, Prediction | None)
            assert_type(outcome.error, Exception | None)
            assert_type(outcome.paths, tuple[Path, ...])
            assert_type(outcome.unwrap(), Prediction)
    mixed: list[Request | Prediction | str] = [
        FluxDev(prompt="a"),
        RawRequest("a/b", {"prompt": "a"}),
        "an-id",
    ]
    assert_type(await client.run_all(mixed), list[Outcome])
    assert_type(await client.estimate([FluxDev()]), Estimate)

    client.batch([5])  # type: ignore[list-item]  # neither a request nor an id


async def account(client: AsyncWaveSpeed, request: Request) -> None:
    """What the account has, and what there is."""
    assert_type(await client.models(max_age=3600), tuple[Model, ...])
    assert_type(await client.balance(), float)
    assert_type(await client.price(request), Price)
    async for prediction in client.predictions(status="completed"):
        assert_type(prediction, Prediction)
    assert_type(await client.delete(["an-id"]), int)


def requests_of_models() -> None:
    """A request's fields are what they are kept as, whatever they were made from."""
    fill = FluxFillDev(image=Path("a.png"), mask_image=URL, loras=iter([Lora("a/b", 1.0)]))
    assert_type(fill.image, ImageValue)
    assert_type(fill.prompt, str | None)
    assert_type(fill.loras, tuple[Lora, ...])
    assert_type(fill.model, str)
    assert_type(FluxDev(size=(512, 768)).size, str)
    assert_type(FluxDevLora(prompt="a", loras=[]).enable_base64_output, bool)
    assert_type(FluxReduxDev(image=URL).seed, int | None)
    assert_type(FluxKontextDevMulti(prompt="a", images=[URL]).images, tuple[ImageValue, ...])
    assert_type(RawRequest("a/b", {"a": 1}).fields, Mapping[str, Any])
    assert_type(attrs.evolve(fill, seed=3), FluxFillDev)

    fill.seed = 3  # type: ignore[misc]  # requests are frozen
    FluxFillDev(image=URL, mask_image=URL, guidance="30")  # type: ignore[call-arg]  # no such field


def answers(prediction: Prediction) -> None:
    """What the API has told."""
    assert_type(prediction.id, str)
    assert_type(prediction.status, Status)
    assert_type(prediction.status.ended, bool)
    assert_type(prediction.outputs, tuple[str, ...])
    assert_type(prediction.has_nsfw_contents, tuple[bool, ...])
    assert_type(prediction.created_at, datetime | None)
    assert_type(prediction.error, str | None)
    assert_type(prediction.error_code, int | None)
    assert_type(prediction.inference_ms, int | None)
    assert_type(prediction.raw, Mapping[str, Any])


def errors(one: Exception) -> None:
    """An error carries what one needs to go on."""
    match one:
        case PredictionFailedError() | PredictionError():
            assert_type(one.prediction, Prediction | None)
        case SubmissionUnconfirmedError():
            assert_type(one.request, Request | None)
        case RateLimitError():
            assert_type(one.retry_after, float | None)
            assert_type(one.status_code, int)
        case _:
            pass


def observed(event: Event) -> None:
    """An observer is any function of an event."""
    if isinstance(event, PredictionSubmitted):
        assert_type(event.prediction, Prediction)


def settings() -> None:
    """A client takes limits or a limiter, and tells which it has."""
    client = AsyncWaveSpeed("a-key", limits=Limits(requests=5), observe=observed, timeout=3)
    assert_type(client.limiter, AnyLimiter)
    assert_type(AsyncWaveSpeed(limiter=Limiter(Limits())), AsyncWaveSpeed)
    assert_type(verify(b"", {"webhook-id": "a"}, "whsec_a"), Prediction)

    AsyncWaveSpeed("a-key", URL)  # type: ignore[call-arg]  # settings have names
    AsyncWaveSpeed(observe=5)  # type: ignore[arg-type]  # a function


async def emulators() -> None:
    """The emulator is a context of either kind, and tells its address."""
    async with Emulator(latency=0.1) as emulator:
        assert_type(emulator, Emulator)
        assert_type(emulator.url, str)
    window: Literal["sliding", "fixed", "bucket"] = "fixed"
    with Emulator(window=window) as other:
        assert_type(other.refused, int)
