"""An exhibit as a module: what it must hold, and how it is loaded to be run."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from premortem.errors import ConfigurationError
from premortem.experiment.lab import Lab
from premortem.experiment.parts import PARTS
from premortem.model.prediction import EXHIBIT_MODULE


class Exhibit(Protocol):
    """The form of a failure, in the museum and in anybody's own tests.

    `NEEDS = ("postgres", "valkey")` is optional: the servers that `lab` has to have ready.
    """

    PREDICTION: object
    broken: Callable[..., Any]
    fixed: Callable[..., Any]

    def scenario(self, subject: Callable[..., Any], lab: Lab) -> object:
        """One story, told to both variants: healthy first, then strike, then judge."""
        ...


def load(path: Path) -> Exhibit:
    """Import an exhibit from its file. ConfigurationError when a part of it is not what it has to be."""
    name = f"{EXHIBIT_MODULE}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{path}: is not a Python file; an exhibit is a module, name it something.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    for part in ("broken", "fixed", "scenario"):
        if not callable(getattr(module, part, None)):
            raise ConfigurationError(f"{path}: {part} has to be a function; write {PARTS[part]}")
    return cast("Exhibit", module)
