"""The commands, and the options that the request classes turn into."""

from __future__ import annotations

import inspect
from datetime import datetime  # noqa: TC003 (cyclopts reads the annotation)
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from anyio import from_thread, to_thread
from attrs import frozen
from cyclopts import App, CycloptsError, Group, Parameter, validators

from wavespeed_async._codec import request_from
from wavespeed_async._contents import looked_at
from wavespeed_async._extras import need
from wavespeed_async._folder import Existing, Folder
from wavespeed_async._version import __version__
from wavespeed_async.batch import is_address, read_report, wanted, write_page
from wavespeed_async.cli._account import Account, Filter, request_of_fields
from wavespeed_async.cli._emulator_flags import FaultFlags, SettingFlags
from wavespeed_async.cli._fields import Field, fields_of, json_value, short_name
from wavespeed_async.cli._files import Item, read_requests
from wavespeed_async.cli._images import image_from, with_paths
from wavespeed_async.cli._models import as_json, as_table
from wavespeed_async.cli._output import WrongUseError, emit, tell
from wavespeed_async.cli._session import Plan, Session, estimated
from wavespeed_async.cli._signals import run_until_signal
from wavespeed_async.cli._status import estimate_lines, status_lines
from wavespeed_async.limits import Limits
from wavespeed_async.models import Request, request_class, request_classes

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["call"]

USUAL = Limits()
HERE = Path()
JOURNAL = "journal.sqlite"
"""The journal of a batch, in the folder of its pictures."""


@Parameter(name="*", group=Group("This run", sort_key=1))
@frozen(kw_only=True)
class Options:
    """Hold what `run` and `batch` share.

    Attributes:
        out: Folder for the pictures and results.jsonl; it is made if need be.
        requests: Requests that the account may make within --per seconds.
        per: Length of that window, in seconds.
        concurrency: Predictions that may run at once.
        min_poll_interval: Least seconds between two looks at one prediction.
        timeout: Seconds for each request, from its submission on.
        base_url: Where the API is; by default WAVESPEED_BASE_URL, or https://api.wavespeed.ai.
        name: Names of the pictures, without their ending: {index}, {model}, {seed}, {id} and
            {number} stand for what is theirs, a slash makes a folder within.
        existing: Whether to keep a file that has the name (the new one gets a number, unless it is
            the same picture by its id), or to replace it.
        metadata: Write into each PNG, JPEG and WebP how it was made.
    """

    out: Path = Path("pictures")
    requests: int = USUAL.requests
    per: float = USUAL.per
    concurrency: int = USUAL.concurrency
    min_poll_interval: float = USUAL.min_poll_interval
    timeout: float = 600.0
    base_url: str | None = None
    name: str = "{id}"
    existing: Existing = "keep"
    metadata: Annotated[bool, Parameter(negative="")] = False

    def plan(self, **more: Any) -> Plan:
        """Answer what a session takes, `more` of it from elsewhere.

        Raises:
            ConfigurationError: A limit cannot be.
            InvalidRequestError: A name cannot be.
        """
        folder = Folder(self.out, name=self.name, existing=self.existing, metadata=self.metadata)
        folder.check_batch(journal=True)
        limits = Limits(
            requests=self.requests,
            per=self.per,
            concurrency=self.concurrency,
            min_poll_interval=self.min_poll_interval,
        )
        return Plan(
            out=self.out,
            limits=limits,
            folder=folder,
            timeout=self.timeout,
            base_url=self.base_url,
            **more,
        )


USUAL_OPTIONS = Options()
USUAL_SETTINGS = SettingFlags()
USUAL_FAULTS = FaultFlags()

app = App(
    name="wavespeed-async",
    help="Make pictures with the WaveSpeedAI API: as many as the account allows, none lost, none "
    "paid for twice. The key is read from WAVESPEED_API_KEY. Exit codes: 0 all pictures made, "
    "1 some failed, 2 wrong use (nothing was sent), 130 interrupted.",
    version=__version__,
    help_format="markdown",
)
app.register_install_completion_command(help="Complete commands and options in this shell.")
run_app = App(
    name="run",
    help="Make the pictures of one request; their paths go to stdout. Ask for the fields of a "
    "model with: wavespeed-async run MODEL --help",
    help_format="plaintext",  # an asterisk in the help of a field is one
)
app.command(run_app)


def call(arguments: Sequence[str]) -> int:
    """Run the command that is asked for, and answer its exit code.

    Raises:
        WrongUseError: The arguments are wrong.
    """
    try:
        command, bound, _ = app.parse_args(
            [*arguments], print_error=False, exit_on_error=False, verbose=False
        )
    except CycloptsError as error:
        raise WrongUseError(" ".join(str(error).split())) from error
    code = command(*bound.args, **bound.kwargs)
    return code if isinstance(code, int) else 0


# --- run -----------------------------------------------------------------------------------------


def _make(request: Request, options: Options) -> int:
    """Make one request's pictures; if this is interrupted, the same command goes on."""
    digest = wanted(request, contents=looked_at(request)).digest
    journal = options.out / f".run-{digest.hex()}.journal"
    plan = options.plan(journal=journal, keep_journal=False)
    return run_until_signal(Session([Item(request)], plan).run)


@run_app.default
def run_any(model: str, /, *, options: Options = USUAL_OPTIONS, **fields: str) -> int:
    """Make the pictures of one request.

    Args:
        model: One of the models above, or the id of any other, such as google/nano-banana.
        options: As everywhere.
        fields: A field of such another model, sent as it is: as JSON where it is, else as text. In
            a field named image, images or like mask_image, what is no URL, data: URI or base64 is
            the path of a file, which is uploaded.
    """
    _check_model(model)
    values = {name.replace("-", "_"): json_value(text) for name, text in fields.items()}
    return _make(request_from({**with_paths(values, None, HERE), "model": model}), options)


def _check_model(model: str) -> None:
    if "/" not in model and request_class(model) is None:
        names = ", ".join(short_name(cls.model) for cls in request_classes())
        message = f"there is no model {model!r}: take {names}, or an id such as google/nano-banana"
        raise WrongUseError(message)


def _add_model(known: type[Request]) -> None:
    """Add the command of a model, with an option for each of its fields."""
    fields = fields_of(known)

    def run_one(*, options: Options = USUAL_OPTIONS, **given: Any) -> int:
        values = {name: _values(fields[name], given[name]) for name in given}
        return _make(request_from({**values, "model": known.model}), options)

    parameters = [
        *(_option(field) for field in fields.values()),
        inspect.Parameter("options", _KEYWORD, default=USUAL_OPTIONS, annotation=Options),
    ]
    run_one.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by cyclopts
    run_one.__annotations__ = {p.name: p.annotation for p in parameters}
    run_one.__doc__ = known.__doc__
    run_app.command(run_one, name=short_name(known.model))
    run_app.command(run_one, name=known.model, show=False)


_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _option(field: Field) -> inspect.Parameter:
    # Numbers stay text here: the request class has its own words for what is none.
    kind = list[str] if field.is_list else bool if field.is_flag else str
    about = [f"{field.about}: {field.takes}"]
    if field.is_list:
        form = "" if field.is_image else ", as path:scale"
        about.append(f"{form}; give it once for each")
    if field.default not in (None, "", ()):
        shown = str(field.default).lower() if field.is_flag else field.default
        about.append(f" [default: {shown}]")
    parameter = Parameter(
        help="".join(about),
        show_default=False,
        negative="" if field.is_list else None,
        metavar={int: "INT", float: "FLOAT"}.get(field.kind),
    )
    default = inspect.Parameter.empty if field.required else None
    annotation = Annotated[kind if field.required else kind | None, parameter]  # type: ignore[valid-type]  # made here
    return inspect.Parameter(field.name, _KEYWORD, default=default, annotation=annotation)


def _values(field: Field, given: Any) -> object:
    if field.is_image:
        return image_from(given, HERE)
    if isinstance(given, list):
        return [field.value(text) for text in given]
    return field.value(given) if isinstance(given, str) else given


for _class in request_classes():
    _add_model(_class)


# --- batch ---------------------------------------------------------------------------------------


@app.command
def batch(
    file: Path,
    /,
    *,
    model: str | None = None,
    resubmit_unconfirmed: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    max_cost: float | None = None,
    journal: str | None = None,
    options: Options = USUAL_OPTIONS,
) -> int:
    """Make the pictures of all requests in a file; their paths go to stdout as they are made.

    JSONL has one request a line: {"model": "flux-dev", "prompt": "a lighthouse"}. CSV has a header
    that names the fields, `model` among them; an empty cell leaves a field out, true and false
    are flags, LoRAs are written path:scale;path:scale, and several images stand between |, or else
    spaces. An image is an address or a file, whose path is relative to the file of requests. All of
    it is checked first: one bad line, and nothing is sent. What becomes of each request is added to
    results.jsonl in the folder.

    The same command again goes on where it stopped, however that was: nothing is paid for twice,
    and what was paid for is fetched. What it needs for that is in journal.sqlite in the folder.
    Beside it is a page to look at while it runs, and afterwards: index.html.

    Args:
        file: The requests, in a file that ends in .jsonl or .csv (UTF-8).
        model: The model of lines that name none.
        resubmit_unconfirmed: Submit again what may have been submitted, but is not in the API's
            list of predictions. If it exists after all, it is billed twice.
        dry_run: Say what it would cost and how long it would take at best; submit nothing.
        max_cost: Submit nothing more before it would cost more than this in all, earlier runs in
            this folder included. What is submitted still ends.
        journal: Keep the journal in PostgreSQL instead, so that another host can go on:
            postgresql://host/database?journal=NAME. Leave the password to PGPASSWORD or ~/.pgpass.
        options: As everywhere.
    """
    plan = options.plan(
        journal=_journal(options.out, journal),
        resubmit=resubmit_unconfirmed,
        page=True,
        max_cost=max_cost,
    )

    async def work() -> int:
        items = await to_thread.run_sync(
            partial(read_requests, file, model, check=from_thread.check_cancelled)
        )
        if not dry_run:
            return await Session(items, plan).run()
        for line in estimate_lines(await estimated(items, plan)):
            emit(line)
        return 0

    return run_until_signal(work)


@app.command
def status(
    folder: Path,
    /,
    *,
    page: Annotated[bool, Parameter(negative="")] = False,
    journal: str | None = None,
) -> None:
    """Say how the batch in a folder stands, from any process, while it runs and afterwards.

    Args:
        folder: The folder of the pictures.
        page: Write the page as well.
        journal: The address of the journal, where that is in PostgreSQL.
    """
    place = _journal(folder, journal)
    for line in status_lines(read_report(place, folder)):
        emit(line)
    if page:
        emit(str(write_page(place, folder)))


@app.command
def page(folder: Path, /, *, journal: str | None = None) -> None:
    """Write the page of the batch in a folder; its path goes to stdout.

    Args:
        folder: The folder of the pictures.
        journal: The address of the journal, where that is in PostgreSQL.
    """
    emit(str(write_page(_journal(folder, journal), folder)))


def _journal(folder: Path, address: str | None) -> Path | str:
    """Answer where the journal of the pictures in a folder is.

    Raises:
        WrongUseError: What is given is no address in PostgreSQL.
    """
    if address is not None and not is_address(address):
        message = "--journal takes an address: postgresql://host/database?journal=NAME"
        raise WrongUseError(message)
    return folder / JOURNAL if address is None else address


# --- the rest ------------------------------------------------------------------------------------


@app.command
def demo(*, out: Path = Path("demo")) -> int:
    """Show all of it without a key, in less than a minute: pictures from an emulator of the API.

    It makes pictures with all five models and a batch, and leaves them beside results.jsonl and a
    page to look at, index.html, whose path goes to stdout.

    Args:
        out: Folder for all that.
    """
    with need("cli", of="the demo"):
        from wavespeed_async.cli._demo import show_all  # noqa: PLC0415 (needs more extras)

    return run_until_signal(partial(show_all, out))


@app.command
def emulator(*, settings: SettingFlags = USUAL_SETTINGS, faults: FaultFlags = USUAL_FAULTS) -> int:
    """Stand in for the API on this machine until Ctrl-C: no key, no cost, and real pictures.

    The first line on stdout says where: listening on http://127.0.0.1:PORT

    Args:
        settings: How it behaves.
        faults: What goes wrong.
    """
    from wavespeed_async.cli._emulator import serve  # noqa: PLC0415 (needs another extra)

    return run_until_signal(partial(serve, settings.settings(), faults.faults, faults.changed()))


# --- the API's models, and the account -----------------------------------------------------------


@app.command
def models(
    *,
    search: str | None = None,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    json: bool = False,
    base_url: str | None = None,
) -> int:
    """List models: those of this package with their fields, what these take, and their defaults.

    That needs neither a key nor a network. --search and --all ask the API for its catalogue, about
    950 models, with what each costs at least.

    Args:
        search: List those of the API that have all of these words in id, type or description.
        every: List all of the API's models.
        json: As JSON; of the API's models with the schema of what they take.
        base_url: Where the API is; by default WAVESPEED_BASE_URL, or https://api.wavespeed.ai.
    """
    if search is not None or every:
        account = Account(base_url=base_url)
        return run_until_signal(partial(account.models, search or "", as_json=json))
    emit(as_json() if json else as_table())
    tell("these are the models of this package; --search WORDS asks the API for others")
    return 0


@app.command
def codegen(
    *model: str,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    out: Path | None = None,
    base_url: str | None = None,
) -> int:
    """Write typed request classes for models of the API, from its catalogue, as Python source.

    Args:
        model: Ids such as google/nano-banana.
        every: Write a class for every model.
        out: A file to write to; by default stdout.
        base_url: Where the API is; by default WAVESPEED_BASE_URL, or https://api.wavespeed.ai.
    """
    if every == bool(model):
        message = "codegen takes either the ids of models, or --all"
        raise WrongUseError(message)
    return run_until_signal(partial(Account(base_url=base_url).codegen, model, out))


@app.command
def balance(*, base_url: str | None = None) -> int:
    """Say what the account has left.

    Args:
        base_url: Where the API is; by default WAVESPEED_BASE_URL, or https://api.wavespeed.ai.
    """
    return run_until_signal(Account(base_url=base_url).balance)


@app.command
def price(model: str, /, *, base_url: str | None = None, **fields: str) -> int:
    """Say what a request would cost; nothing is submitted.

    Args:
        model: A model as in `run`.
        base_url: Where the API is; by default WAVESPEED_BASE_URL, or https://api.wavespeed.ai.
        fields: The model's fields as in `run`; lists are written as in a CSV file.
    """
    _check_model(model)
    request = request_of_fields(model, fields)
    return run_until_signal(partial(Account(base_url=base_url).price, request))


@app.command
def predictions(
    *,
    model: str | None = None,
    status: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    limit: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 20,
    json: bool = False,
    base_url: str | None = None,
) -> int:
    """List the account's predictions of the last 7 days, the newest first, one a line.

    A line has id, status, time of creation, model and outputs, with tabs between them.

    Args:
        model: Those of one model, by its id.
        status: Those that stand so: created, processing, completed, failed, cancelled, timeout.
        created_after: Those since then, such as 2025-09-29T23:00:00.
        created_before: Those until then.
        limit: So many at most.
        json: As the API has them, with what was asked, one JSON object a line.
        base_url: Where the API is; by default WAVESPEED_BASE_URL, or https://api.wavespeed.ai.
    """
    filtered = Filter(model, status, created_after, created_before, limit)
    account = Account(base_url=base_url)
    return run_until_signal(partial(account.predictions, filtered, as_json=json))
