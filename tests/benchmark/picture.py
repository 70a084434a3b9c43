"""A curve as an SVG of its own: nothing else is needed to show it, and it can be read on white and on black."""

import math
import statistics
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 44, 52

STYLE = """
  svg { --ink: #1f2933; --faint: #d5dbe1; --line: #1769aa; --band: #1769aa; --mark: #b4500b; background: transparent }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e4e7eb; --faint: #3a4650; --line: #6cb6f5; --band: #6cb6f5; --mark: #f2a65a } }
  text { font: 13px system-ui, sans-serif; fill: var(--ink) } .title { font-weight: 600; font-size: 15px }
  .grid { stroke: var(--faint); stroke-width: 1 } .line { stroke: var(--line); stroke-width: 2; fill: none }
  .band { fill: var(--band); opacity: .18 } .dot { fill: var(--line) }
  .mark { stroke: var(--mark); stroke-width: 1.5; stroke-dasharray: 5 4 } .marked { fill: var(--mark) }
"""


def draw(title, curve):
    """The SVG of a report.Curve: the median, a band from the lowest to the highest round, and the default."""
    points = sorted((x, min(ys), statistics.median(ys), max(ys)) for x, ys in curve.points)
    across, up = _across(curve, points), _up(points)
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" '
             f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">', f"<style>{STYLE}</style>",
             f'<text class="title" x="{LEFT}" y="24">{escape(title)}</text>',
             f'<text x="{WIDTH - RIGHT}" y="24" text-anchor="end">{escape(curve.y)}</text>',
             f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(curve.x)}</text>']
    for value in _ticks(up.top):
        parts += [f'<path class="grid" d="M{LEFT} {up(value):.1f}H{WIDTH - RIGHT}"/>',
                  f'<text x="{LEFT - 8}" y="{up(value) + 4:.1f}" text-anchor="end">{_number(value)}</text>']
    for x, _low, _middle, _high in points:
        parts.append(f'<text x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_number(x)}</text>')
    if curve.mark is not None:
        at, name = across(curve.mark), escape(curve.mark_name)
        parts += [f'<path class="mark" d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>',
                  f'<text class="marked" x="{at + 6:.1f}" y="{HEIGHT - BOTTOM - 8}">{name}</text>']
    there = " ".join(f"{across(x):.1f},{up(high):.1f}" for x, _low, _middle, high in points)
    back = " ".join(f"{across(x):.1f},{up(low):.1f}" for x, low, _middle, _high in reversed(points))
    line = " ".join(f"{across(x):.1f},{up(middle):.1f}" for x, _low, middle, _high in points)
    parts += [f'<polygon class="band" points="{there} {back}"/>', f'<polyline class="line" points="{line}"/>']
    parts += [f'<circle class="dot" cx="{across(x):.1f}" cy="{up(middle):.1f}" r="3.5"><title>{_number(x)}: {middle:.4g}'
              f" ({low:.4g} - {high:.4g})</title></circle>" for x, low, middle, high in points]
    return "\n".join(parts + ["</svg>", ""])


def _across(curve, points):
    scale = math.log if curve.log else float
    low, high = scale(points[0][0]), scale(points[-1][0])
    return lambda x: LEFT + (scale(x) - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT)


def _up(points):
    top = max(high for _x, _low, _middle, high in points) * 1.08 or 1

    def place(y):
        return HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)
    place.top = top
    return place


def _ticks(top):
    """Four to eight round values from zero up."""
    step = 10 ** math.floor(math.log10(top / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if top / (step * factor) <= 8)
    return [step * n for n in range(int(top / step) + 1)]


def _number(value):
    if value >= 1_000_000:
        return f"{value / 1_000_000:.3g}M"
    if value >= 10_000 and value % 1000 == 0:
        return f"{value / 1000:g}k"
    return f"{value:.6g}"
