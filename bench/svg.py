"""Line charts as small SVG files: time on one axis, one line per series."""

COLORS = ("#1f5fa8", "#c8501e", "#2e8b57", "#7a4ba0", "#b8860b", "#555555", "#c2185b")
WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 30, 44
POINTS_MAX = 240


def thin(points):
    """At most POINTS_MAX of them; of each group the highest, so that no peak is lost."""
    size = -(-len(points) // POINTS_MAX)
    return [max(points[i:i + size], key=lambda p: p[1]) for i in range(0, len(points), size)]


def ticks(top):
    """Round numbers from 0 to at least @top, four to eight of them."""
    step = 1
    while top / step > 8:
        step *= 2.5 if str(step)[0] == "2" else 2
    return [i * step for i in range(int(-(-top // step)) + 1)]


def chart(path, title, series, unit, seconds, marks=()):
    """@series: name -> [(second, value)]. @marks: (second, text) of vertical lines."""
    top = max([v for points in series.values() for _, v in points] + [1])
    scale = ticks(top)
    minutes = ticks(max(1, seconds / 60))
    x_max = minutes[-1] * 60

    def x(t):
        return LEFT + (WIDTH - LEFT - RIGHT) * t / x_max

    def y(v):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * v / scale[-1]

    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" '
           'height="%d" font-family="sans-serif" font-size="11">' % (
               WIDTH, HEIGHT, WIDTH, HEIGHT),
           '<rect width="100%%" height="100%%" fill="#fff"/>'
           '<text x="%d" y="16" font-size="13" font-weight="bold">%s</text>' % (LEFT, title)]
    for v in scale:
        out.append('<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" '
                   'text-anchor="end">%s</text>' % (
                       LEFT, y(v), WIDTH - RIGHT, LEFT - 5, y(v) + 4, "%g" % v))
    for m in minutes:
        out.append('<text x="%.1f" y="%d" text-anchor="middle">%g</text>' % (
            x(m * 60), HEIGHT - BOTTOM + 14, m))
    out.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (LEFT - 5, TOP - 10, unit))
    out.append('<text x="%d" y="%d" text-anchor="end">minutes</text>' % (
        WIDTH - RIGHT, HEIGHT - BOTTOM + 28))
    for t, text in marks:
        out.append('<path d="M%.1f %dV%d" stroke="#999" stroke-dasharray="4 3"/><text '
                   'x="%.1f" y="%d" fill="#666">%s</text>' % (
                       x(t), TOP, HEIGHT - BOTTOM, x(t) + 3, TOP + 10, text))
    at = LEFT
    for i, (name, points) in enumerate(series.items()):
        color = COLORS[i % len(COLORS)]
        line = "L".join("%.1f %.1f" % (x(t), y(v)) for t, v in thin(points))
        out.append('<path d="M%s" fill="none" stroke="%s" stroke-width="1.4"/>' % (line, color))
        out.append('<path d="M%d %dh14" stroke="%s" stroke-width="3"/><text x="%d" y="%d">%s'
                   '</text>' % (at, HEIGHT - 10, color, at + 18, HEIGHT - 6, name))
        at += 30 + 7 * len(name)
    out.append("</svg>\n")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out))
