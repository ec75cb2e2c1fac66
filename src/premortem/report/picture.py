"""The table of verdicts as an SVG picture for a README: text that can be selected, and not one outside address.

Rich draws it; the frame is our own, because Rich's loads its font from the web.
"""

from __future__ import annotations

import io

from rich.console import Console

from premortem.model import Run
from premortem.report.terminal import summary, verdicts

_COLUMNS = 132
# Placeholders are those of rich.console.Console.export_svg. The namespace is a name; nothing is fetched from it.
_FRAME = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>premortem prove</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: system-ui, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def render(run: Run) -> str:
    """The picture, drawn as on a terminal of 132 columns."""
    console = Console(
        record=True,
        width=_COLUMNS,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        no_color=False,
        highlight=False,
        emoji=False,
    )
    if run.proofs:
        console.print(verdicts(run, _COLUMNS))
        console.print()
    console.print(summary(run))
    return console.export_svg(title="premortem prove", code_format=_FRAME)
