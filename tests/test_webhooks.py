"""Verifying webhooks, against signatures made here by plain hmac."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import b64decode
from email.message import Message
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wavespeed_async import ConfigurationError, Status, WebhookVerificationError
from wavespeed_async.webhooks import verify

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = 1_763_651_383
IDENTITY = "6488c2754f6f4dfea924382fa14d11bd"
PREDICTION: dict[str, Any] = {
    "id": IDENTITY,
    "model": "wavespeed-ai/flux-dev",
    "input": {"prompt": "a käse board"},
    "outputs": ["https://example.com/0.png"],
    "urls": {"get": f"https://api.wavespeed.ai/api/v3/predictions/{IDENTITY}/result"},
    "has_nsfw_contents": [False],
    "status": "completed",
    "created_at": "2025-11-20T15:09:43.027123456Z",
    "error": "",
    "timings": {"inference": 1234},
}
BODY = json.dumps(PREDICTION, ensure_ascii=False).encode()


def signature(
    body: bytes = BODY,
    *,
    key: bytes = SECRET.removeprefix("whsec_").encode(),
    identity: str = "msg_1",
    timestamp: str = str(NOW),
) -> str:
    """Sign as the API's description says it, in words of our own."""
    signed = identity.encode() + b"." + timestamp.encode() + b"." + body
    return "v3," + hmac.new(key, signed, hashlib.sha256).hexdigest()


def signed(body: bytes = BODY, *, timestamp: str = str(NOW)) -> dict[str, str]:
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": timestamp,
        "webhook-signature": signature(body, timestamp=timestamp),
    }


def refused(body: bytes | str, headers: Any, secret: str = SECRET, now: float = NOW) -> str:
    """Answer why a call is refused; it has to be."""
    with pytest.raises(WebhookVerificationError) as caught:
        verify(body, headers, secret, now=now)
    return str(caught.value)


def test_a_valid_call_is_answered_with_its_prediction() -> None:
    """What the API signed is read as the prediction that it tells of."""
    prediction = verify(BODY, signed(), SECRET, now=NOW)
    assert (prediction.id, prediction.status) == (IDENTITY, Status.COMPLETED)
    assert prediction.outputs == ("https://example.com/0.png",)
    assert prediction.inference_ms == 1234
    assert prediction.raw["input"] == {"prompt": "a käse board"}


def test_a_vector_computed_elsewhere_verifies() -> None:
    """A fixed signature, computed with openssl, is accepted: ours does not only agree with us."""
    body = b'{"id":"6488c2754f6f4dfea924382fa14d11bd","status":"failed","outputs":[]}'
    headers = {
        "webhook-id": "msg_2",
        "webhook-timestamp": "1763651383",
        "webhook-signature": "v3,6aff75dce04d8f70a3d19f0200411cd0d01001e3592e84fc69e6d2753973d1c0",
    }
    assert verify(body, headers, SECRET, now=NOW).status is Status.FAILED


def test_text_is_taken_for_the_bytes_that_it_was() -> None:
    """A body that a framework has decoded as UTF-8 verifies as its bytes do."""
    assert verify(BODY.decode(), signed(), SECRET, now=NOW).id == IDENTITY


def test_the_secret_may_come_without_its_prefix() -> None:
    """`whsec_` is no part of the key, so that a secret without it is the same secret."""
    assert verify(BODY, signed(), SECRET.removeprefix("whsec_"), now=NOW).id == IDENTITY


def _message(headers: Mapping[str, str]) -> Message:
    message = Message()
    for name, value in headers.items():
        message[name] = value
    return message


@pytest.mark.parametrize(
    "shape",
    [
        lambda headers: {name.upper(): value for name, value in headers.items()},
        lambda headers: {name.title(): value for name, value in headers.items()},
        lambda headers: [*headers.items()],
        lambda headers: [(n.encode(), v.encode()) for n, v in headers.items()],
        lambda headers: iter(headers.items()),
        httpx.Headers,
        _message,
    ],
    ids=["upper", "title", "pairs", "asgi", "iterator", "httpx", "http.server"],
)
def test_headers_are_taken_as_frameworks_hand_them_over(shape: Any) -> None:
    """Headers may be in any case, a mapping, something like one, or pairs of texts or bytes."""
    assert verify(BODY, shape(signed()), SECRET, now=NOW).id == IDENTITY


@pytest.mark.parametrize("first", [True, False])
def test_one_of_several_signatures_is_enough(first: bool) -> None:
    """While a secret is being changed a call carries two signatures, in one header or in two."""
    both = [signature(), signature(key=b"the other secret")]
    if not first:
        both.reverse()
    headers = signed()
    del headers["webhook-signature"]
    joined = {**headers, "webhook-signature": " ".join(both)}
    apart = [*headers.items(), *(("Webhook-Signature", value) for value in both)]
    assert verify(BODY, joined, SECRET, now=NOW) == verify(BODY, apart, SECRET, now=NOW)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "forged",
    [
        signature(key=b"another secret"),
        signature(key=SECRET.encode()),
        signature(key=b64decode(SECRET.removeprefix("whsec_"))),
        signature(BODY + b" "),
        signature(identity="msg_2"),
        signature(timestamp=str(NOW - 1)),
        signature().removeprefix("v3,"),
        signature().replace("v3,", "v1,"),
        signature()[:-1],
        signature()[:20],
        signature() + "0",
        "v3,",
        "v3," + "0" * 64,
        "\N{SNOWMAN} \ud800",
    ],
    ids=[
        "secret",
        "secret with whsec_",
        "secret as base64",
        "body",
        "id",
        "time",
        "no scheme",
        "scheme",
        "cut",
        "start",
        "longer",
        "empty",
        "zeros",
        "no ASCII",
    ],
)
def test_a_forged_signature_is_refused(forged: str) -> None:
    """Only the HMAC of id, time and body by the secret as text passes."""
    assert "signature is wrong" in refused(BODY, {**signed(), "webhook-signature": forged})


def test_a_changed_body_is_refused() -> None:
    """A body that says the same in other bytes is not what was signed."""
    again = json.dumps(json.loads(BODY)).encode()
    assert json.loads(again) == json.loads(BODY)
    assert "signature is wrong" in refused(again, signed())


@pytest.mark.parametrize("missing", [*signed()])
def test_a_missing_or_empty_header_is_named(missing: str) -> None:
    """Each of the three headers has to be there, and the error names the one that is not."""
    headers = signed()
    assert missing in refused(BODY, {**headers, missing: ""})
    del headers[missing]
    assert missing in refused(BODY, headers)


def test_a_blank_signature_is_refused() -> None:
    """A signature header of nothing but blanks holds no signature."""
    assert "signature is wrong" in refused(BODY, {**signed(), "webhook-signature": "  "})


def test_old_and_early_calls_are_refused() -> None:
    """A call may be 300 s old or early and no more, or as much as the caller says."""
    for distance in (-300.0, 0.0, 300.0):
        assert verify(BODY, signed(), SECRET, now=NOW + distance).id == IDENTITY
    for distance in (-301, -300.5, 300.5, 1e9, float("inf"), float("nan")):
        assert "300 s away" in refused(BODY, signed(), now=NOW + distance)
    assert verify(BODY, signed(), SECRET, now=NOW + 900, tolerance=1000).id == IDENTITY
    with pytest.raises(WebhookVerificationError, match="5 s away"):
        verify(BODY, signed(), SECRET, now=NOW + 6, tolerance=5)


def test_the_time_is_the_machines_own_unless_given() -> None:
    """Without `now` the call is measured against the wall clock."""
    assert verify(BODY, signed(timestamp=str(int(time.time()))), SECRET).id == IDENTITY
    with pytest.raises(WebhookVerificationError, match="300 s away"):
        verify(BODY, signed(), SECRET)


@pytest.mark.parametrize(
    "timestamp", ["soon", "-1", "+1763651383", "1763651383.0", " 1763651383", "0x10", "1_0", "१२"]
)
def test_a_time_that_is_no_number_of_seconds_is_refused(timestamp: str) -> None:
    """The time is in whole Unix seconds, in ASCII digits, even where it is signed."""
    assert "Unix seconds" in refused(BODY, signed(timestamp=timestamp))


@pytest.mark.parametrize("timestamp", ["9" * 21, "9" * 10_000, f"{NOW * 1000}", "0"])
def test_a_time_far_away_is_refused(timestamp: str) -> None:
    """Milliseconds, thousands of digits and zero are far from now, and nothing worse."""
    assert "300 s away" in refused(BODY, signed(timestamp=timestamp))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"{}",
        b"\xff\xfe\x00",
        b'{"id": "x"}',
        b'{"id": "../x", "status": "completed"}',
        b'{"id": "x", "status": 7}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"id": ' + b"9" * 5000 + b"}",
        b'{"code": 200, "data": {"id": "x", "status": "completed"}}',
    ],
    ids=range(14),
)
def test_what_is_signed_but_no_prediction_is_refused(body: bytes) -> None:
    """A valid signature over anything but a bare prediction is refused as such."""
    assert "signed, but no prediction" in refused(body, signed(body))


@pytest.mark.parametrize("secret", ["", "whsec_"])
def test_an_empty_secret_is_an_error_of_the_caller(secret: str) -> None:
    """With an empty secret anybody could sign: that is told apart from a forged call."""
    key = {**signed(), "webhook-signature": signature(key=b"")}
    with pytest.raises(ConfigurationError, match="whsec_"):
        verify(BODY, key, secret, now=NOW)


def test_every_signature_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each signature goes through hmac.compare_digest, also after one has matched."""
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr("wavespeed_async.webhooks.hmac.compare_digest", compare)
    signatures = [signature(), "v3,a", "b"]
    verify(BODY, {**signed(), "webhook-signature": " ".join(signatures)}, SECRET, now=NOW)
    assert compared == [part.encode() for part in signatures]


# --- whatever comes -------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=()), max_size=40)
NAMES = st.sampled_from([*signed(), "Webhook-Id", "x"]) | TEXTS
HEADERS = st.dictionaries(NAMES, TEXTS) | st.lists(
    st.tuples(NAMES | st.binary(), TEXTS | st.binary())
)


@given(st.binary() | TEXTS, HEADERS)
def test_nothing_that_comes_raises_anything_else(body: bytes | str, headers: Any) -> None:
    """No body and no set of headers raises anything but WebhookVerificationError."""
    refused(body, headers)


@given(st.binary(), st.fixed_dictionaries(dict.fromkeys(signed(), TEXTS)))
@example(b"{}", {**signed(), "webhook-id": "\ud800"})
@example(b"{}", {**signed(), "webhook-signature": "\udfff"})
def test_nothing_in_the_right_headers_raises_anything_else(
    body: bytes, headers: dict[str, str]
) -> None:
    """No content of the three headers raises anything but WebhookVerificationError."""
    refused(body, headers)
    refused(body, {**headers, "webhook-timestamp": str(NOW)})


JSONS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
PREDICTIONS = st.fixed_dictionaries(
    {"id": JSONS | st.just(IDENTITY), "status": JSONS | st.just("completed")},
    optional=dict.fromkeys(PREDICTION.keys() - {"id", "status"} | {"code", "executionTime"}, JSONS),
)


@given(st.binary() | (JSONS | PREDICTIONS).map(lambda value: json.dumps(value).encode()))
def test_nothing_that_is_signed_raises_anything_else(body: bytes) -> None:
    """Whatever the API might sign is a prediction or WebhookVerificationError."""
    try:
        prediction = verify(body, signed(body), SECRET, now=NOW)
    except WebhookVerificationError:
        return
    assert prediction.id


@given(st.data())
def test_changing_any_byte_is_refused(data: st.DataObject) -> None:
    """A valid call with any one byte of body, id, time or signature changed is refused."""
    body, headers = bytearray(BODY), {k: bytearray(v.encode()) for k, v in signed().items()}
    part = data.draw(st.sampled_from([body, *headers.values()]))
    place = data.draw(st.integers(0, len(part) - 1))
    part[place] ^= data.draw(st.integers(1, 255))
    refused(bytes(body), [(name, bytes(value)) for name, value in headers.items()])
