"""Presets of the agent image: which toolchains an image has, and which of them a repository needs.

``agent-image/Dockerfile`` builds one image for each preset, from one file.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Collection

ImagePreset = Literal["base", "node", "python", "go", "rust", "full"]

PRESETS: tuple[ImagePreset, ...] = get_args(ImagePreset)

PLACEHOLDER = "{preset}"
"""Stands in ``[agents] image`` for the preset of a run."""

FALLBACK: ImagePreset = "full"
"""For a run of which nothing is known: larger than need be, but it lacks nothing that another preset has."""

_MARKS: dict[ImagePreset, tuple[str, ...]] = {
    "node": (
        "package.json", "package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml", "pnpm-workspace.yaml",
        "yarn.lock", ".nvmrc",
    ),
    "python": (
        "pyproject.toml", "setup.py", "setup.cfg", "requirements*.txt", "Pipfile", "Pipfile.lock",
        "poetry.lock", "uv.lock", "tox.ini", "pytest.ini", "noxfile.py", ".python-version",
    ),
    "go": ("go.mod", "go.work"),
    "rust": ("Cargo.toml", "Cargo.lock", "rust-toolchain", "rust-toolchain.toml"),
}  # fmt: skip


def detect_preset(names: Collection[str]) -> ImagePreset:
    """Return the preset that a repository needs: that of its one language, else ``full`` or ``base``.

    :param names: of the files in the root of the repository, without folders.
    """
    needed = [
        preset
        for preset, marks in _MARKS.items()
        if any(fnmatchcase(name, mark) for mark in marks for name in names)
    ]
    if not needed:
        return "base"
    return needed[0] if len(needed) == 1 else "full"


def image_of_preset(image: str, preset: ImagePreset | None) -> str:
    """Return an image's name with the preset in the place of ``{preset}``.

    :param image: as in ``[agents] image``; one without the placeholder is returned as it is.
    :param preset: ``None`` where none was chosen: :data:`FALLBACK`.
    """
    return image.replace(PLACEHOLDER, preset or FALLBACK)
