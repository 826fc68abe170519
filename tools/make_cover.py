"""make cover: draws the arc of the chapter, _static/cover.svg, and the mark, _static/logo.svg.

Six pictures on a light card of their own, so that they are legible in dark mode too, two rows of
three, so that the words are legible on a telephone. Colours are Okabe and Ito's, which colour-blind
readers can tell apart, and nothing is told by colour alone.
"""

import math
import random
from pathlib import Path

STATIC = Path(__file__).resolve().parents[1] / "_static"

BLUE, SKY, GREEN, YELLOW, ORANGE, RED, PINK = (
    "#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00", "#D55E00", "#CC79A7",
)  # fmt: skip
INK, GREY, PALE, CARD, WHITE = "#22303C", "#71808E", "#E7ECF0", "#F6F4EE", "#FFFFFF"
FONT = "font-family=\"'Source Sans 3','Segoe UI',Helvetica,Arial,sans-serif\""

TILE_WIDTH, TILE_HEIGHT, GAP, MARGIN, LABEL = 216, 168, 24, 20, 46
WIDTH = 2 * MARGIN + 3 * TILE_WIDTH + 2 * GAP
HEIGHT = 2 * MARGIN + 2 * (TILE_HEIGHT + LABEL) + GAP
CLASS_COLOUR = {"M": SKY, "A": SKY, "L": SKY, "W": SKY, "R": ORANGE, "P": PINK, "G": PINK}


def text(x, y, words, size=22, colour=INK, anchor="middle", weight=400) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" {FONT} font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}" text-anchor="{anchor}">{words}</text>'
    )


def circle(x, y, r, fill, stroke="none", width=2.0) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" fill="{fill}" stroke="{stroke}" '
        f'stroke-width="{width}"/>'
    )


def box(x, y, width, height, fill, radius=3.0, more="") -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius}" '
        f'fill="{fill}" {more}/>'
    )


def path(d, stroke, width, more="") -> str:
    return (
        f'<path d="{d}" fill="none" stroke="{stroke}" stroke-width="{width}" '
        f'stroke-linecap="round" stroke-linejoin="round" {more}/>'
    )


def mixed(one: str, other: str, share: float) -> str:
    """Return the colour that lies `share` of the way from `one` to `other`."""
    channels = zip(*(bytes.fromhex(colour[1:]) for colour in (one, other)), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in channels)


def spectrum(share: float) -> str:
    """Return a colour from blue to red, as viewers colour a chain from its start to its end."""
    stops = [BLUE, SKY, GREEN, YELLOW, ORANGE, RED]
    place = min(share, 0.9999) * (len(stops) - 1)
    return mixed(stops[int(place)], stops[int(place) + 1], place % 1)


def helix(x, y, length, height, turns, tube, steps=96) -> list[str]:
    """Return a ribbon wound along x: the parts that lie behind are drawn first, and darker."""
    pieces = []
    for step in range(steps):
        ends = []
        for share in (step / steps, (step + 1) / steps):
            angle = 2 * math.pi * turns * share
            lean = 0.16 * length / turns * math.sin(angle)
            ends.append((x + length * share + lean, y - height * math.cos(angle)))
        share = (step + 0.5) / steps
        depth = math.sin(2 * math.pi * turns * share)
        colour = spectrum(share)
        colour = mixed(colour, INK, 0.34 * (1 - depth) / 2) if depth < 0.6 else colour
        (a, b), (c, d) = ends
        line = f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}"
        pieces.append((depth, path(line, colour, round(tube * (1 + 0.16 * depth), 1))))
    return [piece for _, piece in sorted(pieces, key=lambda pair: pair[0])]


def beads(x, y, letters, step, radius=15.0) -> list[str]:
    """Return a row of residues, a letter each; a question mark is a hidden one."""
    drawn = [path(f"M{x} {y}H{x + step * (len(letters) - 1)}", GREY, 3)]
    for place, letter in enumerate(letters):
        hidden = letter == "?"
        fill = WHITE if hidden else mixed(CLASS_COLOUR[letter], WHITE, 0.35)
        edge = RED if hidden else mixed(CLASS_COLOUR[letter], INK, 0.3)
        drawn.append(circle(x + step * place, y, radius, fill, edge, 3 if hidden else 1.5))
        colour = RED if hidden else INK
        drawn.append(text(x + step * place, y + 7, letter, 20, colour, weight=600))
    return drawn


def structure() -> list[str]:
    tail = path("M22 146C40 128 10 108 16 82S28 46 36 44", spectrum(0.0), 11)
    end = path("M180 124C192 124 188 98 196 84S206 50 192 26", spectrum(1.0), 11)
    return [tail, end, *helix(34, 84, 148, 40, 3.5, 15)]


def sequence() -> list[str]:
    rows = ("MALWMR", "LLPLLA", "LLALWG")
    bends = [
        path(f"M193 {y}C216 {y} 216 {y + 24} 108 {y + 24}S0 {y + 48} 23 {y + 48}", GREY, 3)
        for y in (36, 84)
    ]
    return bends + [bead for n, row in enumerate(rows) for bead in beads(23, 36 + 48 * n, row, 34)]


def numbers() -> list[str]:
    columns, rows, size = "MALWMR", 7, 16
    ones = {"M": 2, "A": 4, "L": 0, "W": 6, "R": 5}
    drawn = []
    for column, letter in enumerate(columns):
        x = 24 + 29 * column
        for row in range(rows):
            one = ones[letter] == row
            drawn.append(box(x, 8 + (size + 2) * row, 26, size, BLUE if one else PALE, 2))
            if one:
                drawn.append(text(x + 13, 8 + (size + 2) * row + 14, "1", 15, WHITE, weight=700))
        drawn.append(text(x + 13, 158, letter, 20, weight=600))
    return drawn


def language_model() -> list[str]:
    drawn = []
    for place in (0, 1, 3, 4):
        x = 28 + 40 * place
        rise = 118 - 14 * abs(place - 2)
        thick = 3 if abs(place - 2) == 1 else 2
        drawn.append(path(f"M{x} 126C{x} {rise - 26} 108 {rise - 26} 108 124", GREY, thick))
    for row, (letter, share) in enumerate((("L", 1.0), ("V", 0.42), ("A", 0.25))):
        y = 8 + 23 * row
        drawn.append(text(56, y + 16, letter, 20, weight=600))
        drawn.append(box(70, y, 100 * share, 17, RED if not row else mixed(RED, WHITE, 0.55)))
    return drawn + beads(28, 142, "LP?LA", 40, 17)


def embedding() -> list[str]:
    chance = random.Random(4)
    drawn = [path("M22 8V150H204", GREY, 2.5)]
    clusters = (
        (66, 44, BLUE, "circle"),
        (160, 50, ORANGE, "square"),
        (118, 116, GREEN, "triangle"),
    )
    for x, y, colour, shape in clusters:
        for number in range(9):
            angle, reach = 2.4 * number, 9 * math.sqrt(number + 0.4)
            a = x + reach * math.cos(angle) + chance.uniform(-2, 2)
            b = y + 0.8 * reach * math.sin(angle) + chance.uniform(-2, 2)
            if shape == "circle":
                drawn.append(circle(a, b, 5.5, colour))
            elif shape == "square":
                drawn.append(box(a - 5, b - 5, 10, 10, colour, 1))
            else:
                points = f"{a:.1f},{b - 6:.1f} {a + 6:.1f},{b + 5:.1f} {a - 6:.1f},{b + 5:.1f}"
                drawn.append(f'<polygon points="{points}" fill="{colour}"/>')
    return drawn


def function() -> list[str]:
    rows = (("binds ATP", 0.92), ("kinase", 0.78), ("channel", 0.12))
    drawn = []
    for row, (name, share) in enumerate(rows):
        y = 8 + 52 * row
        drawn.append(text(14, y + 18, name, 22, anchor="start", weight=600))
        drawn.append(box(14, y + 25, 188, 14, PALE, 4))
        drawn.append(box(14, y + 25, 188 * share, 14, GREEN if share > 0.5 else GREY, 4))
        if share > 0.5:
            drawn.append(path(f"M178 {y + 11}l7 7 13-15", GREEN, 4.5))
    return drawn


def tile(number: int, name: str, drawn: list[str]) -> str:
    column, row = (number - 1) % 3, (number - 1) // 3
    x = MARGIN + column * (TILE_WIDTH + GAP)
    y = MARGIN + row * (TILE_HEIGHT + LABEL + GAP)
    frame = box(0, 0, TILE_WIDTH, TILE_HEIGHT, WHITE, 12, f'stroke="{PALE}" stroke-width="1.5"')
    label = text(TILE_WIDTH / 2, TILE_HEIGHT + 32, name, 26, weight=600)
    return f'<g transform="translate({x} {y})">{frame}{"".join(drawn)}{label}</g>'


def arrows() -> list[str]:
    """Return the way from each picture to the next."""
    drawn = []
    for row in (0, 1):
        y = MARGIN + row * (TILE_HEIGHT + LABEL + GAP) + TILE_HEIGHT / 2
        for column in (1, 2):
            x = MARGIN + column * (TILE_WIDTH + GAP) - GAP / 2
            drawn.append(path(f"M{x - 4} {y - 11}l9 11-9 11", RED, 5))
    low = MARGIN + TILE_HEIGHT + LABEL + GAP / 2 - 2
    first, last = MARGIN + TILE_WIDTH / 2, MARGIN + 2.5 * TILE_WIDTH + 2 * GAP
    turn = f"M{last} {low - 5}Q{last} {low} {last - 8} {low}"
    turn += f"H{first + 8}Q{first} {low} {first} {low + 8}"
    return [*drawn, path(turn, RED, 3), path(f"M{first - 7} {low + 3}l7 8 7-8", RED, 4)]


def cover() -> str:
    pictures = (
        ("structure", structure), ("sequence", sequence), ("numbers", numbers),
        ("language model", language_model), ("embedding", embedding), ("function", function),
    )  # fmt: skip
    tiles = [tile(n, name, draw()) for n, (name, draw) in enumerate(pictures, start=1)]
    card = box(1, 1, WIDTH - 2, HEIGHT - 2, CARD, 18, f'stroke="{PALE}" stroke-width="2"')
    return svg(WIDTH, HEIGHT, [card, *arrows(), *tiles], "From structure to function")


def logo() -> str:
    return svg(96, 96, helix(16, 48, 64, 27, 1.5, 15, steps=48), "dlfb")


def svg(width: int, height: int, drawn: list[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img"><title>{title}</title>\n'
        + "\n".join(drawn)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    STATIC.mkdir(exist_ok=True)
    for name, drawing in (("cover", cover()), ("logo", logo())):
        (STATIC / f"{name}.svg").write_text(drawing, encoding="utf8")
        print(f"_static/{name}.svg: {len(drawing) / 1000:.0f} kB")
