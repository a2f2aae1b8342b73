"""The calls by which files below a folder are written and read: recorded, counted, made to fail.

`Disk` replaces the functions of `os` and `open` that reach the disk, and what they return, for as
long as a block lasts. Other files, such as modules that are imported meanwhile, are left alone.
"""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

#: Functions of `os` whose first argument is a path; `rename` and `replace` have two.
_BY_PATH = (
    *("open", "stat", "lstat", "mkdir", "rmdir", "unlink", "remove", "replace", "rename"),
    *("listdir", "scandir", "utime", "chmod", "link", "symlink"),
)
#: Functions of `os` whose first argument is a descriptor.
_BY_DESCRIPTOR = ("write", "pwrite", "read", "pread", "fsync", "fdatasync", "fstat", "ftruncate")
_METHODS = ("read", "readinto", "readline", "write", "flush")


class KilledError(BaseException):
    """From here on nothing reaches the disk any more, as after SIGKILL."""


class Disk:
    """Watches what a block does to files below a folder.

    Args:
        root: The folder.
        before: Called before each call with its name, its path and the bytes that are written, if
            any; what it raises, the call raises.
        after: Called when a call has succeeded.
    """

    def __init__(
        self,
        root: Path,
        before: Callable[[str, str, bytes], None] | None = None,
        after: Callable[[str, str, bytes], None] | None = None,
    ) -> None:
        self.root = os.path.realpath(root)
        self.calls: list[str] = []
        self._before, self._after = before, after
        self._paths: dict[int, str] = {}
        self._patches: list[Any] = []

    def __enter__(self) -> Disk:
        for name in _BY_PATH:
            self._replace(os, name, self._by_path(name, getattr(os, name)))
        for name in _BY_DESCRIPTOR:
            self._replace(os, name, self._by_descriptor(name, getattr(os, name)))
        opened = self._opened(io.open)
        self._replace(io, "open", opened)
        self._replace(builtins, "open", opened)
        return self

    def __exit__(self, *_: object) -> None:
        while self._patches:
            self._patches.pop().stop()

    def _replace(self, owner: Any, name: str, function: Any) -> None:
        patch = mock.patch.object(owner, name, function)
        patch.start()
        self._patches.append(patch)

    def _below(self, path: Any) -> str | None:
        """The path, if it lies below the folder."""
        if isinstance(path, int):
            return self._paths.get(path)
        text = os.path.abspath(os.fsdecode(path))
        return text if text == self.root or text.startswith(self.root + os.sep) else None

    def tell(self, name: str, path: str, content: bytes, call: Callable[[], Any]) -> Any:
        """Make a call, told before and after."""
        self.calls.append(name)
        if self._before is not None:
            self._before(name, path, content)
        result = call()
        if self._after is not None:
            self._after(name, path, content)
        return result

    def _by_path(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            below = None if options.get("dir_fd") is not None else self._below(path)
            if below is None:
                return real(path, *arguments, **options)
            target = f"{below}\0{os.path.abspath(arguments[0])}" if name in _TWO else below
            found = self.tell(name, target, b"", lambda: real(path, *arguments, **options))
            if name == "open":
                self._paths[found] = below
            return found

        return call

    def _by_descriptor(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(descriptor: int, *arguments: Any, **options: Any) -> Any:
            below = self._paths.get(descriptor)
            if below is None or below != _path_of(descriptor, below):
                self._paths.pop(descriptor, None)
                return real(descriptor, *arguments, **options)
            content = bytes(arguments[0]) if name in ("write", "pwrite") else b""
            return self.tell(name, below, content, lambda: real(descriptor, *arguments, **options))

        return call

    def _opened(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            below = self._below(file)
            if below is None or isinstance(file, int):
                return real(file, mode, *arguments, **options)
            found = self.tell(
                f"open({mode})", below, b"", lambda: real(file, mode, *arguments, **options)
            )
            self._paths[found.fileno()] = below
            return _File(found, below, self)

        return call


_TWO = ("replace", "rename", "link", "symlink")


def _path_of(descriptor: int, otherwise: str) -> str:
    """What a descriptor stands for now: its number may have been given to another file since."""
    try:
        now = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return otherwise
    return now.removesuffix(" (deleted)")


class _File:
    """A file whose reads and writes are told."""

    def __init__(self, file: Any, path: str, disk: Disk) -> None:
        self._file, self._path, self._disk = file, path, disk

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._file, name)
        if name not in _METHODS:
            return found

        def call(*arguments: Any) -> Any:
            content = arguments[0] if name == "write" else b""
            content = content.encode() if isinstance(content, str) else bytes(content)
            try:
                return self._disk.tell(
                    f"file.{name}", self._path, content, lambda: found(*arguments)
                )
            except KilledError:
                self.forget()
                raise

        return call

    def forget(self) -> None:
        """Lose what was written and not yet handed to the system, as a killed process does."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, self._file.fileno())
        os.close(nowhere)

    def __enter__(self) -> _File:
        self._file.__enter__()
        return self

    def __exit__(self, *raised: Any) -> Any:
        if raised[0] is not None and issubclass(raised[0], KilledError):
            self.forget()
        return self._file.__exit__(*raised)

    def __iter__(self) -> Any:
        return iter(self._file)
