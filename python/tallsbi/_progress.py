"""How far long work is, on a terminal."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

Progress = Callable[[str, str, int, int, str], None]


class _Line:
    """One line on standard error that is written over; a tqdm bar where tqdm is installed."""

    def __init__(self) -> None:
        self.stage = ""
        self.bar: Any = None
        try:
            tqdm: Any = importlib.import_module("tqdm.auto").tqdm
        except ImportError:
            tqdm = None
        self.tqdm: Any = tqdm

    def __call__(self, stage: str, unit: str, done: int, total: int, note: str) -> None:
        if self.tqdm is None:
            share = f"{100 * done // total} %" if total else f"{done} {unit}"
            end = "\n" if total and done >= total else ""
            print(f"\r{stage}: {share} {note}\x1b[K", end=end, file=sys.stderr, flush=True)
            return
        if stage != self.stage:
            if self.bar is not None:
                self.bar.close()
            self.stage, self.bar = stage, self.tqdm(desc=stage, unit=" " + unit, total=total or None)
        self.bar.update(done - self.bar.n)
        if note:
            self.bar.set_postfix_str(note, refresh=False)
        if total and done >= total:
            self.bar.refresh()


def resolve(progress: Progress | bool | None) -> Progress | None:
    """The callback that `progress` asks for: itself, a line (True; None on a terminal), or none."""
    if callable(progress):
        return progress
    if progress or (progress is None and sys.stderr.isatty()):
        return _Line()
    return None
