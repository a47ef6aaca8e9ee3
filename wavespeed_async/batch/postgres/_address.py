"""The address of a journal in PostgreSQL, and how it is told without its password. Pure.

::

    postgresql://user:password@host:5432/database?journal=NAME

That is libpq's own form with one parameter more: the journal's name, since one database may hold
many of them. Each is a schema of its own, `wavespeed_NAME`. What the address leaves open is taken
from where libpq looks: `PGHOST`, `PGPASSWORD`, `~/.pgpass`, a service file.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from attrs import field, frozen
from psycopg import Error
from psycopg.conninfo import conninfo_to_dict

from wavespeed_async.errors import ConfigurationError, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Address"]

USUAL_NAME = "journal"
MARK = "journal="
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,51}")
"""What may be the name of a journal: with `wavespeed_` before it PostgreSQL keeps it whole."""
SECRETS = ("password", "sslpassword")
ENCODE = (
    "write characters such as @ : / ? # % in its user or password percent-encoded, as %40 for @, "
    "or leave the password to PGPASSWORD or ~/.pgpass"
)


@frozen(kw_only=True)
class Address:
    """Say where a journal is.

    Attributes:
        name: The journal's.
        parameters: What libpq needs to connect; the password may be among it.
        told: The address as it may be told, without user and password.
    """

    name: str
    parameters: Mapping[str, str] = field(repr=False)
    told: str

    @classmethod
    def of(cls, url: str) -> Address:
        """Read an address.

        Raises:
            ConfigurationError: It is malformed; the message does not repeat it, as a part of its
                password may be anywhere.
        """
        url, name = _without_name(url)
        _check_place_of_password(url)
        try:
            parameters = {
                key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None
            }
        except Error:
            raise _malformed() from None
        host, port = parameters.get("host", ""), parameters.get("port", "")
        if not re.fullmatch(r"[\d,]*", port):
            raise _malformed()
        told = f"postgresql://{host}{port and f':{port}'}/{parameters.get('dbname', '')}"
        return cls(name=name, parameters=parameters, told=f"{told}?journal={name}")

    @property
    def schema(self) -> str:
        """The name of the schema that holds the journal's tables."""
        return f"wavespeed_{self.name}"

    @property
    def lock(self) -> int:
        """The number of the lock that its run holds: of 64 bits, by the journal's name."""
        digest = hashlib.blake2b(self.schema.encode(), digest_size=8).digest()
        return int.from_bytes(digest, signed=True)

    def words(self, error: Exception) -> str:
        """Tell an error of psycopg in one line that holds no password."""
        text = " ".join(str(error).split()) or type(error).__name__
        for name in SECRETS:
            if secret := self.parameters.get(name):
                text = text.replace(secret, "***")
        return text


def _without_name(url: str) -> tuple[str, str]:
    """Take the journal's name out of an address: libpq knows no such parameter.

    Raises:
        ConfigurationError: It cannot be one.
    """
    base, _, query = url.partition("?")
    parts = [part for part in query.split("&") if part]
    kept = [part for part in parts if not part.startswith(MARK)]
    named = [part.removeprefix(MARK) for part in parts if part.startswith(MARK)]
    name = named[-1] if named else USUAL_NAME
    if not NAME.fullmatch(name):
        message = (
            f"a journal cannot be called {shown(name)}: take up to 52 small letters, digits, "
            f"underscores, dots and hyphens, of which the first is a letter or digit"
        )
        raise ConfigurationError(message)
    return (f"{base}?{'&'.join(kept)}" if kept else base), name


def _check_place_of_password(url: str) -> None:
    """Refuse what libpq would read in another way than it was meant, and then repeat in errors.

    Raises:
        ConfigurationError: An `@` stands elsewhere than once, before the host.
    """
    rest = url.partition("://")[2]
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    if rest.count("@") != authority.count("@") or rest.count("@") > 1:
        raise _malformed()


def _malformed() -> ConfigurationError:
    message = (
        "the address of the journal is malformed: it has to be like "
        f"postgresql://user:password@host:5432/database?journal=name; {ENCODE}"
    )
    return ConfigurationError(message)
