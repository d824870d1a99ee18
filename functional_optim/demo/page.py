"""Markup and style of the report's page."""

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["chart", "charts", "facts", "gallery", "page", "section", "table", "tiles"]

_STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f3f4f6; color: #1f2937;
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 32px 20px 48px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 18px; margin: 0 0 6px; }
p { margin: 0 0 12px; }
.lead { color: #4b5563; margin-bottom: 20px; }
section { background: #fff; border: 1px solid #e5e7eb; border-radius: 10px;
  padding: 20px 22px; margin-top: 18px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.tile { background: #fff; border: 1px solid #e5e7eb; border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: 22px; line-height: 1.3; }
.tile span { color: #6b7280; font-size: 13px; }
.charts { display: grid; gap: 18px;
  grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr)); }
.chart { margin: 0 auto 12px; width: 100%; max-width: 560px; }
.chart h3 { font-size: 14.5px; margin: 0 0 4px; }
.chart figcaption { text-align: left; }
svg { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 5px 9px; text-align: right; border-bottom: 1px solid #e5e7eb;
  white-space: nowrap; }
th { color: #6b7280; font-weight: 600; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
.scroll { overflow-x: auto; margin-bottom: 12px; }
td.best { font-weight: 700; box-shadow: inset 0 0 0 2px #166534; border-radius: 4px; }
.facts { columns: 3 220px; column-gap: 32px; list-style: none; margin: 0; padding: 0;
  font-size: 13.5px; font-variant-numeric: tabular-nums; }
.facts li { display: flex; justify-content: space-between; padding: 4px 0; gap: 12px;
  border-bottom: 1px solid #e5e7eb; color: #6b7280; break-inside: avoid; overflow-wrap: anywhere; }
.facts b { color: #1f2937; font-weight: 600; text-align: right; }
.gallery { display: flex; flex-wrap: wrap; gap: 16px; }
.gallery figure { margin: 0; width: 84px; }
.gallery svg { border: 1px solid #e5e7eb; border-radius: 4px; }
figcaption { font-size: 12.5px; color: #6b7280; text-align: center; margin-top: 4px; }
@media (max-width: 560px) {
  main { padding: 20px 10px 32px; }
  section { padding: 16px 12px; }
}
"""


def page(title: str, lead: str, *parts: str) -> str:
    """Makes a whole page; `parts` are markup, `title` and `lead` are text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n'
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(title: str, text: str, *parts: str) -> str:
    """Makes a section of the page, with a heading."""
    body = "\n".join(parts)
    return f"<section>\n<h2>{escape(title)}</h2>\n<p>{escape(text)}</p>\n{body}\n</section>"


def tiles(entries: Iterable[tuple[str, str]]) -> str:
    """Makes a row of large numbers with captions."""
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name in entries
    )
    return f'<div class="tiles">{cells}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Makes a table, which scrolls on a narrow page; cells are text, or start with `<td`."""
    first = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in rows)
    return f'<div class="scroll">\n<table>\n<tr>{first}</tr>\n{body}</table>\n</div>'


def _cell(text: str) -> str:
    return text if text.startswith("<td") else f"<td>{escape(text)}</td>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Makes a list of names and values, in columns."""
    items = (f"<li>{escape(name)} <b>{escape(value)}</b></li>" for name, value in pairs)
    return f'<ul class="facts">{"".join(items)}</ul>'


def gallery(pictures: Iterable[tuple[str, str]]) -> str:
    """Makes a gallery of small pictures with captions."""
    cells = (
        f"<figure>{svg}<figcaption>{escape(text)}</figcaption></figure>" for svg, text in pictures
    )
    return f'<div class="gallery">{"".join(cells)}</div>'


def chart(title: str, svg: str, caption: str) -> str:
    """Makes a chart with its title above, and a text that explains it below."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="chart">\n<h3>{escape(title)}</h3>\n{svg}\n{below}\n</figure>'


def charts(*figures: str) -> str:
    """Makes rows of charts: two in a row, or one on a narrow page."""
    return f'<div class="charts">{"".join(figures)}</div>'
