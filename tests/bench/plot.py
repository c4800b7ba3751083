"""Line charts as SVG, written by hand."""

from __future__ import annotations

import dataclasses
import math
from html import escape

WIDTH, HEIGHT = 330, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 34, 44
GAP = 12
LEGEND = 26
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555")


@dataclasses.dataclass(frozen=True)
class Line:
    """A series of points. `dashed`: worked out from a measured value, not measured."""

    name: str
    points: tuple[tuple[float, float], ...]
    dashed: bool = False


@dataclasses.dataclass(frozen=True)
class Panel:
    title: str
    x: str
    y: str
    lines: tuple[Line, ...]


def decades(low: float, high: float) -> list[float]:
    """Powers of ten around both, two at least."""
    first = math.floor(math.log10(low))
    last = max(math.ceil(math.log10(high)), first + 1)
    return [10.0**n for n in range(first, last + 1)]


def steps(high: float) -> list[float]:
    """Round numbers from 0 to `high` or a little more, some four of them."""
    if high <= 0:
        return [0.0, 1.0]
    raw = high / 4
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * n for n in (1, 2, 5, 10) if unit * n >= raw)
    return [step * n for n in range(math.ceil(high / step) + 1)]


def number(value: float) -> str:
    return f"{value:g}" if value < 1e5 else f"{value:.0e}"


def text(x: float, y: float, content: str, anchor: str = "middle", size: int = 11, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{more}>{escape(content)}</text>'


def panel(chart: Panel, colours: dict[str, str]) -> list[str]:
    """One chart; the processor time goes up in decades, as a peer's is hundreds of times ours."""
    points = [p for line in chart.lines for p in line.points if p[1] > 0]
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    out = [text(middle, 18, chart.title, size=13, more=' font-weight="bold"')]
    if not points:
        return [*out, text(middle, HEIGHT / 2, "not measured")]
    xs, ys = steps(max(x for x, _ in points)), decades(min(y for _, y in points), max(y for _, y in points))
    low, high = math.log10(ys[0]), math.log10(ys[-1])

    def at(x: float, y: float) -> tuple[float, float]:
        return (LEFT + (WIDTH - LEFT - RIGHT) * x / xs[-1],
                HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (math.log10(y) - low) / (high - low))

    for y in ys:
        _, height = at(0, y)
        out.append(f'<line x1="{LEFT}" y1="{height:.1f}" x2="{WIDTH - RIGHT}" y2="{height:.1f}" stroke="#ddd"/>')
        out.append(text(LEFT - 6, height + 4, number(y), "end"))
    for x in xs:
        across, _ = at(x, ys[0])
        out.append(f'<line x1="{across:.1f}" y1="{HEIGHT - BOTTOM}" x2="{across:.1f}" y2="{HEIGHT - BOTTOM + 4}" stroke="#333"/>')
        out.append(text(across, HEIGHT - BOTTOM + 17, number(x)))
    out.append(f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#333"/>')
    out.append(text(middle, HEIGHT - 8, chart.x))
    out.append(text(14, (TOP + HEIGHT - BOTTOM) / 2, chart.y, more=f' transform="rotate(-90 14 {(TOP + HEIGHT - BOTTOM) / 2:.1f})"'))
    for line in chart.lines:
        out += drawn([at(x, y) for x, y in sorted(line.points) if y > 0], colours[line.name], line.dashed)
    return out


def drawn(points: list[tuple[float, float]], colour: str, dashed: bool) -> list[str]:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>', *dots]


def svg(panels: list[Panel]) -> str:
    """The charts side by side, and a legend below."""
    names = list(dict.fromkeys(line.name for chart in panels for line in chart.lines))
    colours = {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(names)}
    dashed = {line.name for chart in panels for line in chart.lines if line.dashed}
    width, height = len(panels) * (WIDTH + GAP) - GAP, HEIGHT + LEGEND
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" fill="#222">',
           f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for n, chart in enumerate(panels):
        out += [f'<g transform="translate({n * (WIDTH + GAP)} 0)">', *panel(chart, colours), "</g>"]
    at = float(LEFT)
    for name in names:
        dash = ' stroke-dasharray="5 4"' if name in dashed else ""
        out.append(f'<line x1="{at:.0f}" y1="{HEIGHT + 10}" x2="{at + 24:.0f}" y2="{HEIGHT + 10}" stroke="{colours[name]}" '
                   f'stroke-width="2"{dash}/>')
        out.append(text(at + 30, HEIGHT + 14, name, "start"))
        at += 30 + 6.5 * len(name) + 26
    return "\n".join([*out, "</svg>", ""])
