"""Names of files: a template that is checked first and never leads out of the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.samples import searched
from tests.wire import ID
from wavespeed_async import (
    FluxFillDev,
    Folder,
    InvalidRequestError,
    Prediction,
    RawRequest,
    Request,
)

FILL = FluxFillDev(image="https://a.test/a", mask_image="https://a.test/b", seed=7)


def prediction(*, outputs: int = 1, request: Request | None = FILL, **more: Any) -> Prediction:
    fields = {"id": ID, "model": "wavespeed-ai/flux-kontext-dev/multi", **more}
    return Prediction(outputs=("https://a.test/x",) * outputs, request=request, **fields)


@pytest.mark.parametrize(
    ("name", "outputs", "stems"),
    [
        ("{id}", 1, [ID]),
        ("{id}", 2, [f"{ID}-1", f"{ID}-2"]),
        ("{index:04}-{seed}", 1, ["0003-7"]),
        ("{index}_{number:02d}", 2, ["3_01", "3_02"]),
        ("{model}/{seed}/{number}", 1, ["flux-kontext-dev-multi/7/1"]),
        ("Zürich {{x}}", 1, ["Zürich {x}"]),
    ],
)
def test_a_name_is_made_of_what_a_picture_is(name: str, outputs: int, stems: list[str]) -> None:
    """Each field stands for its part; several outputs are numbered where the name does not."""
    found = Folder("out", name=name).stems(prediction(outputs=outputs), 3)
    assert found == [Path("out") / stem for stem in stems]


@pytest.mark.parametrize(
    ("request_", "seed"),
    [
        (None, -1),
        (RawRequest("m/m", {}), -1),
        (RawRequest("m/m", {"seed": 5}), 5),
        (RawRequest("m/m", {"seed": "x"}), -1),
        (FILL, 7),
    ],
)
def test_the_seed_is_the_one_that_was_sent(request_: Request | None, seed: int) -> None:
    """Where it is not known, -1 stands there."""
    (stem,) = Folder("out", name="{seed}").stems(prediction(request=request_), None)
    assert stem.name == str(seed)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/{id}",
        "../{id}",
        "a/../{id}",
        "a//{id}",
        "./{id}",
        ".{id}",
        "{id}.",
        " {id}",
        "a\\{id}",
        "C:{id}",
        "{id}\0",
        "{id}*",
        "\ud800",
        "x" * 151,
        "{",
        "{}",
        "{0}",
        "{prompt}",
        "{id.__class__}",
        "{id[0]}",
        "{id!r}",
        "{id:5}",
        "{index:999999999}",
        "{index:{seed}}",
        "{index:>5}",
        7,
        None,
    ],
)
def test_a_name_that_cannot_be_is_refused_at_once(name: Any) -> None:
    """The error says which it is and what a name may have, before anything is fetched."""
    with pytest.raises(InvalidRequestError, match="name") as caught:
        Folder("out", name=name)
    assert (caught.value.field, caught.value.value) == ("name", name)


@pytest.mark.parametrize("existing", ["", "skip", None, True])
def test_files_are_kept_or_replaced(existing: Any) -> None:
    """There is no third way."""
    with pytest.raises(InvalidRequestError, match="replace or keep"):
        Folder("out", existing=existing)


def test_an_index_is_of_a_batch() -> None:
    """A single prediction has none."""
    with pytest.raises(InvalidRequestError, match="not of a batch"):
        Folder("out", name="{index}").stems(prediction(), None)


@pytest.mark.parametrize(
    ("name", "existing", "journal", "good"),
    [
        ("{id}", "replace", True, True),
        ("{index}", "replace", False, True),
        ("{index}", "replace", True, False),
        ("{model}-{seed}", "replace", False, False),
        ("{model}", "keep", True, True),
    ],
)
def test_no_picture_of_a_batch_replaces_another(
    name: str, existing: Any, journal: bool, good: bool
) -> None:
    """Names that requests may share are refused, unless files are kept."""
    folder = Folder("out", name=name, existing=existing)
    if good:
        folder.check_batch(journal=journal)
    else:
        with pytest.raises(InvalidRequestError, match="replace one another"):
            folder.check_batch(journal=journal)


def test_what_is_given_beside_a_folder_comes_first() -> None:
    """An argument replaces its part of the folder, the rest stays."""
    folder = Folder("out", name="{seed}", existing="keep", metadata=True)
    assert Folder.of(folder) is folder
    assert Folder.of("out") == Folder(Path("out"))
    assert Folder.of(folder, metadata=False) == Folder("out", name="{seed}", existing="keep")
    assert Folder.of("out", name="{seed}", existing="keep", metadata=True) == folder
    assert Folder.of(folder, name="{id}", existing="replace", metadata=False) == Folder("out")


@given(
    st.lists(st.sampled_from(["{id}", "{model}", "{seed}", "/", "..", ".", "a", "\\", "-"])),
    st.text(max_size=80),
    st.text(max_size=80),
)
@searched
def test_no_name_leads_out_of_the_folder(parts: list[str], prediction_id: str, model: str) -> None:
    """Whatever the template, the id and the model are, the file is within the folder or refused."""
    try:
        folder = Folder("/out", name="".join(parts))
    except InvalidRequestError:
        return
    (stem,) = folder.stems(prediction(id=prediction_id, model=model), None)
    assert stem.is_relative_to("/out")
    assert ".." not in stem.parts
    assert not any(part.startswith(".") for part in stem.parts[2:])
