"""Official SDKs, installed by their own package managers and called in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wavespeed_async.emulator import Emulator

__all__ = ["SDK", "Raised", "installed", "run_quietly"]

PATIENCE = 300


class Raised(Exception):  # noqa: N818 (not an error of a test: an error that an SDK raised)
    """Hold an error that the SDK raised in its process: the kind, and the words."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


@frozen
class SDK:
    """Call an SDK's client: `command` takes a call as JSON, and prints its result as JSON last."""

    version: str
    command: Sequence[str]

    def call(self, emulator: Emulator, method: str, *args: Any, **options: Any) -> Any:
        """Make one call of a fresh client, and answer what it answers, or raise `Raised`."""
        call = {"url": emulator.url, "method": method, "args": args, "options": options}
        told = run_quietly([*self.command, json.dumps(call)])
        answer: Mapping[str, Any] = json.loads(told.splitlines()[-1])
        if "error" in answer:
            raise Raised(*answer["error"])
        return answer["result"]


def run_quietly(command: Sequence[str | Path]) -> str:
    """Run a command that knows nothing of this process's Python, keys and locks, nor of a proxy."""
    hidden = ("PYTHON", "COVERAGE", "WAVESPEED", "PIP_BUILD_CONSTRAINT", "PIP_CONSTRAINT")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    env["NO_PROXY"] = env["no_proxy"] = "127.0.0.1"
    done = subprocess.run(  # noqa: S603 (the commands are this file's users')
        command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if done.returncode:
        raise OSError((done.stderr or done.stdout).strip())
    return done.stdout


def installed(cache: pytest.Cache, name: str, install: Callable[[Path], None]) -> Path:
    """Answer a folder that `install` has filled: now, or in an earlier session.

    Where that cannot be done the test is skipped; in CI it fails.
    """
    folders = cache.mkdir("official-sdks")
    folder = folders / name
    if not folder.exists():
        making = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folders))
        try:
            install(making)
            # Another worker may have been faster: one of two equal folders is enough.
            making.rename(folder)
        except (OSError, subprocess.TimeoutExpired) as error:
            if not folder.exists():
                reason = f"{name} cannot be installed: {str(error)[-500:]}"
                if os.environ.get("CI") == "true":
                    pytest.fail(reason)
                pytest.skip(reason)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return folder
