"""What a journal keeps of a request, and by what it knows it again. Pure.

A request is known again by the digest of its content and its number among equal ones. The content
is the model and the fields as they are sent, but for a seed that was left open: so the seed that
was drawn for it in an earlier run is found again with it. An image of this machine stands there by
its digest, wherever it lies and wherever it is uploaded to. What is long and no prose, a picture as
base64 say, is kept by its length and digest: the input file brings it again.
"""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING, Any

from attrs import frozen

from wavespeed_async._codec import decode_prediction, encode_request
from wavespeed_async._prediction import Prediction, Status
from wavespeed_async.models._request import OPEN_SEED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wavespeed_async._contents import Content
    from wavespeed_async.models._images import LocalImage
    from wavespeed_async.models._request import Request

__all__ = [
    "Known",
    "Wanted",
    "as_answer",
    "as_integer",
    "as_text",
    "from_answer",
    "in_short",
    "is_kept",
    "wanted",
    "with_seed",
]

LONGEST = 200
"""Characters of the longest text without a space that is kept as it is, addresses aside."""
DIGEST = 16
"""Bytes of a digest."""


@frozen(eq=False)
class Wanted:
    """Say what is asked for, as a journal keeps it.

    Attributes:
        digest: Of its content.
        model: The model's id.
        fields: What is sent, as JSON, with what is long in short.
        seed: The seed that is sent, drawn or asked for; None where there is none.
        prediction: The id, where what is asked for is a prediction that exists.
    """

    digest: bytes
    model: str = ""
    fields: str = "{}"
    seed: int | None = None
    prediction: str | None = None


@frozen(eq=False)
class Known:
    """Hold what a journal knows of a request when it is asked for.

    Attributes:
        entry: Its number in the journal.
        seed: The seed that was drawn when it was first asked for.
        intended: When its submission may have left; None where it provably has not.
        submitted: When its submission was answered.
        prediction: The id of its prediction.
        answer: The prediction as it ended, as `as_answer` writes it.
        paths: The files that hold its outputs, relative to the journal's folder where inside.
        payer: The account that it was submitted to, as `Run.identity` names it.
    """

    entry: int
    seed: int | None = None
    intended: float | None = None
    submitted: float | None = None
    prediction: str | None = None
    answer: str | None = None
    paths: tuple[str, ...] | None = None
    payer: str | None = None


def wanted(
    item: Request | Prediction | str,
    seeded: Request | None = None,
    contents: Mapping[LocalImage, Content] | None = None,
) -> Wanted:
    """Say what a journal is to keep of an item.

    Args:
        item: What is asked for.
        seeded: The request with its seed drawn.
        contents: What its images of this machine are: it is known again by these.
    """
    if isinstance(item, str | Prediction):
        prediction_id = item if isinstance(item, str) else item.id
        model = "" if isinstance(item, str) else item.model
        digest = _digest(["prediction", prediction_id])
        return Wanted(digest, as_text(model), prediction=prediction_id)
    known = contents or {}

    def name(image: LocalImage) -> str:
        return f"<{known[image].name}>"

    asked = encode_request(item, name)
    sent = encode_request(seeded, name) if seeded is not None and seeded is not item else asked
    content = asked
    if asked.get("seed") in {None, OPEN_SEED}:
        content = {name: value for name, value in asked.items() if name != "seed"}
    seed = sent.get("seed")
    return Wanted(
        digest=_digest([item.version, item.model, content]),
        model=item.model,
        fields=_json({name: in_short(value) for name, value in sent.items()}),
        seed=as_integer(seed),
    )


def with_seed(request: Request, seed: int | None) -> Request:
    """Answer a request with an open seed as it was sent before, by the seed drawn for it then."""
    return request if seed is None else request.with_seed(_Drawn(seed))


class _Drawn(random.Random):
    """Be a die that shows what was drawn before."""

    def __init__(self, seed: int) -> None:
        super().__init__(0)
        self._seed = seed

    def randint(self, a: int, b: int) -> int:  # noqa: ARG002 (the range of the draw before)
        return self._seed


def in_short(value: Any) -> Any:
    """Name a picture by its length and digest; leave everything else as it is."""
    if isinstance(value, list):
        return [in_short(item) for item in value]
    if not isinstance(value, str) or is_kept(value):
        return value
    digest = hashlib.sha256(value.encode(errors="backslashreplace")).hexdigest()
    return f"<{len(value)} characters, sha256 {digest}>"


def is_kept(text: str) -> bool:
    """Tell whether a text is kept as it is: prose, an address, or anything short."""
    if len(text) <= LONGEST or text.startswith(("http://", "https://")):
        return True
    return any(character.isspace() for character in text[:LONGEST])


def as_answer(prediction: Prediction) -> str:
    """Write a prediction as the API would tell it, with outputs that are no addresses in short."""
    created = prediction.created_at
    return _json(
        {
            "id": prediction.id,
            "model": prediction.model,
            "status": str(prediction.status),
            "outputs": [in_short(output) for output in prediction.outputs],
            "has_nsfw_contents": [*prediction.has_nsfw_contents],
            "created_at": created.isoformat() if created else None,
            "error": prediction.error or "",
            "code": prediction.error_code,
            "timings": {"inference": prediction.inference_ms},
        }
    )


def from_answer(answer: str, request: Request | None) -> tuple[Prediction, bool]:
    """Read a prediction that was kept; tell too whether all its outputs are whole."""
    prediction = decode_prediction(json.loads(answer), request=request)
    shortened = prediction.status is Status.COMPLETED and any(
        output.startswith("<") for output in prediction.outputs
    )
    return prediction, not shortened


def _digest(content: Any) -> bytes:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=DIGEST).digest()


def _json(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    # Half a surrogate pair, which a server's JSON may hold, is no UTF-8: as JSON's escape it is.
    return text if _is_utf8(text) else json.dumps(content, separators=(",", ":"))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_text(text: str) -> str:
    """Answer a text as any storage takes it: in UTF-8, without a null character."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")


def as_integer(value: object) -> int | None:
    """Answer a number as any storage takes it: whole, in 64 bits; None for all else."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return value if is_integer and -(2**63) <= value < 2**63 else None  # type: ignore[operator, return-value]  # it is one
