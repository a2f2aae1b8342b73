"""Image files below class folders: what is taken, what is passed over, and where links may lead.

Class folders are the folders of the root that are not hidden. Links are followed as far as they
leave every image in one class, once:

* a link that leads to the root or above it, to another class or into one, is passed over;
* a folder or file that a class reaches twice counts once, under its own name or the first link's;
* a link to a file or folder elsewhere is followed; hard links are files of their own.
"""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from audit.errors import DataError

HIDDEN: Final = "hidden"
NO_ENDING: Final = "no ending"
NOT_A_FILE: Final = "neither a file nor a folder"
BROKEN: Final = "broken link"
BACK_UP: Final = "link to a folder above"
OTHER_CLASS: Final = "link into another class"
TWICE: Final = "link to what the class has already"
NO_CLASS: Final = "outside class folders"


class ClassFolders:
    """The class folders of a root.

    Attributes:
        names: Of the folders, sorted.
        skipped: What was passed over → how many.

    Args:
        root: The folder of class folders.
        only: The one folder of the root that is looked at; the others are then no classes.

    Raises:
        DataError: The folder cannot be read, or two class folders are one by a link.
    """

    def __init__(self, root: Path, only: str | None = None) -> None:
        self.skipped: collections.Counter[str] = collections.Counter()
        self._root = str(root)
        self._real_root = os.path.realpath(root)
        real: dict[str, str] = {}
        if only is not None:
            real[only] = os.path.realpath(root / only)
        for entry in [] if only is not None else _entries(self._root):
            if entry.name.startswith("."):
                self.skipped[HIDDEN] += 1
            elif not entry.is_dir():
                self.skipped[NO_CLASS] += 1
            elif entry.is_symlink() and is_below(self._real_root, os.path.realpath(entry.path)):
                self.skipped[BACK_UP] += 1
            else:
                is_link = entry.is_symlink()
                plain = os.path.join(self._real_root, entry.name)
                real[entry.name] = os.path.realpath(entry.path) if is_link else plain
        self.names = sorted(real)
        self._real = real
        self._refuse_shared()

    def _refuse_shared(self) -> None:
        """Refuse class folders of which one is, or lies in, another."""
        ordered = sorted(self.names, key=lambda name: self._real[name] + os.sep)
        for before, name in itertools.pairwise(ordered):
            if is_below(self._real[name], self._real[before]):
                raise DataError(
                    f"the class folders {before!r} and {name!r} of {self._root} are one folder, "
                    "or one leads into the other, so that an image would have two classes; remove "
                    "the link"
                )

    def images(self, name: str, extensions: Sequence[str]) -> list[str]:
        """The images of one class: paths relative to the root, sorted.

        Raises:
            DataError: A folder cannot be read.
        """
        walk = _Walk(self, name, extensions)
        walk.folder(f"{self._root}/{name}", name, self._real[name])
        walk.links()
        return sorted(walk.found)

    def refusal(self, target: str, name: str) -> str:
        """Why a link of a class must not be followed to this real path, or ""."""
        if is_below(self._real_root, target):
            return BACK_UP
        for other, real in self._real.items():
            if other != name and (is_below(target, real) or is_below(real, target)):
                hidden = "/." in target.removeprefix(real) and is_below(target, real)
                return "" if hidden else OTHER_CLASS
        return BACK_UP if is_below(self._real[name], target) else ""


class _Walk:
    """The files that one class reaches."""

    def __init__(self, folders: ClassFolders, name: str, extensions: Sequence[str]) -> None:
        self.found: list[str] = []
        self._folders, self._name = folders, name
        self._extensions = tuple(extensions)
        self._skipped = folders.skipped
        self._walked: set[str] = set()
        self._linked: set[str] = set()
        self._links: collections.deque[tuple[str, str]] = collections.deque()

    def folder(self, path: str, relative: str, real: str) -> None:
        """Take the files of a folder and of all below it; put links aside."""
        waiting = [(path, relative, real)]
        while waiting:
            path, relative, real = waiting.pop()
            if real in self._walked:
                self._skipped[TWICE] += 1
                continue
            self._walked.add(real)
            for entry in _entries(path):
                name = entry.name
                if name.startswith("."):
                    self._skipped[HIDDEN] += 1
                elif entry.is_symlink():
                    self._links.append((entry.path, f"{relative}/{name}"))
                elif entry.is_dir():
                    waiting.append((entry.path, f"{relative}/{name}", f"{real}/{name}"))
                elif not entry.is_file():
                    self._skipped[NOT_A_FILE] += 1
                elif self._is_image(name):
                    self.found.append(f"{relative}/{name}")

    def links(self) -> None:
        """Follow the links that may be followed, after all that is there without them."""
        while self._links:
            batch = sorted(self._links)
            self._links.clear()
            for path, relative in batch:
                self._link(path, relative)

    def _link(self, path: str, relative: str) -> None:
        """Follow one link."""
        target = os.path.realpath(path)
        is_folder = os.path.isdir(target)
        refusal = self._folders.refusal(target, self._name)
        if not is_folder and not os.path.isfile(target):
            self._skipped[NOT_A_FILE if os.path.exists(target) else BROKEN] += 1
        elif is_folder and target in self._walked:
            self._skipped[TWICE] += 1
        elif refusal:
            self._skipped[refusal] += 1
        elif is_folder:
            self.folder(path, relative, target)
        elif self._is_image(os.path.basename(path)):
            folder, name = os.path.split(target)
            listed = folder in self._walked and self._is_image(name, count=False)
            if target in self._linked or (listed and not name.startswith(".")):
                self._skipped[TWICE] += 1
            else:
                self._linked.add(target)
                self.found.append(relative)

    def _is_image(self, name: str, count: bool = True) -> bool:
        """Whether a file is an image by its ending; others are counted."""
        ending = os.path.splitext(name)[1].lower()
        if ending in self._extensions:
            return True
        if count:
            self._skipped[ending or NO_ENDING] += 1
        return False


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies below it; both are real paths."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def folders_in(folder: Path) -> list[str]:
    """Names of the folders in a folder that are not hidden."""
    return [e.name for e in _entries(str(folder)) if e.is_dir() and not e.name.startswith(".")]


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted by name.

    Raises:
        DataError: It cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"folder {folder} cannot be read: {error}") from error
