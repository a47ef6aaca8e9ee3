"""What was uploaded: files, and tickets for files that are still to come. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve

from wavespeed_async.emulator._records import UploadRecord
from wavespeed_async.emulator._requests import Refusal, missing_field, read_json

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from wavespeed_async.emulator._records import File
    from wavespeed_async.emulator._settings import Settings

__all__ = ["MEDIA_TYPES", "Uploads", "upload_data", "upload_path"]

TOO_LARGE = 413
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpg"),
    (8, b"WEBP", "webp"),
    (0, b"GIF8", "gif"),
    (0, b"BM", "bmp"),
    (0, b"II*\x00", "tiff"),
    (0, b"MM\x00*", "tiff"),
)
MEDIA_TYPES: Mapping[str, str] = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
}
"""The formats that are taken (upload documentation)."""
_ALIASES = {"jpeg": "jpg", "tif": "tiff"}
_TOKEN = "x-upload-token"  # noqa: S105 (the name of a header)


class Uploads:
    """Keep files for a while, and hand out tickets."""

    def __init__(self, settings: Settings, ids: random.Random) -> None:
        self._settings = settings
        self._ids = ids
        self._all: dict[str, UploadRecord] = {}

    def all(self, now: float) -> tuple[UploadRecord, ...]:
        """List what is kept, tickets among it, in the order of arrival."""
        self._expire(now)
        return tuple(self._all.values())

    def find(self, now: float, path: str) -> UploadRecord | None:
        """Find a file by the path under which it is served."""
        self._expire(now)
        found = self._all.get(path.removeprefix("/uploads/").partition(".")[0])
        is_there = found and found.content is not None and path == upload_path(found)
        return found if is_there else None

    def receive(self, now: float, file: File | None) -> UploadRecord:
        """Take a file.

        Raises:
            Refusal: There is none (400), it is none that is taken (400), or too large (413).
        """
        if file is None:
            name = "file"
            raise missing_field(name)
        self._check_size(len(file.content))
        return self._keep(now, file.filename, _suffix_of(file.content), file.content)

    def ticket(self, now: float, body: bytes) -> UploadRecord:
        """Announce a file, as `{filename, size, content_type?}` says.

        Raises:
            Refusal: As for files.
        """
        asked = read_json(body)
        filename, size = asked.get("filename"), asked.get("size")
        if not isinstance(filename, str) or not filename.strip():
            name = "filename"
            raise missing_field(name)
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise Refusal(400, 'field "size" must be a number of bytes')
        self._check_size(size)
        return self._keep(now, filename, _announced(filename, asked.get("content_type")), size)

    def put(self, now: float, upload_id: str, headers: Mapping[str, str], body: bytes) -> None:
        """Take the file of a ticket, as the storage does: with exactly the ticket's headers.

        Raises:
            Refusal: There is no such ticket (404), a header is wrong (403), or the file (400).
        """
        self._expire(now)
        found = self._all.get(upload_id)
        if found is None or found.content is not None:
            raise Refusal(404, "NoSuchKey")
        wanted = ticket_headers(found)
        if "authorization" in headers or any(
            headers.get(name.lower()) != value for name, value in wanted.items()
        ):
            raise Refusal(403, "SignatureDoesNotMatch")
        if len(body) != found.size or _suffix_of(body) != found.suffix:
            raise Refusal(400, "the file is not the one that was announced")
        self._all[upload_id] = evolve(found, content=body)

    def _keep(self, now: float, filename: str, suffix: str, what: bytes | int) -> UploadRecord:
        self._expire(now)
        content = what if isinstance(what, bytes) else None
        size = len(what) if isinstance(what, bytes) else what
        upload = UploadRecord(
            id=f"{self._ids.getrandbits(128):032x}",
            filename=filename,
            suffix=suffix,
            size=size,
            created=now,
            content=content,
        )
        self._all[upload.id] = upload
        return upload

    def _check_size(self, size: int) -> None:
        if size > self._settings.upload_limit:
            message = f"the file has {size} bytes, {self._settings.upload_limit} are allowed"
            raise Refusal(TOO_LARGE, message)

    def _expire(self, now: float) -> None:
        for upload in [*self._all.values()]:
            if upload.created > now - self._settings.keep:
                break
            del self._all[upload.id]


def upload_path(upload: UploadRecord) -> str:
    """Name the path under which a file is served; no key is needed to read it."""
    return f"/uploads/{upload.id}.{upload.suffix}"


def upload_data(upload: UploadRecord, origin: str) -> dict[str, Any]:
    """Tell an upload; a ticket tells also how to use it."""
    data: dict[str, Any] = {
        "type": "image",
        "download_url": origin + upload_path(upload),
        "filename": upload.filename,
        "size": upload.size,
    }
    if upload.content is None:
        data["upload"] = {
            "method": "PUT",
            "url": f"{origin}/storage/{upload.id}?signature={upload.id[::-1]}",
            "headers": ticket_headers(upload),
        }
    return data


def ticket_headers(upload: UploadRecord) -> dict[str, str]:
    """Name the headers that the PUT of a ticket must have."""
    return {"Content-Type": MEDIA_TYPES[upload.suffix], _TOKEN: upload.id[:16]}


def _suffix_of(content: bytes) -> str:
    for offset, signature, suffix in _SIGNATURES:
        if content.startswith(signature, offset):
            return suffix
    raise _unsupported()


def _announced(filename: str, content_type: object) -> str:
    by_type = {media_type: suffix for suffix, media_type in MEDIA_TYPES.items()}
    if isinstance(content_type, str) and content_type in by_type:
        return by_type[content_type]
    suffix = filename.rpartition(".")[2].lower()
    suffix = _ALIASES.get(suffix, suffix)
    if suffix not in MEDIA_TYPES:
        raise _unsupported()
    return suffix


def _unsupported() -> Refusal:
    allowed = ", ".join(MEDIA_TYPES)
    return Refusal(400, f"unsupported file format: take one of {allowed}")
