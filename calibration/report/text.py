"""Numbers and tables as text of the report's page."""

import html
import math
from collections.abc import Iterable, Sequence


def escape(text: object) -> str:
    return html.escape(str(text))


def number(value: float | None, form: str, missing: str = "&ndash;") -> str:
    """`value` in the given format, with a true minus sign, none where it rounds to zero; `missing` for None and NaN."""
    if value is None or not math.isfinite(value):
        return missing
    text = format(value, form)
    if not any(digit in text for digit in "123456789"):
        return text.lstrip("+-")
    return text.replace("-", "\N{MINUS SIGN}")


def plus_minus(value: float | None, std: float | None, form: str) -> str:
    """Value and standard deviation as HTML; the deviation is left out where it is unknown or zero."""
    text = number(value, form)
    if std and math.isfinite(std):
        text += f" <i>± {number(std, form.lstrip('+'))}</i>"
    return text


def table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: Sequence[int] = (0,)) -> str:
    """An HTML table of cells that are HTML already."""

    def row(tag: str, cells: Sequence[str]) -> str:
        marked = (
            f"<{tag}{' class=text' if index in text_columns else ''}>{cell}</{tag}>" for index, cell in enumerate(cells)
        )
        return f"<tr>{''.join(marked)}</tr>"

    body = "\n".join(row("td", cells) for cells in rows)
    return f'<div class="scroll"><table><thead>{row("th", header)}</thead><tbody>\n{body}\n</tbody></table></div>'


def sentence(text: str) -> str:
    """`text` with a capital letter and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) or not text else ".")
