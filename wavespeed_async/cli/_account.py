"""What is asked of the API without making a picture: models, prices, the balance, predictions."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from attrs import frozen
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wavespeed_async._client import AsyncWaveSpeed
from wavespeed_async._codec import request_from
from wavespeed_async._codegen import is_told, source_of
from wavespeed_async.batch import write_whole
from wavespeed_async.cli._fields import fields_of, json_value
from wavespeed_async.cli._images import with_paths
from wavespeed_async.cli._output import WrongUseError, emit, tell
from wavespeed_async.errors import ConfigurationError, InvalidRequestError, WaveSpeedError
from wavespeed_async.models import request_class

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from wavespeed_async._catalogue import Model
    from wavespeed_async._prediction import Prediction
    from wavespeed_async.models import Request

__all__ = ["Account", "Filter", "request_of_fields"]

WIDTH = 160
"""Columns of a table that is not read on a terminal."""


@frozen
class Filter:
    """Say which predictions are wanted."""

    model: str | None
    status: str | None
    created_after: datetime | None
    created_before: datetime | None
    limit: int


@frozen
class Account:
    """Ask the API about the account whose key is in the environment.

    Attributes:
        base_url: Where the API is; None for the usual place.
        timeout: Seconds for each call.
    """

    base_url: str | None = None
    timeout: float = 60.0

    async def balance(self) -> int:
        """Write what is left."""

        async def ask(client: AsyncWaveSpeed) -> None:
            emit(f"{await client.balance():.4f} USD")

        return await self._told(ask)

    async def price(self, request: Request) -> int:
        """Write what a request would cost."""

        async def ask(client: AsyncWaveSpeed) -> None:
            price = await client.price(request)
            full = price.list_price
            note = f" (without discount {full:.4f})" if full != price.amount else ""
            emit(f"{price.amount:.4f} {price.currency}{note}")

        return await self._told(ask)

    async def predictions(self, wanted: Filter, *, as_json: bool) -> int:
        """Write predictions as they are listed, the newest first."""

        async def ask(client: AsyncWaveSpeed) -> None:
            listed = client.predictions(
                model=wanted.model,
                status=wanted.status,
                created_after=_zoned(wanted.created_after),
                created_before=_zoned(wanted.created_before),
                include_inputs=as_json,
                page_size=max(1, min(wanted.limit, 100)),
            )
            left = wanted.limit
            while left > 0 and (found := await anext(listed, None)) is not None:
                emit(json.dumps(found.raw) if as_json else _line(found))
                left -= 1

        return await self._told(ask)

    async def models(self, words: str, *, as_json: bool) -> int:
        """Write the API's models that have some words."""

        async def ask(client: AsyncWaveSpeed) -> None:
            found = [model for model in await client.models() if model.matches(words)]
            emit(_listed(found) if as_json else _table(found))
            tell(f"{len(found)} models")

        return await self._told(ask)

    async def codegen(self, wanted: Sequence[str], out: Path | None) -> int:
        """Write request classes for models, all of them where none is named."""

        async def ask(client: AsyncWaveSpeed) -> None:
            every = await client.models()
            source = source_of(_chosen(every, wanted))
            if out is None:
                emit(source.removesuffix("\n"))
            else:
                await to_thread.run_sync(write_whole, out, source)
                emit(str(out))

        return await self._told(ask)

    async def _told(self, ask: Callable[[AsyncWaveSpeed], Awaitable[None]]) -> int:
        """Ask, and answer the exit code; what the API refuses is told in a line.

        Raises:
            ConfigurationError: There is no key, or a setting cannot work.
            InvalidRequestError: What is asked cannot be.
        """
        async with AsyncWaveSpeed(base_url=self.base_url, timeout=self.timeout) as client:
            try:
                await ask(client)
            except (ConfigurationError, InvalidRequestError):
                raise
            except WaveSpeedError as error:
                tell(f"{type(error).__name__}: {error}")
                return 1
        return 0


def _zoned(time: datetime | None) -> datetime | None:
    """Take a time without a zone for one of this machine's."""
    return time.astimezone() if time is not None else None


def _line(prediction: Prediction) -> str:
    created = prediction.created_at
    when = created.strftime("%Y-%m-%dT%H:%M:%SZ") if created is not None else "-"
    parts = [prediction.id, str(prediction.status), when, prediction.model]
    shown = [output for output in prediction.outputs if output.startswith("http")]
    return "\t".join([*parts, *shown])


# --- models --------------------------------------------------------------------------------------


def _chosen(every: Iterable[Model], wanted: Sequence[str]) -> list[Model]:
    """Find models by their ids, with or without the leading `wavespeed-ai/`."""
    known = {model.id: model for model in every}
    if not wanted:
        told = [model for model in known.values() if is_told(model)]
        if len(told) < len(known):
            tell(f"left out {len(known) - len(told)}: the catalogue does not say what they take")
        return told
    found = [known.get(name) or known.get(f"wavespeed-ai/{name}") for name in wanted]
    for name, model in zip(wanted, found, strict=True):
        if model is None:
            raise WrongUseError(_unknown(name, known))
    return [model for model in found if model is not None]


def _unknown(name: str, known: Mapping[str, Model]) -> str:
    import difflib  # noqa: PLC0415 (wanted for an error alone)

    near = difflib.get_close_matches(name, known, 3, 0.4)
    meant = f"; did you mean {', '.join(near)}?" if near else ""
    return f"the catalogue has no model {name!r}{meant}"


def _table(models: Iterable[Model]) -> str:
    """Write a row for each model, as wide as the terminal."""
    is_terminal = sys.stdout.isatty()
    page = io.StringIO()
    width = None if is_terminal else WIDTH
    console = Console(file=page, width=width, force_terminal=is_terminal, highlight=False)
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim")
    table.add_column("model", no_wrap=True)
    for name in ("type", "from USD", "what it is"):
        table.add_column(name, overflow="fold")
    for model in sorted(models, key=lambda model: model.id):
        price = "" if model.base_price is None else f"{model.base_price:g}"
        about = " ".join(model.description.split())
        table.add_row(*map(Text, (model.id, model.type, price, about[:ABOUT])))
    console.print(table)
    return page.getvalue().rstrip("\n")


ABOUT = 120
"""Characters of a description in a table."""


def _listed(models: Iterable[Model]) -> str:
    return json.dumps([*map(_record, models)], indent=2, default=dict)


def _record(model: Model) -> dict[str, Any]:
    return {
        "model": model.id,
        "name": model.name,
        "type": model.type,
        "base_price": model.base_price,
        "about": model.description,
        "path": model.api_path,
        "takes": model.request_schema,
    }


# --- a request out of options --------------------------------------------------------------------


def request_of_fields(model: str, given: Mapping[str, str]) -> Request:
    """Build a request from options as texts; lists are written as in a CSV file.

    Raises:
        InvalidRequestError: A field is not the model's, or out of range.
    """
    texts = {name.replace("-", "_"): text for name, text in given.items()}
    known = request_class(model)
    fields = {} if known is None else fields_of(known)
    values = {
        name: fields[name].values(text) if name in fields else json_value(text)
        for name, text in texts.items()
    }
    names = {one.name for one in fields.values() if one.is_image} if known else None
    return request_from({**with_paths(values, names, Path()), "model": model})
