"""An editor, as pyright's language server sees one: what does a programmer get to see?"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

__all__ = ["Editor", "opened"]


class Editor:
    """Have a file open, and ask about places in it."""

    def __init__(self, folder: Path, to: IO[bytes], out: IO[bytes]) -> None:
        self._to, self._from = to, out
        self._file = (folder / "program.py").as_uri()
        self._text = ""
        self._numbers = itertools.count(1)
        workspace = {"name": "program", "uri": folder.as_uri()}
        capabilities = {
            "textDocument": {"hover": {"contentFormat": ["plaintext"]}},
            "workspace": {"configuration": True},
        }
        about = {"processId": None, "rootUri": workspace["uri"], "capabilities": capabilities}
        self._ask("initialize", {**about, "workspaceFolders": [workspace]})
        self._tell("initialized", {})

    def type(self, text: str) -> None:
        """Open the file with a text."""
        self._text = text
        document = {"uri": self._file, "languageId": "python", "version": 1, "text": text}
        self._tell("textDocument/didOpen", {"textDocument": document})

    def signature_at(self, place: str) -> dict[str, Any]:
        """Answer what is shown of a call whose arguments are being typed, behind `place`."""
        shown = self._ask("textDocument/signatureHelp", self._behind(place))
        (signature,) = shown["signatures"]
        return dict(signature)

    def hover_at(self, place: str) -> str:
        """Answer what is shown of the name that `place` ends with."""
        return str(self._ask("textDocument/hover", self._behind(place, -1))["contents"]["value"])

    def _behind(self, place: str, shift: int = 0) -> dict[str, Any]:
        lines = self._text[: self._text.index(place) + len(place) + shift].split("\n")
        position = {"line": len(lines) - 1, "character": len(lines[-1])}
        return {"textDocument": {"uri": self._file}, "position": position}

    # --- the protocol ----------------------------------------------------------------------------

    def _ask(self, method: str, params: dict[str, Any]) -> Any:
        number = next(self._numbers)
        self._send({"id": number, "method": method, "params": params})
        while True:
            message = self._receive()
            if "method" in message:
                self._answer(message)
            elif message["id"] == number:
                assert "error" not in message, message
                return message["result"]

    def _tell(self, method: str, params: dict[str, Any]) -> None:
        self._send({"method": method, "params": params})

    def _answer(self, message: dict[str, Any]) -> None:
        """Answer what the server asks: it wants to know where Python is."""
        if "id" in message:
            items = message.get("params", {}).get("items", [])
            known = {"python": {"pythonPath": sys.executable}}
            told = [known.get(item.get("section")) for item in items]
            self._send({"id": message["id"], "result": told or None})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._to.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._to.flush()

    def _receive(self) -> dict[str, Any]:
        length = 0
        while line := self._from.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, "the language server has ended"
        return dict(json.loads(self._from.read(length)))


@contextmanager
def opened(folder: Path) -> Iterator[Editor]:
    """Start pyright's language server, and an editor of a folder."""
    command = [sys.executable, "-m", "pyright.langserver", "--stdio"]
    with subprocess.Popen(  # noqa: S603 (an installed tool)
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield Editor(folder, server.stdin, server.stdout)
        finally:
            server.terminate()
