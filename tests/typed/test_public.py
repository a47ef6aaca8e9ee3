"""What programmers see of the public interface: in an editor, and of a type checker."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from tests.typed.editor import opened
from wavespeed_async import FluxFillDev
from wavespeed_async.models import _known

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.typed.editor import Editor

pytestmark = pytest.mark.xdist_group("pyright")
METHODS = [name for name, method in vars(_known.ModelMethods).items() if inspect.isfunction(method)]
PROGRAM = "from wavespeed_async import AsyncWaveSpeed\n\nclient = AsyncWaveSpeed()\n"


@pytest.fixture(scope="module", autouse=True)
def pyright() -> None:
    """Look for pyright; where there is none, skip, but never among the project's checks."""
    if find_spec("pyright") is None and not os.environ.get("CI"):
        pytest.skip("pyright is not installed")
    assert find_spec("pyright"), "pyright is not installed"


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory, pyright: None) -> Iterator[Editor]:
    """Open a file in which each model's method is being called."""
    with opened(tmp_path_factory.mktemp("program")) as editor:
        editor.type(PROGRAM + "".join(f"client.{method}(\n" for method in METHODS))
        yield editor


@pytest.mark.parametrize("method", METHODS)
def test_an_editor_shows_the_fields_of_a_method(editor: Editor, method: str) -> None:
    """While a call is typed its arguments are listed, with the names that the class has."""
    shown = [part["label"] for part in editor.signature_at(f"client.{method}(")["parameters"]]
    asked = inspect.signature(getattr(_known.ModelMethods, method)).parameters
    assert [label.partition(":")[0] for label in shown] == ["*", *[*asked][1:]]


def test_an_editor_shows_what_flux_fill_takes(editor: Editor) -> None:
    """Types and defaults of flux_fill stand in the signature, its sentence beside the name."""
    label = editor.signature_at("client.flux_fill(")["label"]
    assert "image: ImageSource" in label
    assert "mask_image: ImageSource" in label
    assert "prompt: str | None = None" in label
    assert "guidance_scale: float = 30" in label
    told = editor.hover_at("client.flux_fill")
    assert "Fill the white part of a mask" in told
    assert all(field.name in told for field in attrs.fields(FluxFillDev))


def test_pyright_agrees_with_what_is_asserted() -> None:
    """Each type of the public interface is what public.py says, and each mistake in it is found."""
    ended = subprocess.run(  # noqa: S603 (an installed tool)
        [
            *(sys.executable, "-m", "pyright", "--pythonpath", sys.executable),
            str(Path(__file__).with_name("public.py")),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
