"""Every exception of the package, as one tree, split by what the caller would do next.

::

    WaveSpeedError
      ConfigurationError               mend the program or its environment
      InvalidRequestError              (ValueError) mend the request: nothing was sent
      LimiterTimeoutError              (TimeoutError) its turn did not come: nothing was sent
      APIConnectionError               no answer arrived
        SubmissionUnconfirmedError     it may exist and be billed: never sent again blindly
      APIResponseError                 the answer is not in the API's own format
      APIStatusError                   the API refused
        BadRequestError
        InsufficientCreditsError
        AuthenticationError
        PermissionDeniedError
        NotFoundError
        RateLimitError
        InternalServerError
      PredictionError                  the prediction itself
        PredictionFailedError          ended without pictures
          ModerationError              refused by content moderation
        PredictionTimeoutError         (TimeoutError) it still runs: its id resumes it
      WebhookVerificationError         this call is not from the API
      DeliveryError                    a webhook could not be handed on to the other workers
      JournalError                     a batch's journal cannot be written: nothing more is sent
      CostLimitError                   a batch would cost more than it may: nothing more is sent

Every exception pickles, and carries the prediction's id wherever one is known.
"""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wavespeed_async._prediction import Prediction
    from wavespeed_async.models._request import Request

__all__ = [
    "APIConnectionError",
    "APIResponseError",
    "APIStatusError",
    "AuthenticationError",
    "BadRequestError",
    "ConfigurationError",
    "CostLimitError",
    "DeliveryError",
    "InsufficientCreditsError",
    "InternalServerError",
    "InvalidRequestError",
    "JournalError",
    "LimiterTimeoutError",
    "ModerationError",
    "NotFoundError",
    "PermissionDeniedError",
    "PredictionError",
    "PredictionFailedError",
    "PredictionTimeoutError",
    "RateLimitError",
    "SubmissionUnconfirmedError",
    "WaveSpeedError",
    "WebhookVerificationError",
]

# Every argument but the message is a keyword with a default: that is what lets
# BaseException.__reduce__ (class, args, __dict__) pickle and copy each of these unaided.


class WaveSpeedError(Exception):
    """Be the base of every exception of this package.

    Attributes:
        prediction_id: The prediction that this is about, where its id is known.
    """

    def __init__(self, message: str, *, prediction_id: str | None = None) -> None:
        super().__init__(message)
        self.prediction_id = prediction_id


class ConfigurationError(WaveSpeedError):
    """Say that the client cannot work as it was set up."""


class InvalidRequestError(WaveSpeedError, ValueError):
    """Say which field is wrong and what is allowed; nothing was sent.

    Attributes:
        field: Name of the field.
        value: What it was given.
        allowed: What it takes, in words.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        value: object = None,
        allowed: str | None = None,
    ) -> None:
        super().__init__(message)
        self.field = field
        self.value = value
        self.allowed = allowed

    @classmethod
    def of(cls, owner: str, field: str, value: object, allowed: str) -> InvalidRequestError:
        """Word the refusal of one field of `owner`, a model or a type."""
        message = f"{owner}: {field} must be {allowed}, not {shown(value)}"
        return cls(message, field=field, value=value, allowed=allowed)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a value that cannot be pickled, whatever the caller passed, as it is shown."""
        import pickle  # noqa: PLC0415 (whoever pickles has it; the others need not load it)

        value = self.value
        try:
            pickle.dumps(value)
        except Exception:  # noqa: BLE001 (pickling runs the code of whatever was passed)
            value = shown(value)
        return type(self), self.args, {**self.__dict__, "value": value}


class LimiterTimeoutError(WaveSpeedError, TimeoutError):
    """Say that the limits left no room in time; nothing was sent."""


class APIConnectionError(WaveSpeedError):
    """Say that no answer arrived: the network, the server's address or a time limit.

    Attributes:
        sent: Whether the request may have left; False where it provably did not.
    """

    def __init__(
        self, message: str, *, sent: bool = True, prediction_id: str | None = None
    ) -> None:
        super().__init__(message, prediction_id=prediction_id)
        self.sent = sent


class SubmissionUnconfirmedError(APIConnectionError):
    """Say that a submission may have arrived, and so may exist and be billed.

    It is never sent again blindly: look for it first, then decide.

    Attributes:
        request: What was submitted.
        absent: Whether it was looked for in the API's list, and is not there.
    """

    def __init__(
        self, message: str, *, request: Request | None = None, absent: bool = False
    ) -> None:
        super().__init__(message)
        self.request = request
        self.absent = absent


class APIResponseError(WaveSpeedError):
    """Say that an answer is not in the API's own format.

    Attributes:
        status_code: The HTTP status.
        body: The start of what came instead.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        body: str = "",
        prediction_id: str | None = None,
    ) -> None:
        super().__init__(message, prediction_id=prediction_id)
        self.status_code = status_code
        self.body = body


class APIStatusError(WaveSpeedError):
    """Say that the API refused, with its own code and message.

    Attributes:
        status_code: The HTTP status.
        code: The API's own code, where the answer has one; else the HTTP status.
        message: The envelope's message, shortened.
    """

    def __init__(
        self,
        text: str,
        *,
        status_code: int = 0,
        code: int | None = None,
        message: str = "",
        prediction_id: str | None = None,
    ) -> None:
        super().__init__(text, prediction_id=prediction_id)
        self.status_code = status_code
        self.code = code
        self.message = message


class BadRequestError(APIStatusError):
    """Say that the API found the request wrong (400 and other 4xx)."""


class InsufficientCreditsError(APIStatusError):
    """Say that the account has no credits left (400 with that message, or 402)."""


class AuthenticationError(APIStatusError):
    """Say that the API does not know this key (401)."""


class PermissionDeniedError(APIStatusError):
    """Say that the account is suspended or the key's role does not allow this (403)."""


class NotFoundError(APIStatusError):
    """Say that there is no such prediction (404); the API keeps them for 7 days."""


class RateLimitError(APIStatusError):
    """Say that the account is over its limits (429).

    Attributes:
        retry_after: Seconds that the API asked to wait, where it did.
    """

    def __init__(
        self,
        text: str,
        *,
        status_code: int = 429,
        code: int | None = None,
        message: str = "",
        prediction_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            text,
            status_code=status_code,
            code=code,
            message=message,
            prediction_id=prediction_id,
        )
        self.retry_after = retry_after


class InternalServerError(APIStatusError):
    """Say that the API or a gateway before it failed (5xx)."""


class PredictionError(WaveSpeedError):
    """Say something of one prediction.

    Attributes:
        prediction: As it was seen last.
    """

    def __init__(self, message: str, *, prediction: Prediction | None = None) -> None:
        super().__init__(message, prediction_id=prediction.id if prediction else None)
        self.prediction = prediction


class PredictionFailedError(PredictionError):
    """Say that a prediction ended as failed, cancelled, deleted or in the API's own timeout."""


class ModerationError(PredictionFailedError):
    """Say that content moderation refused a prediction (code 1200)."""


class PredictionTimeoutError(PredictionError, TimeoutError):
    """Say that a prediction still ran at the deadline; waiting for its id resumes it."""


class WebhookVerificationError(WaveSpeedError):
    """Say that a call that claims to be a webhook is not shown to be from the API."""


class DeliveryError(WaveSpeedError):
    """Say that what a webhook told could not be handed on to the other workers: a poll finds it.

    Answer the webhook with a 5xx, and the API calls again.
    """


class CostLimitError(WaveSpeedError):
    """Say that a batch submits nothing more, as it would cost more than `max_cost`.

    Attributes:
        spent: What the requests cost that were handed on before.
    """

    def __init__(self, message: str, *, spent: float = 0.0) -> None:
        super().__init__(message)
        self.spent = spent


class JournalError(WaveSpeedError):
    """Say that the journal of a batch cannot be written any more: it stops submitting.

    Attributes:
        unwritten: The ids of predictions that exist and are not in the journal: keep them.
    """

    def __init__(self, message: str, *, unwritten: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.unwritten = unwritten


def shown(value: object) -> str:
    """Show a value in a message, bounded whatever it is: a base64 picture by its ends."""
    text = _SHORT.repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


SHOWN, HEAD = 240, 20


class _Short(reprlib.Repr):
    """Shorten texts, bytes, and numbers so long that Python refuses to write them out."""

    def repr_bytes(self, x: bytes, level: int) -> str:  # noqa: ARG002 (reprlib's own signature)
        return repr(x) if len(x) <= HEAD else f"{x[:HEAD]!r}… ({len(x)} bytes)"

    def repr_int(self, x: int, level: int) -> str:
        if x.bit_length() > LONG_NUMBER:
            return f"<a whole number of {x.bit_length()} bits>"
        return super().repr_int(x, level)


LONG_NUMBER = 1024
"""Bits of the longest whole number that is taken or shown: what a float can hold."""

_SHORT = _Short()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlevel = 3
