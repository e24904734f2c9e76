"""What is printed: frames as coloured text, and the JSON document."""
import json
import re

import pytest

from claude_usage import (ERRORS, HOUR, LEVELS, ROLES, Account, Failure, Known, Limit, Snapshot,
                          Span, Spend, Ui, Usage, __version__, as_json, as_text, compose,
                          parse_time)
from samples import ACCOUNT, EXTRA, FIVE_HOUR, NORMAL, NOW, SEVEN_DAY, SITUATIONS, snapshot

pytestmark = pytest.mark.usefixtures('zone')

LINES = [(Span('78%', 'orange'), Span(' '), Span('x', 'border'), Span('  ')),
         (), (Span('plain'),), (Span('   ', 'dim'), Span(' ')), ()]


@pytest.mark.parametrize('depth, text', [
    (0, '78% x\n\nplain\n'),
    (8, '\x1b[1;33m78%\x1b[0m \x1b[2mx\x1b[0m\n\nplain\n'),
    (256, '\x1b[38;5;208m78%\x1b[0m \x1b[2mx\x1b[0m\n\nplain\n'),
])
def test_as_text(depth, text):
    assert as_text(LINES, depth) == text


@pytest.mark.parametrize('role, in_8, in_256', [
    ('', '', ''), ('soft', '', ''), ('dim', '2', '2'), ('border', '2', '2'), ('strong', '1', '1'),
    ('title', '1', '1'), ('badge', '1;36', '1;38;5;6'), ('alert', '1;33', '1;38;5;3'),
    ('green', '32', '38;5;2'), ('yellow', '33', '38;5;3'), ('orange', '1;33', '38;5;208'),
    ('red', '1;31', '1;38;5;1'), ('blue', '34', '38;5;4'), ('target', '36', '38;5;6')])
def test_colours(role, in_8, in_256):
    for depth, codes in ((8, in_8), (256, in_256)):
        painted = '\x1b[%smx\x1b[0m\n' % codes if codes else 'x\n'
        assert as_text([(Span('x', role),)], depth) == painted


def test_every_role_is_tested_and_has_a_letter_of_its_own():
    tested = {arguments[0] for arguments in test_colours.pytestmark[0].args[1]}
    assert tested == set(ROLES) >= {name for _, name in LEVELS}
    assert len({role.letter for role in ROLES.values()}) == len(ROLES)


@pytest.mark.parametrize('name', SITUATIONS)
def test_colours_change_nothing_else(name):
    lines = compose(SITUATIONS[name], Ui(hint=False), (60, 30), NOW).lines
    plain = as_text(lines, 0)
    assert '\x1b' not in plain and not re.search(' $', plain, re.MULTILINE)
    for depth in (8, 256):
        assert re.sub('\x1b\\[[0-9;]+m', '', as_text(lines, depth)) == plain


# --- JSON ---

PACE_KEYS = ('installed', 'enabled', 'status', 'throttling', 'delay_seconds', 'window',
             'target_percent', 'deviation_percent', 'algorithm', 'strategy', 'tempo', 'stale',
             'estimated', 'at')


def test_the_document():
    profile = Known(Account(name='Jane', tier='t'), NOW - 100, None, NOW - 100 + 86400, NOW)
    limits = (FIVE_HOUR, SEVEN_DAY._replace(resets_at=None, used=99.96),
              Limit('amber_ladder', 'Amber Ladder', 'Amber Ladder', 104.6, NOW - 5, None))
    known = snapshot(limits, EXTRA, age=3)._replace(profile=profile)
    assert json.loads(as_json(known, NOW + 0.9)) == {
        'schema': 1, 'version': __version__, 'generated_at': '2026-11-22T19:19:18Z',
        'mode': 'code',
        'account': {'name': 'Jane', 'email': 'user@example.com', 'organization': 'Company Name',
                    'badges': ['ENTERPRISE'], 'tier': 't'},
        'limits': [
            {'id': 'five_hour', 'label': '5-Hour', 'used_percent': 78.0,
             'resets_at': '2026-11-22T23:04:18Z', 'resets_in_seconds': 13499,
             'window_seconds': 18000, 'level': 'yellow'},
            {'id': 'seven_day', 'label': '7-Day', 'used_percent': 99.96, 'resets_at': None,
             'resets_in_seconds': None, 'window_seconds': 604800, 'level': 'orange'},
            {'id': 'amber_ladder', 'label': 'Amber Ladder', 'used_percent': 104.6,
             'resets_at': '2026-11-22T19:19:13Z', 'resets_in_seconds': 0,
             'window_seconds': None, 'level': 'red'}],
        'extra_usage': {'used': 7.63, 'limit': 20.0, 'currency': 'EUR', 'used_percent': 38.15},
        'pace_maker': dict(dict.fromkeys(PACE_KEYS), installed=None), 'console': None,
        'sources': {
            'usage': {'status': 'ok', 'at': '2026-11-22T19:19:15Z', 'age_seconds': 3,
                      'error': None, 'message': '', 'next_at': '2026-11-22T19:19:45Z'},
            'profile': {'status': 'ok', 'at': '2026-11-22T19:17:38Z', 'age_seconds': 100,
                        'error': None, 'message': '', 'next_at': '2026-11-23T19:17:38Z'}}}


EMPTY_SOURCE = {'status': 'waiting', 'at': None, 'age_seconds': None, 'error': None,
                'message': '', 'next_at': None}


def document(known):
    return json.loads(as_json(known, NOW))


def test_the_document_when_nothing_is_known():
    told = document(Snapshot())
    assert told['limits'] == [] and told['extra_usage'] is None
    assert told['account'] == {'name': None, 'email': None, 'organization': None, 'badges': [],
                               'tier': None}
    assert told['sources'] == {'usage': EMPTY_SOURCE, 'profile': EMPTY_SOURCE}


@pytest.mark.parametrize('name, told', [
    ('waiting', EMPTY_SOURCE),
    ('stale', {'status': 'stale', 'at': '2026-11-22T19:17:48Z', 'age_seconds': 90, 'error': None,
               'message': '', 'next_at': '2026-11-22T19:18:18Z'}),
    ('rate limited', {
        'status': 'error', 'at': '2026-11-22T19:05:18Z', 'age_seconds': 840,
        'error': 'rate_limited', 'message': 'Rate limited. Next try 20:31.',
        'next_at': '2026-11-22T19:31:18Z'}),
    ('token expired', {
        'status': 'error', 'at': '2026-11-22T16:19:18Z', 'age_seconds': 10800,
        'error': 'token_expired', 'message': 'Token expired. Run `claude` to refresh.',
        'next_at': None}),
    ('no login', {
        'status': 'error', 'at': None, 'age_seconds': None, 'error': 'no_credentials',
        'message': 'No Claude Code login found. Run `claude` to log in, '
                   'or set ANTHROPIC_ADMIN_API_KEY for the Console.', 'next_at': None})])
def test_sources(name, told):
    assert document(SITUATIONS[name])['sources']['usage'] == told


@pytest.mark.parametrize('code', ERRORS)
def test_every_error_has_its_code_and_sentence(code):
    told = document(snapshot(failure=Failure(code, 'x')))['sources']['usage']
    assert (told['status'], told['error']) == ('error', code)
    assert told['message'].startswith(ERRORS[code][0].format('x'))


@pytest.mark.parametrize('spend, told', [
    (Spend(763, None, 0, 'JPY', None),
     {'used': 763.0, 'limit': None, 'currency': 'JPY', 'used_percent': None}),
    (Spend(0, 5000, 2, 'USD', 0.0),
     {'used': 0.0, 'limit': 50.0, 'currency': 'USD', 'used_percent': 0.0}),
    (Spend(1234, 1000, 3, 'USD', 123.4),
     {'used': 1.234, 'limit': 1.0, 'currency': 'USD', 'used_percent': 123.4})])
def test_extra_usage(spend, told):
    assert document(snapshot((), spend))['extra_usage'] == told


def keys_of(value):
    """The keys at all depths, except inside of lists and what may be null."""
    return {key: keys_of(inner) if key in ('account', 'sources', 'usage', 'profile') else None
            for key, inner in value.items()}


@pytest.mark.parametrize('name', SITUATIONS)
def test_the_same_keys_in_the_same_order_always(name):
    told, full = as_json(SITUATIONS[name], NOW), as_json(NORMAL, NOW)
    assert keys_of(json.loads(told)) == keys_of(json.loads(full))
    assert list(json.loads(told)) == list(json.loads(full))
    for item in json.loads(told)['limits']:
        assert sorted(item) == sorted(json.loads(full)['limits'][0])


@pytest.mark.parametrize('name', SITUATIONS)
def test_the_document_is_plain(name):
    """ASCII, so it survives any pipe; no NaN; times in UTC that parse."""
    told = as_json(SITUATIONS[name], NOW)
    assert told.endswith('}\n') and re.match('[\n -~]*$', told)
    json.loads(told, parse_constant=pytest.fail)
    times = re.findall('"(?:[a-z]+_)?at": (?!null)(.*?),?\n', told)
    assert times
    for time in times:
        assert re.match(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"$', time)
        assert parse_time(json.loads(time)) is not None


def test_times_at_the_ends_of_time():
    limits = (FIVE_HOUR._replace(resets_at=0.0), FIVE_HOUR._replace(resets_at=253402300799.0))
    told = [limit['resets_at'] for limit in document(snapshot(limits))['limits']]
    assert told == ['1970-01-01T00:00:00Z', '9999-12-31T23:59:59Z']


def test_negative_ages_are_none():
    """After the clock was set back."""
    known = snapshot((FIVE_HOUR,), age=-HOUR)
    assert document(known)['sources']['usage']['age_seconds'] == 0


def test_the_account_is_merged_from_all_sources():
    known = Snapshot(identity=Known(ACCOUNT), profile=Known(Account(name='Jane')))
    assert document(known._replace(usage=Known(Usage((), None))))['account'] == {
        'name': 'Jane', 'email': 'user@example.com', 'organization': 'Company Name',
        'badges': ['ENTERPRISE'], 'tier': 'default_claude_max_5x'}
