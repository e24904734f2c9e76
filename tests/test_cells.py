"""Texts in cells: how wide they are, what of them fits, and what may reach a terminal at all."""
import shutil
import unicodedata

import pytest

import widths
from claude_usage import (ASCII, TEXT_MOST, Span, ascii_line, ascii_text, cells, clean, cut, fit,
                          fitting, shorten, width_of, wrap)

ACUTE, GRAVE_BELOW, ENCLOSING = '\u0301', '\u0316', '\u20dd'

# text -> the cells it takes
WIDTHS = {
    '': 0, 'a': 1, 'abc def': 7, 'é': 1, 'e' + ACUTE: 1, 'e' + ACUTE + GRAVE_BELOW: 1,
    '田': 2, '田中さん': 8, 'ﾀﾅｶ': 3, 'Ａ': 2, '한국': 4, '👤': 2, '🏢⚡⏰🎯': 8, '⚠⏱': 2,
    '█▍░─│┌┐└┘·…': 11, 'a👤b田c' + ACUTE: 7, 'שלום': 4, 'ไทย' + '\u0e48': 3,
}
TEXTS = list(WIDTHS) + ['x' * 70, '田' * 35, 'a田' * 25, ('e' + ACUTE) * 65, ACUTE * 5 + '田']
LINES = [(), (Span(''),)] + [(Span(text, 'r'),) for text in TEXTS] + [
    tuple(Span(text, str(index)) for index, text in enumerate(TEXTS)),
    (Span('a'), Span('田'), Span(ACUTE), Span('b'), Span('田田')),
]


@pytest.mark.parametrize('text, width', WIDTHS.items())
def test_cells(text, width):
    assert cells(text) == width
    assert width_of((Span(text), Span('+'), Span(text, 'x'))) == 2 * width + 1


@pytest.mark.parametrize('line', LINES)
def test_fit_fills_exactly_every_width(line):
    whole = ''.join(span.text for span in line)
    for width in range(61):
        fitted = fit(line, width)
        text = ''.join(span.text for span in fitted)
        assert width_of(fitted) == width
        if cells(whole) <= width:
            assert text == whole + ' ' * (width - cells(whole))
        elif width:
            kept = text.rstrip(' ')
            assert kept[-1] == '…' and whole.startswith(kept[:-1])
            assert width - cells(kept) <= 1      # a wide character may not have had room


def test_fit_keeps_the_roles():
    line = Span('ab', 'x'), Span('cd', 'y'), Span('ef', 'z')
    assert fit(line, 4) == (Span('ab', 'x'), Span('c', 'y'), Span('…'))
    assert fit(line, 8) == line + (Span('  '),)
    assert fit(line, 6) == line


@pytest.mark.parametrize('text', TEXTS)
def test_cut_and_shorten_keep_the_longest_start_that_fits(text):
    for width in range(61):
        start = cut(text, width)
        assert text.startswith(start) and cells(start) <= width
        assert start == text or cells(text[:len(start) + 1]) > width
        if cells(text) <= width:
            assert shorten(text, width) == text
        else:
            assert shorten(text, width) == (cut(text, width - 1) + '…' if width else '')


def test_cut_does_not_part_a_letter_from_its_marks():
    assert cut('xe' + ACUTE + GRAVE_BELOW + 'y', 2) == 'xe' + ACUTE + GRAVE_BELOW


@pytest.mark.parametrize('width, chosen', [(9, 'long text'), (8, 'text'), (4, 'text'), (3, 't'),
                                           (1, 't'), (0, 't')])
def test_fitting(width, chosen):
    assert fitting(('long text', 'text', 't'), width) == chosen


@pytest.mark.parametrize('text, width, lines', [
    ('', 5, ['']),
    ('one two three', 13, ['one two three']),
    ('one two three', 12, ['one two', 'three']),
    ('one two three', 7, ['one two', 'three']),
    ('one two three', 4, ['one', 'two', 'thre', 'e']),
    ('a  longword', 4, ['a', 'long', 'word']),
    ('longword b', 8, ['longword', 'b']),
    ('田中 田', 5, ['田中', '田']),
    ('田中田', 3, ['田', '中', '田']),
])
def test_wrap(text, width, lines):
    assert wrap(text, width) == lines


@pytest.mark.parametrize('text', TEXTS + [' '.join(WIDTHS)])
def test_wrap_loses_nothing_and_stays_inside(text):
    for width in range(61):
        lines = wrap(text, width)
        assert width < 2 or max(map(cells, lines)) <= width
        assert ''.join(lines).replace(' ', '') == text.replace(' ', '')


@pytest.mark.parametrize('dirty, cleaned', [
    ('plain (text), 100%', 'plain (text), 100%'),
    ('', ''),
    ('Zoë 田中 👤', 'Zoë 田中 👤'),
    # Keys and tokens.
    ('x sk-ant-oat01-SECRET-0123 y', 'x [secret] y'),
    ('é sk-lf-SECRET-0123 y', 'é [secret] y'),
    ('sk-\x1b[mant-oat01-SECRET', '[secret]'),
    # Escape sequences: CSI, OSC and other strings, two and three characters, unfinished ones.
    ('a\x1b[1;31mb\x1b[0mc', 'abc'),
    ('a\x1b[?25l\x1b[2Jb\x1b[>4;2mc', 'abc'),
    ('a\x9b31mb', 'ab'),
    ('a\x1b]0;title\x07b', 'ab'),
    ('a\x1b]8;;http://x\x1b\\b\x1b]8;;\x1b\\c', 'abc'),
    ('a\x1bPq#0;2\x1b\\b\x1b_x\x1b\\c\x1b^x\x1b\\d\x1bXx\x1b\\e', 'abcde'),
    ('a\x1b(0b\x1b7c\x1bcd\x1b#8e', 'abcde'),
    ('a\x1b]0;never ended', 'a'),
    ('a\x1b[31', 'a31'),
    ('a\x1b', 'a'),
    # Controls, of ASCII and of Latin 1, and all kinds of blanks and line breaks.
    ('a\x00b\x07c\x08d\x7fe', 'a b c d e'),
    ('a\x85b\x8dc', 'a b c'),
    ('  a \t\r\n  b\u2028c\u2029d\xa0e\u3000f  ', 'a b c d e f'),
    # What is not seen, or changes what is.
    ('a\u202eb\u2066c\u200fd\u061ce', 'abcde'),
    ('a\u200db\u200bc\ufeffd\xade\u2060f', 'abcdef'),
    ('a\ufe0fb\ufe0ec', 'abc'),
    ('\u26a0\ufe0f', '\u26a0'),
    ('1\ufe0f\u20e3', '1'),
    ('\U0001f1e9\U0001f1ea!', '!'),
    ('\U0001f44d\U0001f3fd', '\U0001f44d'),
    ('\U0001f468\u200d\U0001f469\u200d\U0001f467', '\U0001f468\U0001f469\U0001f467'),
    ('a\ud800b\udfffc', 'abc'),
    ('a\ue000b\U000f0000c\u0378d', 'abcd'),
    ('a\U000e0041b', 'ab'),
    # Characters on which terminals disagree; parts of Korean letters that do not make a whole one.
    ('\u4dc0a\u4dff\u2630\u3248', '?a???'),
    ('\u1112\u1161\u11ab', '\ud55c'),
    ('\u1161a\u1160\u11ff\ud7b0\ud7fb\u3164', '?a?????'),
    ('\U0001faf7\U0001f44d\U00031350', '?\U0001f44d?'),
    # Marks: composed where Unicode can, two at most, and none without a letter.
    ('e' + ACUTE, 'é'),
    ('x' + ACUTE + GRAVE_BELOW, 'x' + GRAVE_BELOW + ACUTE),
    ('x' + ACUTE * 50 + 'y', 'x' + ACUTE * 2 + 'y'),
    ('x' + ENCLOSING * 3, 'x' + ENCLOSING * 2),
    (ACUTE + 'x', 'x'),
    ('\u202e' + ACUTE + 'x', 'x'),
    (' ' + ACUTE + 'x', 'x'),
    ('\n' + ACUTE, ''),
])
def test_clean(dirty, cleaned):
    assert clean(dirty) == cleaned


@pytest.mark.parametrize('piece', ['x', '田', 'a ', 'x' + ACUTE, ACUTE, '\x1b[31m', '\x1b',
                                   '\x1b]', '\n', '\u202e', '\u202ex'])
def test_clean_shortens(piece):
    text = 'x' + piece * 10000
    assert 1 <= len(clean(text)) <= TEXT_MOST
    assert 1 <= len(clean(text, 7)) <= 7


def test_clean_keeps_what_fits():
    assert clean('x' * TEXT_MOST) == 'x' * TEXT_MOST
    assert clean('abc def', 5) == 'abc d'


@pytest.mark.slow
def test_every_character_cleaned_and_in_ascii():
    """What is clean takes cells or stands on a letter, and cleaning it again changes nothing."""
    for code in set(range(0x20000)) - {0x1b, 0x9b}:
        cleaned = clean('(%c)' % code)
        assert cleaned == clean(cleaned)
        assert cleaned[0] == '(' and cleaned[-1] == ')'
        for char in cleaned:
            kind = unicodedata.category(char)
            assert kind[0] != 'C' and (kind[0] != 'Z' or char == ' ')
        plain = ascii_text(cleaned)
        assert all(' ' <= char <= '~' for char in plain)
        assert len(plain) == cells(cleaned)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('tmux'), reason='tmux is missing')
def test_terminals_agree_on_every_width():
    """What is listed here belongs into DISPUTED."""
    assert widths.disagreements() == []


@pytest.mark.parametrize('text, plain', [
    ('plain', 'plain'), ('é', 'e'), ('Zoë Åse', 'Zoe Ase'), ('田', '??'), ('👤 x', '?? x'),
    ('e' + ACUTE, 'e'), ('│█░│', '|#-|'), ('┌─┐└┘', '+-+++'), ('a · b…', 'a - b~'),
    ('↑↓', '^v'), ('⚠', '!'), ('ß€', '??'), ('\xa0', ' '), ('Ａ', '??'),
])
def test_ascii(text, plain):
    assert ascii_text(text) == plain
    assert ascii_line((Span(text, 'x'), Span('y'))) == (Span(plain, 'x'), Span('y'))


def test_ascii_table_is_cell_for_cell():
    for glyph, plain in ASCII.items():
        assert (len(glyph), len(plain), cells(glyph)) == (1, 1, 1)
