"""Bar and line charts as SVG, small enough to read as text."""
from math import log10
from xml.sax.saxutils import escape

OURS, OTHERS, INK, FAINT = "#1d4ed8", "#9ca3af", "#1f2937", "#e5e7eb"
SHADES = [OURS, "#b45309", "#047857", "#be185d"]
WIDTH, GAP = 470, 24


class Drawing:
    """Panels in two columns."""

    def __init__(self):
        self.parts, self.columns = [], [16, 16]

    def panel(self, height):
        column = self.columns.index(min(self.columns))
        left, top = 16 + column * (WIDTH + GAP), self.columns[column]
        self.columns[column] += height + GAP
        return left, top

    def text(self, x, y, text, *, anchor="start", size=12, color=INK, weight="normal"):
        self.parts.append(f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="{size}" '
                          f'font-weight="{weight}" fill="{color}">{escape(str(text))}</text>')

    def bars(self, title, rows):
        """Draws rows of name, value and whether it is ours. A bar far longer than the others is cut and marked."""
        left, top = self.panel(26 + 20 * len(rows))
        self.text(left, top + 12, title, weight="bold")
        values = sorted(value for _, value, _ in rows)
        most = min(values[-1], 3 * values[len(values) // 2])
        for at, (name, value, ours) in enumerate(rows):
            y = top + 24 + 20 * at
            length = max(min(value / most, 1) * (WIDTH - 180), 1)
            cut = " (cut)" if value > most else ""
            self.text(left + 102, y + 12, name, anchor="end")
            self.parts.append(f'<rect x="{left + 110}" y="{y + 1}" width="{length:.0f}" height="14" rx="2" '
                              f'fill="{OURS if ours else OTHERS}"/>')
            shown = f"{value:,.1f}" if value < 100 else f"{value:,.0f}"
            self.text(left + 116 + length, y + 12, f"{shown}{cut}")

    def lines(self, title, unit, series, *, logarithmic=True):
        """Draws series of points by name; x is shown at even steps or by its logarithm."""
        left, top = self.panel(230)
        self.text(left, top + 12, title, weight="bold")
        self.text(left, top + 28, unit, size=11)
        spots = sorted({x for points in series.values() for x, _ in points})
        most = max(y for points in series.values() for _, y in points) * 1.1
        places = [log10(max(x, 0.5)) for x in spots] if logarithmic else list(range(len(spots)))
        span = places[-1] - places[0] or 1
        across = {x: left + 44 + (place - places[0]) / span * (WIDTH - 70) for x, place in zip(spots, places)}
        down = lambda y: top + 200 - y / most * 160
        for share in (0, 0.5, 1):
            y = most / 1.1 * share
            self.parts.append(f'<path d="M{left + 40} {down(y):.0f}H{left + WIDTH - 16}" stroke="{FAINT}"/>')
            self.text(left + 36, down(y) + 4, f"{y:,.3g}" if y < 1000 else f"{y:,.0f}", anchor="end", size=11)
        for x in spots:
            self.text(across[x], top + 216, short(x), anchor="middle", size=11)
        for shade, (name, points) in zip(SHADES, series.items()):
            path = "L".join(f"{across[x]:.0f} {down(y):.0f}" for x, y in points)
            self.parts.append(f'<path d="M{path}" fill="none" stroke="{shade}" stroke-width="2"/>')
            self.parts += [f'<circle cx="{across[x]:.0f}" cy="{down(y):.0f}" r="3" fill="{shade}"/>'
                           for x, y in points]
        names = [(shade, name) for shade, name in zip(SHADES, series) if len(series) > 1]
        for at, (shade, name) in enumerate(reversed(names)):
            self.text(left + WIDTH - 16 - 90 * at, top + 12, name, anchor="end", color=shade)

    def write(self, path):
        width, height = 2 * WIDTH + GAP + 32, max(self.columns)
        body = "\n".join(self.parts)
        path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
                        f'font-family="system-ui, sans-serif">\n<rect width="100%" height="100%" fill="#fff"/>\n'
                        f'{body}\n</svg>\n')


def short(number):
    for size, letter in ((1_000_000, "M"), (1 << 20, "Mi"), (1_000, "k"), (1 << 10, "Ki")):
        if number >= size and number % size == 0:
            return f"{number // size:,} {letter}"
    return f"{number:,}"
