"""The README's pictures are what the program shows now."""
import re
import xml.etree.ElementTree

import pytest

from pictures import CELL, FOLDER, MARGIN, pictures


@pytest.fixture(scope='module')
def made():
    """The pictures as they are now."""
    return pictures()


@pytest.mark.parametrize('name', ['screen-wide.svg', 'screen-narrow.svg'])
def test_a_picture(made, name, request):
    path = FOLDER / name
    if request.config.getoption('--golden'):
        path.write_text(made[name], encoding='utf-8')
    if path.read_text(encoding='utf-8') != made[name]:
        pytest.fail('%s is old: run `python3 tests/pictures.py` and look at it' % name, False)
    assert path.stat().st_size <= 60000


def test_words_keep_to_their_cells(made):
    for text in made.values():
        root = xml.etree.ElementTree.fromstring(text)
        width = int(root.get('width'))
        for words in root.iter('{http://www.w3.org/2000/svg}text'):
            if words.get('class') != 'i':
                cells = len(words.text) * CELL
                assert MARGIN <= int(words.get('x')) <= width - MARGIN - cells
                assert int(words.get('textLength', CELL)) == cells
        assert not re.search('[█░─│⠀-⣿]', text)
