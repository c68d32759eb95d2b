"""Files that are whole or absent, and the checkpoints of training."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file, beside it first, so that no half of one is ever there."""
    beside = f"{os.fspath(path)}.partial"
    try:
        with open(beside, "wb") as file:
            file.write(data)
        os.replace(beside, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(beside)


class CheckpointFile:
    """Where a training run keeps its checkpoint: `found` is that of an interrupted one, which is in the way unless it is to be resumed."""

    def __init__(self, path: str | os.PathLike[str], resume: bool) -> None:
        self.path, self.found = path, None
        name = os.fspath(path)
        folder = os.path.dirname(name) or "."
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"checkpoint: the folder {folder} of {name} does not exist; create it first")
        if not os.path.exists(path):
            return
        if not resume:
            raise FileExistsError(f"checkpoint: {name} was left by an interrupted run; go on with it by resume=True, or remove it to start anew")
        with open(path, "rb") as file:
            self.found = file.read()

    found: bytes | None

    @property
    def keep(self) -> Callable[[bytes], None]:
        """Writes a checkpoint in place of the one before."""
        return lambda data: write_whole(self.path, data)

    def finished(self) -> None:
        """Removes it."""
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.path)
