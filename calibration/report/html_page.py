"""The frame of a report's HTML page, which needs nothing else, and of its sections."""

from calibration.report.style import STYLE
from calibration.report.text import escape


def html_page(title: str, heading: str, meta: str, body: str, footer: str) -> str:
    """The page of parts that are HTML already."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{heading}</h1>
<div class="meta">{meta}</div>
{body}
<footer>{footer}</footer>
</main>
</body>
</html>
"""


def html_section(title: str, body: str, lead: str) -> str:
    return f'<section><h2>{title}</h2><p class="lead">{lead}</p>{body}</section>'


def made_by(command: str) -> str:
    """A footer."""
    return f'<p>Made by</p><p class="command"><code>{escape(command)}</code></p>'
