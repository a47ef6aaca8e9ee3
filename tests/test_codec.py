"""The codec: every shape an answer was seen in, and any other, is a value or a typed error."""

from __future__ import annotations

import json
import pickle
from base64 import b64encode
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.samples import PAGES, RAW, REQUESTS, any_json, name_of, searched
from wavespeed_async._codec import (
    decode_data,
    decode_id,
    decode_prediction,
    encode_json,
    encode_request,
    failure,
    request_from,
    status_error,
)
from wavespeed_async._prediction import Prediction, Status
from wavespeed_async.errors import (
    APIResponseError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    InsufficientCreditsError,
    InternalServerError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    PredictionFailedError,
    RateLimitError,
)

if TYPE_CHECKING:
    from wavespeed_async.models import Request

ID = "6488c2754f6f4dfea924382fa14d11bd"
URL = "https://example.com/1.png"
CREATED: dict[str, Any] = {
    "id": ID,
    "model": "wavespeed-ai/flux-dev",
    "outputs": [],
    "urls": {"get": f"https://api.wavespeed.ai/api/v3/predictions/{ID}/result"},
    "has_nsfw_contents": [],
    "status": "created",
    "created_at": "2025-09-29T23:09:43.027Z",
    "error": "",
    "executionTime": 0,
    "timings": {"inference": 0},
}
COMPLETED = {
    **CREATED,
    "outputs": [URL],
    "has_nsfw_contents": [False],
    "status": "completed",
    "created_at": "2025-09-29T23:09:43.027123456Z",
    "executionTime": 1300,
    "timings": {"inference": 1234},
}
ABSENT = object()


def _envelope(data: object, **more: object) -> bytes:
    return json.dumps({"code": 200, "message": "success", "data": data, **more}).encode()


def _with(**changes: object) -> dict[str, Any]:
    """Change parts of a finished prediction; ABSENT takes one out."""
    changed = {**COMPLETED, **changes}
    return {name: value for name, value in changed.items() if value is not ABSENT}


def decode_answer(status: int, body: bytes, *, request: Request | None = None) -> Prediction:
    """Take the prediction out of an answer."""
    return decode_prediction(decode_data(status, body), request=request)


def _read(**changes: object) -> Prediction:
    return decode_answer(200, _envelope(_with(**changes)))


# --- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", REQUESTS, ids=name_of)
def test_what_is_sent_reads_back_as_the_same_request(request_: Request) -> None:
    """A body, with its model beside it, is the request again; no value in it is null."""
    sent = encode_request(request_)
    assert None not in sent.values()
    assert request_from({"model": request_.model, **json.loads(encode_json(sent))}) == request_


def test_fields_that_are_none_are_left_out() -> None:
    """A field without a default is not sent where it is not given; every other field is."""
    page = next(page for page in PAGES if page.name == "flux-redux-dev")
    names = {field.name for field in attrs.fields(page.request)}  # type: ignore[arg-type]  # request classes are attrs classes
    assert {*encode_request(page.build(seed=None))} == names - {"seed"}
    assert {*encode_request(page.build(seed=0))} == names


def test_json_is_compact_utf8() -> None:
    """Bodies are UTF-8 without spaces, and text is not escaped."""
    assert encode_json({"a": ["ü", 1.5, True, None]}) == '{"a":["ü",1.5,true,null]}'.encode()


def test_numbers_that_json_lacks_are_not_written() -> None:
    """NaN never reaches the wire."""
    with pytest.raises(ValueError, match="JSON"):
        encode_json({"a": float("nan")})


# --- predictions ----------------------------------------------------------------------------------


def test_the_documented_answer_to_a_submission() -> None:
    """The answer as documented, right after a submission, decodes in every part."""
    prediction = decode_answer(200, _envelope(CREATED), request=RAW)
    assert prediction == Prediction(
        id=ID,
        model="wavespeed-ai/flux-dev",
        status=Status.CREATED,
        created_at=datetime(2025, 9, 29, 23, 9, 43, 27000, tzinfo=UTC),
        inference_ms=0,
    )
    assert prediction.raw == CREATED
    assert prediction.request is RAW


def test_the_documented_answer_to_a_poll() -> None:
    """A finished prediction as captured, with nanoseconds, decodes in every part."""
    assert decode_answer(200, _envelope(COMPLETED)) == Prediction(
        id=ID,
        model="wavespeed-ai/flux-dev",
        status=Status.COMPLETED,
        outputs=(URL,),
        has_nsfw_contents=(False,),
        created_at=datetime(2025, 9, 29, 23, 9, 43, 27123, tzinfo=UTC),
        inference_ms=1234,
    )


def test_a_held_submission_that_goes_on_decodes() -> None:
    """Sync mode's own time limit is an answer: the prediction still runs and has its id."""
    words = "Sync mode timed out after 90 seconds."
    prediction = _read(status="processing", outputs=[], code=5004, error=words)
    assert (prediction.status, prediction.error_code) == (Status.PROCESSING, 5004)
    assert prediction.error == words
    assert failure(prediction) is None


@pytest.mark.parametrize("status", [*Status, "succeeded", "Completed", "", " ", "\x00"])
def test_every_status_is_known_or_unknown(status: str) -> None:
    """A status that nobody knows is UNKNOWN, which neither crashes nor counts as an end."""
    known = {str(word) for word in Status} - {"unknown"}
    read = _read(status=str(status)).status
    assert read is (Status(status) if status in known else Status.UNKNOWN)


@pytest.mark.parametrize(
    ("timings", "execution", "expected"),
    [
        ({"inference": 1234}, 1300, 1234),
        ({"inference": 1234}, ABSENT, 1234),
        (ABSENT, 1300, 1300),
        (ABSENT, ABSENT, None),
        (None, None, None),
        ({}, 1300, 1300),
        ({"inference": None}, 1300, 1300),
        ({"inference": "1234"}, 1300, 1300),
        ({"inference": True}, ABSENT, None),
        ({"inference": -5}, 1300, 1300),
        ({"inference": 1233.7}, ABSENT, 1234),
        ({"inference": float("nan")}, 1300, 1300),
        ({"inference": float("inf")}, float("-inf"), None),
        ({"inference": 10**400}, 10**30, None),
        ([], "fast", None),
        (5, {"ms": 5}, None),
    ],
)
def test_either_timing_is_read(timings: object, execution: object, expected: int | None) -> None:
    """The model's time comes from either field, the newer one first, or is None."""
    assert _read(timings=timings, executionTime=execution).inference_ms == expected


@pytest.mark.parametrize("flags", [None, ABSENT, [], "no", 5, {}, [None], [0], [False, None]])
def test_flags_that_are_missing_are_empty(flags: object) -> None:
    """Flags that are null, absent or not all bools are none; the picture is not lost for it."""
    prediction = _read(has_nsfw_contents=flags)
    assert (prediction.has_nsfw_contents, prediction.outputs) == ((), (URL,))


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2025-09-29T23:09:43Z", datetime(2025, 9, 29, 23, 9, 43, tzinfo=UTC)),
        ("2025-09-29T23:09:43.123456789Z", datetime(2025, 9, 29, 23, 9, 43, 123456, tzinfo=UTC)),
        ("2025-09-29T23:09:43", datetime(2025, 9, 29, 23, 9, 43, tzinfo=UTC)),
        (
            "2025-09-29T23:09:43+02:00",
            datetime(2025, 9, 29, 23, 9, 43, tzinfo=timezone(timedelta(hours=2))),
        ),
        ("yesterday", None),
        ("2025-13-45T99:99:99Z", None),
        ("2025-09-29T23:09:43.027Z tomorrow", None),
        ("", None),
        ("\ud800", None),
        (1759187383, None),
        (None, None),
        (ABSENT, None),
        ([], None),
    ],
)
def test_times_of_any_precision_are_read(time: object, expected: datetime | None) -> None:
    """A time is aware, of microseconds at most; what is no time is None."""
    read = _read(created_at=time).created_at
    assert read == expected
    assert read is None or read.tzinfo is not None


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (None, ()),
        (ABSENT, ()),
        ([], ()),
        ([URL, URL], (URL, URL)),
        (["iVBORw0KGgo="], ("iVBORw0KGgo=",)),
        (["data:image/png;base64,iVBORw0KGgo="], ("data:image/png;base64,iVBORw0KGgo=",)),
        ([{"url": URL, "width": 512}, URL], (URL, URL)),
    ],
)
def test_outputs_of_every_shape_are_read(outputs: object, expected: tuple[str, ...]) -> None:
    """Outputs are URLs, base64 or objects with a URL; null and absent are none yet."""
    assert _read(outputs=outputs).outputs == expected


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (URL, (URL,)),
        ({"url": URL}, (URL,)),
        (5, ("5",)),
        (False, ("false",)),
        ({}, ("{}",)),
        ([None], ("null",)),
        ([{"text": "hi"}, URL], ('{"text": "hi"}', URL)),
        ([{"url": 1}], ("1",)),
        ([[URL]], (f'["{URL}"]',)),
    ],
)
def test_outputs_of_no_known_shape_are_handed_on(outputs: object, expected: object) -> None:
    """What a model puts among the outputs was paid for: it is told as JSON, and never lost."""
    assert _read(outputs=outputs).outputs == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("", None),
        (None, None),
        (ABSENT, None),
        ("no", "no"),
        (5, "5"),
        (["a"], '["a"]'),
        (False, "false"),
    ],
)
def test_errors_of_every_shape_are_texts(error: object, expected: str | None) -> None:
    """An empty error is None, and any other is text."""
    assert _read(error=error).error == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [(1200, 1200), (1200.0, 1200), ("1200", 1200), (0, 0), (-1, -1)]
    + [(odd, None) for odd in (None, ABSENT, True, 1.5, "E12", "", 10**20, float("nan"), [], {})],
)
def test_codes_of_every_shape_are_whole_numbers(code: object, expected: int | None) -> None:
    """A prediction's code is a whole number, however it is written; anything else is None."""
    read = _read(code=code).error_code
    assert read == expected
    assert type(read) is type(expected)


def test_the_model_is_the_answers_or_the_requests() -> None:
    """A model that the answer leaves out is the one that was asked, or empty."""
    assert _read(model="other/model").model == "other/model"
    assert decode_prediction(_with(model=None), request=RAW).model == RAW.model
    assert _read(model=ABSENT).model == ""
    assert _read(model=5).model == ""


def test_unknown_parts_are_kept_as_they_came() -> None:
    """What nobody documented breaks nothing and stays readable in `raw`."""
    raw = _read(stages=[{"name": "denoise"}], input={"seed": 5}).raw
    assert raw["input"] == {"seed": 5}
    assert raw["stages"] == [{"name": "denoise"}]


@pytest.mark.parametrize("status", [ABSENT, None, 5, True, [], {"is": "completed"}])
def test_a_missing_status_is_an_error_with_the_id(status: object) -> None:
    """Without a status nothing is known but the id, which the error carries."""
    with pytest.raises(APIResponseError, match="no id or no status") as caught:
        _read(status=status)
    assert caught.value.prediction_id == ID


@pytest.mark.parametrize(
    "identity",
    [ABSENT, None, "", 5, [], {}, True, "a/b", "..", "a.b", "a b", "ä", "a\n", "\ud800", "a" * 129],
)
def test_an_id_that_cannot_be_used_is_an_error(identity: object) -> None:
    """An id goes into paths and file names: what is not safe there is refused."""
    with pytest.raises(APIResponseError) as caught:
        _read(id=identity)
    assert caught.value.prediction_id is None


@pytest.mark.parametrize("identity", [ID, "a", "A-b_9", "a" * 128])
def test_an_id_that_can_be_used_is_found(identity: str) -> None:
    """Letters, digits, dashes and underscores make an id."""
    assert decode_id({"id": identity}) == identity


def test_base64_is_kept_whole_and_shown_short() -> None:
    """An output of megabytes decodes whole; the repr does not show it."""
    picture = b64encode(bytes(range(256)) * 4000).decode()
    prediction = _read(outputs=[picture])
    assert prediction.outputs == (picture,)
    assert len(repr(prediction)) < 1000


def test_errors_for_answers_stay_small() -> None:
    """An error over an answer of megabytes carries its start only."""
    picture = b64encode(bytes(range(256)) * 4000).decode()
    with pytest.raises(APIResponseError) as caught:
        _read(status=None, outputs=[picture])
    assert len(caught.value.body) <= 300
    assert len(pickle.dumps(caught.value)) < 2000


# --- envelopes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", [200, 200.0, "200", 201, None, True, "success", [], 1.5, 10**30, ABSENT]
)
def test_data_under_a_code_of_success_or_none_is_read(code: object) -> None:
    """An answer with its data is read unless its code says otherwise: what is paid is not lost."""
    envelope = {"code": code, "data": CREATED}
    if code is ABSENT:
        del envelope["code"]
    assert decode_answer(200, json.dumps(envelope).encode()).id == ID


@pytest.mark.parametrize("code", [429, 429.0, "429"])
def test_an_error_code_under_http_200_is_an_error(code: object) -> None:
    """An error envelope under HTTP 200 is the error of its code, and says both numbers."""
    with pytest.raises(RateLimitError) as caught:
        decode_data(200, _envelope(None, code=code, message="slow down"), retry_after=7.0)
    error = caught.value
    assert (error.status_code, error.code, error.message) == (200, 429, "slow down")
    assert error.retry_after == 7.0
    assert str(error) == "slow down (HTTP 200, code 429)"


@pytest.mark.parametrize("code", [0, -1, 1, 100, 302, 404, 500, 1200, 5004, 999999999])
def test_any_other_code_under_http_200_is_an_error_with_the_id(code: int) -> None:
    """A code that is no success is an error, which carries the id where there is one."""
    with pytest.raises(APIStatusError) as caught:
        decode_data(200, _envelope(CREATED, code=code))
    assert caught.value.code == code
    assert caught.value.prediction_id == ID


@pytest.mark.parametrize(
    "body",
    [
        _envelope(None),
        b'{"code":200,"message":"success"}',
        _envelope([]),
        _envelope("text"),
        _envelope(5),
        b"{}",
        b"[]",
        b"null",
        b"5",
        b'"text"',
        b"",
        b" ",
        b"<html><body>It works!</body></html>",
        b"\xff\xfe\xfa",
        b"\x00" * 9,
        _envelope(COMPLETED)[:-1],
        _envelope(COMPLETED)[:50],
        b"[" * 100_000,
        b'{"data":' * 100_000,
        b'{"code":200,"data":{"n":' + b"9" * 5000 + b"}}",
    ],
    ids=lambda body: ascii(body[:30]),
)
def test_what_is_no_envelope_with_data_is_an_error(body: bytes) -> None:
    """A success without the API's own format is APIResponseError, with the body's start."""
    with pytest.raises(APIResponseError) as caught:
        decode_answer(200, body)
    error = caught.value
    assert error.status_code == 200
    assert error.body == body[:300].decode("utf-8", "replace")
    assert "HTTP 200" in str(error)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_in_any_unicode_encoding_is_read(encoding: str) -> None:
    """A byte order mark or UTF-16 is no reason to lose an answer."""
    text = json.dumps({"code": 200, "data": _with(error="süß")}, ensure_ascii=False)
    assert decode_answer(200, text.encode(encoding)).error == "süß"


def test_the_last_of_two_equal_names_counts() -> None:
    """A name that occurs twice has its last value, as everywhere in Python."""
    body = (
        b'{"data":{"id":"a","status":"created"},"data":{"id":"b","status":"x","status":"failed"}}'
    )
    prediction = decode_answer(200, body)
    assert (prediction.id, prediction.status) == ("b", Status.FAILED)


def test_what_is_too_deep_to_be_written_is_still_an_error() -> None:
    """An answer so deep that it cannot be shown again is refused as any other."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(APIResponseError, match="no id") as caught:
        decode_prediction({"status": "created", "deep": deep})
    assert caught.value.body == "nested too deeply"
    assert decode_prediction({"id": "a", "status": "failed", "error": deep}).error is not None


# --- statuses to errors ---------------------------------------------------------------------------

CREDITS = "Insufficient credits. Please top up your account to continue."
NAMED = {
    400: BadRequestError,
    401: AuthenticationError,
    402: InsufficientCreditsError,
    403: PermissionDeniedError,
    404: NotFoundError,
    413: BadRequestError,
    429: RateLimitError,
    500: InternalServerError,
    502: InternalServerError,
    503: InternalServerError,
    504: InternalServerError,
}


@pytest.mark.parametrize("status", [*range(100, 200, 33), *range(300, 600), 999])
def test_each_status_has_its_error(status: int) -> None:
    """The known statuses have errors of their own, the others that of their hundred."""
    fallback = {4: BadRequestError, 5: InternalServerError}.get(status // 100, APIStatusError)
    with pytest.raises(APIStatusError) as caught:
        decode_answer(status, _envelope(None, code=status, message="no"))
    assert type(caught.value) is NAMED.get(status, fallback)
    assert (caught.value.status_code, caught.value.code) == (status, status)
    assert str(caught.value) == f"no (HTTP {status})"


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (400, {"code": 400, "message": CREDITS}, InsufficientCreditsError, CREDITS),
        (400, {"code": 400, "message": CREDITS.upper()}, InsufficientCreditsError, CREDITS.upper()),
        (413, {"message": CREDITS}, InsufficientCreditsError, CREDITS),
        (200, {"code": 400, "message": CREDITS}, InsufficientCreditsError, CREDITS),
        (500, {"code": 500, "message": CREDITS}, InternalServerError, CREDITS),
        (401, {"code": 401, "message": "Invalid API key"}, AuthenticationError, "Invalid API key"),
        (403, {"error_code": 7, "message": "suspended"}, PermissionDeniedError, "suspended"),
        (400, {"message": "model not found"}, BadRequestError, "model not found"),
        (404, {}, NotFoundError, "{}"),
        (404, {"detail": "Not Found"}, NotFoundError, '{"detail": "Not Found"}'),
        (400, {"message": {"text": "no"}}, BadRequestError, '{"text": "no"}'),
        (400, ["no"], BadRequestError, '["no"]'),
        (500, None, InternalServerError, "null"),
    ],
)
def test_the_errors_that_were_seen(
    status: int, body: object, kind: type[APIStatusError], message: str
) -> None:
    """Each error that was seen, and its like, has its class and its words."""
    with pytest.raises(APIStatusError) as caught:
        decode_answer(status, json.dumps(body).encode())
    assert type(caught.value) is kind
    assert caught.value.message == message
    assert caught.value.status_code == status


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"code": 1401}, 1401),
        ({"code": 1401.0}, 1401),
        ({"error_code": 7}, 7),
        ({"code": None, "error_code": "7"}, 7),
        ({"code": 1401, "error_code": 7}, 1401),
        ({"code": True}, None),
        ({"code": []}, None),
        ({}, None),
        ([], None),
    ],
)
def test_the_envelopes_own_code_is_told(body: object, code: int | None) -> None:
    """The error has the envelope's own code, which decides nothing beside an HTTP error."""
    with pytest.raises(BadRequestError) as caught:
        decode_answer(400, json.dumps(body).encode())
    assert caught.value.status_code == 400
    assert caught.value.code == (400 if code is None else code)
    assert (f"code {code}" in str(caught.value)) is (code is not None)


@pytest.mark.parametrize("body", [b"", b"<html>502 Bad Gateway</html>", b"\xff" * 9, b"x" * 10**6])
def test_a_gateways_page_is_the_error_of_its_status(body: bytes) -> None:
    """A page that is no JSON is told by its status, with its start as the message."""
    with pytest.raises(InternalServerError) as caught:
        decode_answer(502, body)
    error = caught.value
    assert error.message == body[:300].decode("utf-8", "replace")
    assert str(error) == f"{error.message or 'no message'} (HTTP 502)"


def test_messages_are_bounded() -> None:
    """A message of megabytes is cut."""
    with pytest.raises(BadRequestError) as caught:
        decode_answer(400, _envelope(None, code=400, message="no " * 10**6))
    assert len(caught.value.message) == 300
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("retry_after", [None, 0.0, 2.5])
def test_a_wait_that_was_asked_for_is_carried(retry_after: float | None) -> None:
    """RateLimitError carries the seconds that the API asked to wait."""
    error = status_error(429, http_status=429, message="no", retry_after=retry_after)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == retry_after
    with pytest.raises(RateLimitError) as caught:
        decode_data(429, b"", retry_after=retry_after)
    assert caught.value.retry_after == retry_after


# --- predictions that failed ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.FAILED, "failed"),
        (Status.CANCELLED, "was cancelled"),
        (Status.DELETED, "was deleted"),
        (Status.TIMEOUT, "ran into the API's own time limit"),
    ],
)
def test_an_end_without_pictures_is_an_error(status: Status, words: str) -> None:
    """Each end but completion is an error that names the prediction, the code and the reason."""
    prediction = Prediction(id=ID, status=status, error="no picture", error_code=1403)
    error = failure(prediction)
    assert type(error) is PredictionFailedError
    assert str(error) == f"prediction {ID} {words} (code 1403): no picture"
    assert error.prediction is prediction
    assert error.prediction_id == ID


def test_an_end_without_a_reason_says_so_plainly() -> None:
    """Where the API gives neither code nor reason, the error has neither."""
    assert str(failure(Prediction(id=ID, status=Status.FAILED))) == f"prediction {ID} failed"


def test_a_long_reason_is_cut() -> None:
    """The message of an error is short whatever the API wrote; the prediction keeps it all."""
    error = failure(Prediction(id=ID, status=Status.FAILED, error="no " * 10**6))
    assert len(str(error)) < 400


def test_moderation_has_its_own_error() -> None:
    """Code 1200 is content moderation: sending it again would not help."""
    error = failure(Prediction(id=ID, status=Status.FAILED, error_code=1200))
    assert type(error) is ModerationError


@pytest.mark.parametrize("status", [s for s in Status if not s.ended] + [Status.COMPLETED])
def test_what_runs_or_is_complete_is_no_error(status: Status) -> None:
    """Only an end without pictures is a failure, whatever code stands beside it."""
    assert failure(Prediction(id=ID, status=status, error_code=1200)) is None


# --- anything -------------------------------------------------------------------------------------

statuses = st.integers(200, 599)
nearly = st.fixed_dictionaries(
    {},
    optional={
        "id": st.just(ID) | any_json,
        "status": st.sampled_from([*map(str, Status)]) | any_json,
        **{
            name: st.just(value) | any_json
            for name, value in COMPLETED.items()
            if name not in {"id", "status"}
        },
        "code": any_json,
        "extra": any_json,
    },
)
envelopes = st.fixed_dictionaries(
    {"data": nearly | any_json},
    optional={"code": any_json, "message": any_json, "error_code": any_json},
)


def _decoded(status: int, body: bytes) -> Prediction | APIResponseError | APIStatusError:
    """Answer the prediction or the typed error; any other error is the test's failure."""
    try:
        return decode_answer(status, body)
    except (APIResponseError, APIStatusError) as error:
        return error


def _sound(status: int, found: Prediction | APIResponseError | APIStatusError) -> bool:
    """Check what must hold of whatever comes out."""
    if isinstance(found, Prediction):
        return 200 <= status < 300 and bool(hash(found)) and len(repr(found)) < 3000
    told = {status, 200} if 200 <= status < 300 else {status}  # a prediction's own are told as 200
    return found.status_code in told and len(str(found)) < 500 and bool(pickle.dumps(found))


@searched
@given(statuses, st.binary(max_size=200))
def test_any_bytes_are_a_typed_error(status: int, body: bytes) -> None:
    """Whatever bytes come under whatever status: the error is typed, picklable and short."""
    assert _sound(status, _decoded(status, body))


@searched
@given(statuses | st.just(200), any_json | envelopes)
def test_any_json_is_a_prediction_or_a_typed_error(status: int, answer: object) -> None:
    """Whatever JSON comes under whatever status: it is a prediction or a typed error."""
    body = json.dumps(answer).encode()
    assert _sound(status, _decoded(status, body))


@searched
@given(nearly)
def test_anything_like_a_prediction_is_one_or_a_typed_error(data: dict[str, Any]) -> None:
    """A prediction with any value anywhere is read, or refused with its id where that is sound."""
    try:
        found: Prediction | APIResponseError = decode_prediction(data)
    except APIResponseError as error:
        found = error
    if isinstance(found, APIResponseError):
        assert found.prediction_id == decode_id(data)
    else:
        assert found.id == data["id"]
        assert all(isinstance(output, str) for output in found.outputs)
        assert found.inference_ms is None or type(found.inference_ms) is int
