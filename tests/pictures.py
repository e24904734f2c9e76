"""Draw the README's pictures: frames of the demo at a fixed time, as SVG.

    python3 tests/pictures.py       writes .github/screen-*.svg; test_pictures.py says when to

Bars, lines and dots are drawn, so that they join in any font; text is stretched to its cells.
"""
import os
import sys
import time
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import claude_usage as program      # noqa: E402

NOW = 1795617645        # Wed Nov 25 2026 14:40:45 UTC; 45 seconds into the story
FOLDER = ROOT / '.github'
CELL, LINE, MARGIN = 8, 16, 20
INK = '#d0d7de'
COLOURS = {'green': '#3fb950', 'yellow': '#e3b341', 'orange': '#f0883e', 'red': '#ff6b63',
           'cyan': '#56d4dd', 'blue': '#79c0ff'}
DIM, SOFT, TRACK, BORDER = '#7d8590', '#a8b1bb', '#2d343d', '#4a525c'
HEAD = '''<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" \
role="img" aria-label="{2}">
<style>
text {{ font: 13.3px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", \
"Liberation Mono", monospace; white-space: pre }}
.b {{ font-weight: 700 }}
.i {{ text-anchor: middle; font-size: 12px }}
.l {{ fill: none; stroke-width: 1 }}
.d {{ fill: none; stroke-width: 2.7; stroke-linecap: round }}
</style>
<rect x=".5" y=".5" width="{3}" height="{4}" rx="10" fill="#0d1117" stroke="#3d444d"/>
'''
# Halves of lines that meet in the middle of a cell: left, right, up, down.
LINES = {'─': 'lr', '│': 'ud', '┌': 'rd', '┐': 'ld', '└': 'ru', '┘': 'lu'}
STEPS = {'l': 'h-4', 'r': 'h4', 'u': 'v-8', 'd': 'v8'}


def snapshot_of(now):
    """What the demo tells at a time."""
    snapshot = program.Snapshot()
    for demo in program.DEMOS:
        for reading in demo(now):
            snapshot = program.absorb(snapshot, program.Reading(*reading))
    return snapshot


def colour_of(role):
    """The colour of text of a role."""
    look = program.ROLES[role]
    if role in ('border', 'soft'):
        return {'border': BORDER, 'soft': SOFT}[role]
    return COLOURS.get(look.colour, DIM if look.dim else INK)


def block(char):
    """(width, height) of a block character, 8 by 12 at most; None of any other."""
    if char in '▏▎▍▌▋▊▉█':
        return '▏▎▍▌▋▊▉█'.index(char) + 1, 12
    if char in '▁▂▃▄▅▆▇':
        return CELL, 1.5 * ('▁▂▃▄▅▆▇'.index(char) + 1)
    return None


class Drawing:
    """Shapes by what they share, and texts."""

    def __init__(self):
        self.paths = {}             # (class, attribute, colour) -> steps of a path
        self.texts = []

    def path(self, kind, attribute, colour, step):
        """Add a step to the path of a class and a colour."""
        self.paths.setdefault((kind, attribute, colour), []).append(step)

    def character(self, char, x, y, role):
        """Draw a character as shapes -> whether it is one that can be."""
        colour, shape = colour_of(role), block(char)
        if shape:
            width, height = shape
            self.path('', 'fill', colour,
                      'M%d %gh%dv-%gh-%dz' % (x, y + 14, width, height, width))
            if width < CELL:
                self.path('', 'fill', TRACK, 'M%d %dh%dv12h-%dz' % (
                    x + width, y + 2, CELL - width, CELL - width))
        elif char == '░':
            self.path('', 'fill', TRACK, 'M%d %dh%dv12h-%dz' % (x, y + 2, CELL, CELL))
        elif char == '│' and role == 'strong':
            self.path('', 'fill', INK, 'M%d %dh2v14h-2z' % (x + 3, y + 1))
        elif char in LINES:
            for way in LINES[char]:
                self.path('l', 'stroke', colour, 'M%d.5 %d.5%s' % (x + 3, y + 7, STEPS[way]))
        elif '\u2800' < char <= '\u28ff':
            for column, bits in enumerate(program.DOTS):
                for row, bit in enumerate(bits):
                    if (ord(char) - 0x2800) & bit:
                        self.path('d', 'stroke', colour,
                                  'M%d %dh0' % (x + 2 + 4 * column, y + 2 + 4 * row))
        else:
            return False
        return True

    def words(self, text, x, y, role):
        """Write words in exactly their cells."""
        kind = ' class="b"' if program.ROLES[role].bold else ''
        stretch = ''
        if len(text) > 1:
            stretch = ' textLength="%d"' % (CELL * len(text))
        self.texts.append('<text x="%d" y="%d"%s fill="%s"%s>%s</text>' % (
            x, y + 12, stretch, colour_of(role), kind, escape(text)))

    def icon(self, char, width, x, y, role):
        """Write a sign that fonts draw in various widths in the middle of its cells."""
        variant = '\ufe0f' if width == 2 else '\ufe0e'      # as an emoji, or as text
        self.texts.append('<text x="%d" y="%d" class="i" fill="%s">%s</text>' % (
            x + width * CELL // 2, y + 12, colour_of(role), char + variant))

    def line(self, line, y):
        """Draw a line of spans."""
        x = MARGIN
        for text, role in line:
            word, start = '', x
            for char in text + '\0':        # which ends the last word
                width = program.cell_count(char)
                is_plain = char < '\u2190' and char not in '\0 '
                if is_plain or char == ' ' and word and word[-1] != ' ':
                    word += char
                elif word:
                    self.words(word.rstrip(), start, y, role)
                    word = ''
                if char not in '\0 ' and not is_plain and not self.character(char, x, y, role):
                    self.icon(char, width, x, y, role)
                x += CELL * width if char != '\0' else 0
                if not word:
                    start = x


def svg(lines, what):
    """The text of an SVG of a frame's lines."""
    width = CELL * program.width_of(lines[0]) + 2 * MARGIN
    height = LINE * len(lines) + 2 * MARGIN
    drawing = Drawing()
    for index, line in enumerate(lines):
        drawing.line(line, MARGIN + LINE * index)
    shapes = []
    for (kind, attribute, colour), steps in drawing.paths.items():
        shapes.append('<path%s %s="%s" d="%s"/>' % (
            kind and ' class="%s"' % kind, attribute, colour, ''.join(steps)))
    head = HEAD.format(width, height, escape(what), width - 1, height - 1)
    return head + '\n'.join(shapes + drawing.texts) + '\n</svg>\n'


def pictures():
    """{name of a file: its text}, whatever the time and the time zone."""
    before = os.environ.get('TZ')
    os.environ['TZ'] = 'UTC'
    time.tzset()
    snapshot = snapshot_of(NOW)
    first = program.DEMO_PLACES[0]
    ui = program.Ui(mode='code', place=first)
    found = {}
    for name, size, changes, what in (
            ('screen-wide.svg', (100, 29), {'panel': 1},
             'Limits with their bars, and charts of where they will land'),
            ('screen-narrow.svg', (47, 30), {'places': program.DEMO_PLACES},
             'Two accounts in a narrow terminal')):
        frame = program.compose(snapshot, ui._replace(**changes), size, program.Moment(NOW))
        found[name] = svg(frame.lines, what)
    os.environ.pop('TZ')
    if before is not None:
        os.environ['TZ'] = before
    time.tzset()
    return found


if __name__ == '__main__':
    for name, text in pictures().items():
        (FOLDER / name).write_text(text, encoding='utf-8')
