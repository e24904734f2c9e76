"""What is printed for others: coloured text, the status line, JSON, --metrics and --check."""
import collections
import itertools
import json
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from claude_usage import (CHECK_MAX_AGE, DAY, DOCUMENTS, HOUR, LEVELS, METRICS, MODES, ROLES,
                          Account, Amount, Finding, Known, Limit, Moment, Span, Usage,
                          __version__, as_findings, as_json, as_metrics, as_text, ascii_text,
                          check_limits, clean, compose, parse_time, parse_usage, source_json,
                          status_line, width_of)
from samples import (EXTRA, FIVE_HOUR, HOSTILE, LETTERS, MANY, NORMAL, NOW, PLACE, SEVEN_DAY,
                     SITUATIONS, TWO, UNCAPPED, changed, credits, snapshot, ui_of)

pytestmark = pytest.mark.usefixtures('zone')


# --- Coloured text ---

COLOURS = {
    '': ('', ''), 'soft': ('', ''), 'dim': ('2', '2'), 'border': ('2', '2'), 'strong': ('1', '1'),
    'title': ('1', '1'), 'badge': ('1;36', '1;38;5;6'), 'alert': ('1;33', '1;38;5;3'),
    'green': ('32', '38;5;2'), 'yellow': ('33', '38;5;3'), 'orange': ('1;33', '38;5;208'),
    'red': ('1;31', '1;38;5;1'), 'blue': ('34', '38;5;4'), 'target': ('36', '38;5;6')}


def test_as_text():
    lines = [(Span('78%', 'orange'), Span(' '), Span('x', 'border'), Span('  ')),
             (), (Span('plain'),), (Span('   ', 'dim'), Span(' ')), ()]
    assert as_text(lines, 0) == '78% x\n\nplain\n'
    assert as_text(lines, 256) == '\x1b[38;5;208m78%\x1b[0m \x1b[2mx\x1b[0m\n\nplain\n'
    assert set(COLOURS) == set(ROLES) >= {name for _, name in LEVELS}
    assert set(LETTERS) == set(ROLES) and len(set(LETTERS.values())) == len(ROLES)
    for role, both in COLOURS.items():
        for depth, codes in zip((8, 256), both):
            painted = '\x1b[%smx\x1b[0m\n' % codes if codes else 'x\n'
            assert as_text([(Span('x', role),)], depth) == painted
    found = [Finding(True, 'A', 'good.'), Finding(False, 'B', 'bad.')]
    assert as_text(as_findings(found), 0) == '✓ A: good.\n✗ B: bad.\n'
    for name in SITUATIONS:         # colours change nothing else
        lines = compose(SITUATIONS[name], ui_of(name), (60, 30), Moment(NOW)).lines
        plain = as_text(lines, 0)
        assert '\x1b' not in plain and not re.search(' $', plain, re.MULTILINE)
        for depth in (8, 256):
            assert re.sub('\x1b\\[[0-9;]+m', '', as_text(lines, depth)) == plain


# --- The status line ---

SPENT = Limit('spend_limit', 'Spend Limit', 'spend', 54.2, amount=Amount(27150, 50000, 2, 'USD'))


def prompt(limits, model='Opus', width=200):
    return status_line(Usage(tuple(limits)), model, Moment(NOW), width, '▕▏')


@pytest.mark.parametrize('limits, model, width, told', [
    (TWO, 'Opus', 38, '5h 78% ▕████▋░▏ 3h45m · 7d 34% · Opus'),
    (TWO, 'Opus', 36, '5h 78% 3h45m · 7d 34% · Opus'), (TWO, 'Opus', 27, '5h 78% · 7d 34% · Opus'),
    (TWO, 'Opus', 21, '5h 78% · 7d 34%'), (TWO, 'Opus', 14, '5h 78%'), (TWO, 'Opus', 5, '78%'),
    (TWO, 'Opus', 2, '7…'), (MANY, '', 99, '5h 78% ▕████▋░▏ 3h45m · 7d 34%'),
    ([FIVE_HOUR._replace(used=100.0)], '', 99, '5h 100% ▕██████▏ 3h45m'),
    ([FIVE_HOUR._replace(used=0.0, resets_at=None)], '', 99, '5h 0% ▕░░░░░░▏ idle'),
    ([FIVE_HOUR._replace(used=99.9, resets_at=NOW - 1)], '', 99, '5h 99% ▕█████▉▏ due'),
    ([SEVEN_DAY], 'Opus', 99, '7d 34% ▕██░░░░▏ 4d · Opus'),
    ([SPENT], 'Opus', 99, 'spend 54% ▕███▎░░▏ $271 of $500 · Opus'),
    ([EXTRA], 'Opus', 99, 'Credits 38% · Opus'), ([UNCAPPED], '', 99, 'Credits JPY 763'),
    ([], 'Opus', 99, 'Opus'), ([], '', 99, '')])
def test_the_status_line(limits, model, width, told):
    assert ''.join(span.text for span in prompt(limits, model, width)) == told


@pytest.mark.parametrize('name', SITUATIONS)
def test_a_status_line_is_never_wider(name):
    usage = SITUATIONS[name][PLACE, 'usage'].value or Usage(())
    for model, width in itertools.product(('', 'Opus', clean(HOSTILE)), range(0, 121, 3)):
        line = prompt(usage.limits, model, width)
        assert width_of(line) <= width and len(as_text([line], 0).splitlines()) <= 1
        assert max(ascii_text(''.join(span.text for span in line)), default='x') < '\x7f'
    for used, colour in ((50.4, '32'), (50.5, '33'), (80.5, '1;33'), (100.0, '1;31')):
        told = as_text([prompt([FIVE_HOUR._replace(used=used)])], 8)
        assert told.startswith('5h \x1b[%sm' % colour)


# --- JSON ---

def document(known, now=NOW):
    return json.loads(as_json(known, (PLACE,), Moment(now), 'code'))


def source(status, at=None, age=None, error=None, message='', next_at=None):
    return {'status': status, 'at': at, 'age_seconds': age, 'error': error, 'message': message,
            'next_at': next_at}


def test_the_document():
    profile = Known(Account(name='Jane', tier='t'), NOW - 100, None, '', NOW - 100 + 86400, NOW)
    limits = (FIVE_HOUR, SEVEN_DAY._replace(resets_at=None, used=99.96),
              Limit('amber_ladder', 'Amber Ladder', 'Amber Ladder', 104.6, NOW - 5, None), EXTRA)
    known = snapshot(limits, 3, Account('u1', '', 'user@example.com', 'Company Name', ('MAX',)))
    told = document(changed(known, 'profile', **profile._asdict()), NOW + 0.9)
    assert told['sources']['usage'] == source(
        'ok', '2026-11-22T19:19:15Z', 3, next_at='2026-11-22T19:19:45Z')
    assert told['sources']['profile'] == source(
        'ok', '2026-11-22T19:17:38Z', 100, next_at='2026-11-23T19:17:38Z')
    expected = {
        'schema': 1, 'version': __version__, 'generated_at': '2026-11-22T19:19:18Z',
        'mode': 'code',
        'account': {'name': 'Jane', 'email': 'user@example.com', 'organization': 'Company Name',
                    'badges': ['MAX'], 'tier': 't'},
        'limits': [
            {'id': 'five_hour', 'label': '5-Hour', 'used_percent': 78.0,
             'resets_at': '2026-11-22T23:04:18Z', 'resets_in_seconds': 13499,
             'window_seconds': 18000, 'level': 'yellow'},
            {'id': 'seven_day', 'label': '7-Day', 'used_percent': 99.96, 'resets_at': None,
             'resets_in_seconds': None, 'window_seconds': 604800, 'level': 'orange'},
            {'id': 'amber_ladder', 'label': 'Amber Ladder', 'used_percent': 104.6,
             'resets_at': '2026-11-22T19:19:13Z', 'resets_in_seconds': 0,
             'window_seconds': None, 'level': 'red'}],
        'extra_usage': {'used': 7.63, 'limit': 20.0, 'currency': 'EUR', 'used_percent': 38.15}}
    for found, keys in zip(told['limits'], expected['limits']):
        assert {key: found[key] for key in keys} == keys        # features may add to it
    limit = document(known, NOW - 40 * DAY)['limits'][0]        # the clock was set back
    assert (limit['resets_at'], limit['resets_in_seconds']) == ('2026-11-22T23:04:18Z', None)
    told['limits'] = expected['limits'][:len(told['limits'])]
    assert {key: told[key] for key in expected} == expected


@pytest.mark.parametrize('name, told', [
    ('looking', source('waiting')), ('waiting', source('waiting')),
    ('stale', source('stale', '2026-11-22T19:17:48Z', 90, next_at='2026-11-22T19:18:18Z')),
    ('rate limited', source('error', '2026-11-22T19:05:18Z', 840, 'rate_limited',
                            'Rate limited. Next try 20:31.', '2026-11-22T19:31:18Z')),
    ('token expired', source('error', '2026-11-22T16:19:18Z', 10800, 'token_expired',
                             'Token expired. Run `claude` to refresh.')),
    ('no login', source('error', None, None, 'no_credentials',
                        'No Claude Code login found. Run `claude` to log in, '
                        'or set ANTHROPIC_ADMIN_API_KEY for the Console.'))])
def test_sources(name, told):
    known = SITUATIONS[name]
    assert document(known)['sources']['usage'] == told
    assert source_json(known[PLACE, 'usage'], Moment(NOW), 'code') == told


def keys_of(value):
    """The keys at all depths, except inside of lists and what may be null."""
    return {key: keys_of(inner) if key in ('account', 'sources', 'usage', 'profile') else None
            for key, inner in value.items()}


@pytest.mark.parametrize('name', SITUATIONS)
def test_the_document_has_the_same_keys_always_and_is_plain(name):
    """ASCII, so it survives any pipe; no NaN; times in UTC that parse."""
    text = as_json(SITUATIONS[name], (PLACE,), Moment(NOW), 'code')
    told, full = json.loads(text, parse_constant=pytest.fail), document(NORMAL)
    assert keys_of(told) == keys_of(full) and list(told) == list(full)
    assert all(list(item) == list(full['limits'][0]) for item in told['limits'])
    assert text.endswith('}\n') and re.match('[\n -~]*$', text)
    for time in re.findall('"(?:[a-z]+_)?at": (?!null)(.*?),?\n', text):
        assert re.match(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"$', time)
        assert parse_time(json.loads(time)) is not None
    limits = (FIVE_HOUR._replace(resets_at=0.0), FIVE_HOUR._replace(resets_at=253402300799.0))
    told = document(snapshot(limits, age=-HOUR))        # the clock was set back
    assert [limit['resets_at'] for limit in told['limits']] == [
        '1970-01-01T00:00:00Z', '9999-12-31T23:59:59Z']
    assert told['sources']['usage']['age_seconds'] == 0


# --- --metrics ---

def metrics(known, mode='code'):
    return as_metrics(known, (PLACE,), Moment(NOW), mode)


def gauge(text, name):
    """{labels as a tuple of pairs: value} of a metric."""
    return {tuple(sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            if family.name == 'claude_usage_' + name for sample in family.samples}


FORBIDDEN_WORDS = set('''counter gauge histogram summary untyped info total count sum bucket
    milliseconds ms minutes hours days percent percents cents kilobytes mb us'''.split())


def check_rules(text):
    """Prometheus' rules: prometheus.io/docs, exposition formats and metric naming."""
    assert text.endswith('\n') and not re.search(r'[\x00-\x09\x0b-\x1f\x7f]', text)
    order = []
    for line in text.splitlines():
        told = re.fullmatch(r'# (HELP .*\S|TYPE \S+ gauge)', line)
        sample = re.fullmatch(r'[a-z_]+(\{([a-z]+="([^"\\]|\\["\\n])*",?)+\})? -?[0-9][0-9.e+-]*',
                              line)
        assert told or sample, line
        order.append(re.search('claude_usage_[a-z_]+', line).group())
    names = [name for name, _ in itertools.groupby(order)]
    assert len(names) == len(set(names)), 'the lines of a metric stand together'
    for name in names:
        words = name.split('_')
        assert order.count(name) > 2 and not set(words) & FORBIDDEN_WORDS
        assert not {'seconds', 'ratio'} & set(words[:-1])
    count = collections.Counter((sample.name, tuple(sorted(sample.labels.items())))
                                for family in text_string_to_metric_families(text)
                                for sample in family.samples)
    assert set(count.values()) == {1}, 'each series once'


@pytest.mark.parametrize('name', SITUATIONS)
def test_the_rules_of_prometheus(name):
    for mode in MODES:
        check_rules(metrics(SITUATIONS[name], mode))
    is_up = name not in ('looking', 'waiting', 'no login', 'nothing', 'rate limited',
                         'token expired', 'hostile')
    assert gauge(metrics(SITUATIONS[name]), 'up') == {(): is_up}
    helps = list(METRICS.items()) + [item for feature in DOCUMENTS for item in
                                     feature.helps.items()]
    assert len(helps) == len(dict(helps))
    for name, words in helps:
        assert re.fullmatch('[a-z]+(_[a-z]+)*', name)
        assert words.endswith('.') and '\n' not in words and '\\' not in words


def test_the_values():
    text = metrics(snapshot(MANY + (EXTRA,), 7.5))
    assert gauge(text, 'up') == {(): 1} and gauge(text, 'reply_age_seconds') == {(): 7.5}
    assert gauge(text, 'limit_used_ratio') == {
        (('limit', limit.id),): pytest.approx(limit.used / 100) for limit in MANY}
    assert gauge(text, 'limit_reset_timestamp_seconds') == {
        (('limit', limit.id),): limit.resets_at for limit in MANY if limit.resets_at}
    # The age is that of the oldest limit, in JSON that of the newest.
    limits = FIVE_HOUR._replace(at=NOW - 1), SEVEN_DAY._replace(at=NOW - 600)
    known = changed(NORMAL, 'usage', value=Usage(limits, NOW - 1), at=NOW - 1)
    assert gauge(metrics(known), 'reply_age_seconds') == {(): 600}
    assert document(known)['sources']['usage']['age_seconds'] == 1


@pytest.mark.parametrize('percent, amount, used, most', [
    (None, Amount(763, None, 0, 'JPY'), 763.0, None), (38.15, EXTRA.amount, 7.63, 20.0),
    (0.0, Amount(0, 5000, 2, 'USD'), 0.0, 50.0), (123.4, Amount(1234, 5000, 3, 'KWD'), 1.234, 5.0),
    (100.0, Amount(5, 0, 2, 'USD'), 0.05, 0.0)])
def test_paid_use(percent, amount, used, most):
    known, labels = snapshot((credits(percent, amount),)), (('currency', amount.currency),)
    found = document(known)
    assert found['limits'] == [] and found['extra_usage'] == {
        'used': used, 'limit': most, 'currency': amount.currency, 'used_percent': percent}
    assert gauge(metrics(known), 'extra_used') == {labels: used}
    assert gauge(metrics(known), 'extra_limit') == ({} if most is None else {labels: most})
    assert not gauge(metrics(NORMAL), 'extra_used') and document(NORMAL)['extra_usage'] is None


HOSTILE_KEYS = ['we"ird', 'back\\slash', 'new\nline', 'tab\t', '\x1b[31mred', '\u202eltr', '', '}',
                'a\\nb', 'sk-ant-oat01-SECRET-that-is-a-name', '\u7530']


def test_names_of_limits_are_quoted():
    told = {key: {'utilization': 1 + index} for index, key in enumerate(HOSTILE_KEYS)}
    usage = parse_usage(dict(told, limits=[
        {'kind': key, 'percent': 50 + index} for index, key in enumerate(HOSTILE_KEYS)]), NOW)
    text = metrics(snapshot(usage.limits))
    check_rules(text)
    ids = {(('limit', limit.id),) for limit in usage.limits}
    assert set(gauge(text, 'limit_used_ratio')) == ids and 'SECRET' not in text
    assert ids >= {(('limit', name),) for name in ('we"ird', 'back\\slash', '}', 'a\\nb')}


# --- --check ---

def judged(known, percent):
    """(exit code, ids of the limits that are over) of --check."""
    code, over = check_limits(MODES['code'].limits(known, PLACE), percent, Moment(NOW))
    return code, [limit.id for limit in over]


def told(limits, **fields):
    return changed(NORMAL, 'usage', value=Usage(tuple(limits), NOW, **fields))


def test_check():
    for percent, code, count in ((0, 3, 2), (34, 3, 2), (34.1, 3, 1), (78, 3, 1), (78.1, 0, 0)):
        assert judged(NORMAL, percent) == (code, ['five_hour', 'seven_day'][:count])
    for used, code in ((99.96, 0), (100.0, 3), (100.4, 3)):
        assert judged(told([FIVE_HOUR._replace(used=used)]), 100)[0] == code
    for name in ('looking', 'waiting', 'no login', 'nothing', 'only credits'):
        assert judged(SITUATIONS[name], 0) == (1, [])
    # Of what the status line alone tells no window may be missing.
    for limits, code in ((TWO, 0), (TWO[:1], 1), (TWO[1:], 1)):
        assert judged(told(limits, is_whole=False), 90)[0] == code
        assert judged(told(limits, is_whole=False), 30)[0] == 3


@pytest.mark.parametrize('first, second, percent, code', [
    (0, 0, 50, 3), (CHECK_MAX_AGE, 0, 50, 3), (CHECK_MAX_AGE + 1, 0, 50, 1),
    (0, CHECK_MAX_AGE + 1, 50, 3), (0, CHECK_MAX_AGE + 1, 90, 1), (0, CHECK_MAX_AGE, 90, 0),
    (-HOUR, -HOUR, 50, 3)])
def test_each_limit_is_judged_by_its_own_age(first, second, percent, code):
    limits = FIVE_HOUR._replace(at=NOW - first), SEVEN_DAY._replace(at=NOW - second)
    assert judged(told(limits), percent)[0] == code
