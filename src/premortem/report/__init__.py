"""One frozen record in, text out: every form in which a run can be read, in one table.

Nothing is imported until a form is asked for: the command line starts without its templates and tables.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from premortem.errors import ConfigurationError, MissingRequirementError
from premortem.model import Run

Render = Callable[[Run], str]

# The module that renders each form, and what its file is called when it is written beside the journal.
FORMATS: dict[str, tuple[str, str]] = {
    "text": ("premortem.report.terminal", "report.txt"),
    "json": ("premortem.report.as_json", "report.json"),
    "junit": ("premortem.report.junit", "junit.xml"),
    "markdown": ("premortem.report.markdown", "report.md"),
    "html": ("premortem.report.html", "report.html"),
    "svg": ("premortem.report.picture", "report.svg"),
}


def render(run: Run, form: str) -> str:
    """The run in one of FORMATS. ConfigurationError for any other name, MissingRequirementError without its library."""
    return renderer(form)(run)


def renderer(form: str) -> Render:
    """The function behind a name of FORMATS; errors as `render`."""
    if form not in FORMATS:
        raise ConfigurationError(f"format {form!r}: is not one that a run is written in; take {', '.join(FORMATS)}")
    try:
        module = import_module(FORMATS[form][0])
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("premortem"):
            raise
        raise MissingRequirementError(
            error.name, f"format {form!r} is made with it", "pip install 'premortem[lab]'"
        ) from error
    return cast("Render", module.render)
