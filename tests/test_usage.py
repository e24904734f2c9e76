"""Replies and files into values: exactly what they say, or a SourceError, never another; and
reports of usage from several sides into one."""
import calendar
import copy
import itertools
import json
import math
import random
import time

import pytest

import captures
import claude_usage
from claude_usage import (DAY, HOUR, LIMITS_MOST, TIME_MOST, Account, Amount, Failure, Limit,
                          Moment, SourceError, Usage, as_json, clean, compose, has_moved,
                          is_another_account, merged, next_reset, parse_identity, parse_json,
                          parse_login, parse_profile, parse_time, parse_usage, summary_line,
                          width_of)
from samples import EXTRA, FIVE_HOUR, HOSTILE, MANY, NOW, PLACE, SEVEN_DAY, UI, limit, snapshot

WEEK = 7 * DAY


def utc(*date):
    """Epoch seconds of year, month, day, hour, minute, second."""
    return float(calendar.timegm((date + (0,) * 6)[:6]))


def failure_of(parse, *args):
    """The Failure that parsing raises."""
    with pytest.raises(SourceError) as caught:
        parse(*args)
    return caught.value.failure


def parsed(document):
    return parse_usage(document, NOW)


# --- Times and JSON ---

def test_parse_time():
    day = utc(2025, 11, 13)
    for value, seconds in (
            (None, None), ('2026-03-11T19:00:00.536264+00:00', utc(2026, 3, 11, 19) + 0.536264),
            ('2025-11-13t04:00:00z', day + 4 * HOUR), ('2025-11-13T04:00:00', day + 4 * HOUR),
            ('2025-11-13 04:00:59', day + 4 * HOUR + 59), ('2025-11-13T00:01', day + 60),
            ('2025-11-13T04:00:00+05:30', day - 1.5 * HOUR), (0, 0.0),
            ('2025-11-13T04:00:00-0800', day + 12 * HOUR), (1762999200, 1762999200.0),
            ('2024-02-29T00:00:00Z', utc(2024, 2, 29)), (1762999200.25, 1762999200.25),
            ('9999-12-31T23:59:59Z', float(TIME_MOST))):
        assert parse_time(value) == seconds and type(parse_time(value)) is type(seconds), value


NO_TIMES = [
    '', 'soon', '2025-11-13', '04:00', '2025-13-01T00:00:00Z', '2025-02-29T00:00:00Z',
    '2025-11-13T24:00:00Z', '2025-11-13T04:60:00Z', '2025-11-13T04:00:00 CET',
    '0000-01-01T00:00:00Z', '1969-12-31T23:59:59Z', '0001-01-01T00:00:00+14:00',
    '9999-12-31T23:59:59-14:00', 'x2025-11-13T04:00:00Z', '2025-11-13T04:00:00Zx', '1762999200',
    True, False, [], {}, -1, TIME_MOST + 1, 1762999200000, 10 ** 400, -10 ** 400, math.nan,
    math.inf, -math.inf]


@pytest.mark.parametrize('value', NO_TIMES, ids=lambda value: str(value)[:30])
def test_what_is_no_time(value):
    with pytest.raises(ValueError):
        parse_time(value)
    for document in ({'five_hour': window(1, value)},
                     {'limits': [listed('session', 1, resets_at=value)]}):
        assert failure_of(parsed, document).code == 'bad_reply'


def test_parse_json():
    for data, document in ((b'{"a": [1, null]}', {'a': [1, None]}), (b'\xef\xbb\xbf{}', {}),
                           (b' null\n', None), (b'"Zo\xc3\xab"', 'Zo\xeb')):
        assert parse_json(data) == document
    for data in (b'', b' \r\n', captures.EDGE_HTML.encode(), b'{"a": 1', b'\xff\xfe', b'{} {}',
                 b'{"a": "\xeb"}', b'[' * 10000 + b']' * 10000, b'{"a":' * 10000):
        told = 'no JSON' if data.strip() else 'it is empty'
        assert failure_of(parse_json, data) == ('bad_reply', told, None)


# --- A reply of usage ---

def spent(used, most, digits, currency, percent, note=''):
    return Limit('extra_usage', 'Usage credits', 'Credits', percent, kind='spend', at=NOW,
                 note=note, amount=Amount(used, most, digits, currency))


def told(key, used, resets_at=None, label=None):
    return limit(key, used, None, label, at=NOW)._replace(resets_at=resets_at)


LIMITS_2026 = (told('five_hour', 11.0, utc(2026, 7, 3, 0, 30) + 0.282668),
               told('seven_day', 9.0, utc(2026, 7, 8, 9) + 0.282694),
               told('weekly_scoped_fable', 5.0, utc(2026, 7, 8, 9) + 0.283070, '7-Day Fable'))
CAPTURED = {
    'USAGE_2025': (told('five_hour', 78.0, utc(2025, 11, 13, 4)),),
    'USAGE_NOT_STARTED': (
        told('five_hour', 0.0), told('seven_day', 99.0, utc(2026, 3, 11, 19) + 0.536264),
        told('seven_day_sonnet', 2.0, utc(2026, 3, 12, 11) + 0.536285)),
    'USAGE_2026': LIMITS_2026,
    'USAGE_ENTERPRISE': (spent(763, 2000, 2, 'EUR', 38.15),),
    'USAGE_SPEND': LIMITS_2026 + (spent(1234, 5000, 2, 'USD', 24.68),),
}


@pytest.mark.parametrize('name', [name for name in dir(captures) if name.startswith('USAGE_')])
def test_captured_usage(name):
    document = getattr(captures, name)
    assert parsed(document) == Usage(CAPTURED[name], NOW, is_whole=True)
    for item in parse_usage(document, 5.0, 'Claude Code').limits:
        assert (item.at, item.via) == (5.0, 'Claude Code')


def window(utilization, resets_at=None, **more):
    return dict({'utilization': utilization, 'resets_at': resets_at}, **more)


def listed(kind, percent, name=None, **more):
    scope = {'model': {'id': None, 'display_name': name}, 'surface': None} if name else None
    return dict({'kind': kind, 'percent': percent, 'resets_at': None, 'scope': scope}, **more)


def scoped(*scopes):
    return {'limits': [listed('weekly_scoped', 3, scope=scope) for scope in scopes]}


def models(*names):
    return {'limits': [listed('weekly_scoped', 3, name) for name in names]}


BOTH = [('five_hour', '5-Hour', 1), ('seven_day', '7-Day', 2)]
TWO_UNNAMED = [('weekly_scoped', '7-Day Scoped', 3), ('weekly_scoped_2', '7-Day Scoped 2', 3)]


@pytest.mark.parametrize('document, limits', [
    ({}, []), ({'five_hour': None, 'limits': None, 'extra_usage': None, 'spend': None}, []),
    ({'five_hour': {}, 'seven_day': window(None), 'promo_credits': None}, []),
    # Of the two lists, whichever has a limit.
    ({'limits': [listed('session', 1), listed('weekly_all', 2)]}, BOTH),
    ({'five_hour': window(1), 'limits': [listed('session', 1), listed('weekly_all', 2)]}, BOTH),
    # The limit of a model, in the old place, in the new one, in both.
    ({'seven_day_opus': window(3)}, [('seven_day_opus', '7-Day Opus', 3)]),
    (models('Opus'), [('weekly_scoped_opus', '7-Day Opus', 3)]),
    (dict(models('Opus'), seven_day_opus=window(3)), [('seven_day_opus', '7-Day Opus', 3)]),
    (models('Claude Fable-5 (β)'),
     [('weekly_scoped_claude_fable_5_β', '7-Day Claude Fable-5 (β)', 3)]),
    # Scopes that name nothing, or a surface, or several times the same.
    (scoped(None), TWO_UNNAMED[:1]), (scoped({'model': None, 'surface': None}), TWO_UNNAMED[:1]),
    (scoped({'model': {'display_name': None}}), TWO_UNNAMED[:1]),
    (scoped(None, None), TWO_UNNAMED),
    (scoped({'surface': 'Web'}), [('weekly_scoped_web', '7-Day Web', 3)]),
    (scoped({'surface': {'display_name': 'chat'}}), [('weekly_scoped_chat', '7-Day Chat', 3)]),
    (models('A', 'A'), [('weekly_scoped_a', '7-Day A', 3), ('weekly_scoped_a_2', '7-Day A 2', 3)]),
    # Code names: shown once in use, by their key.
    ({'seven_day_omelette': window(0.5), 'tangelo': window(7), 'nimbus_quill': window(0)},
     [('seven_day_omelette', '7-Day Omelette', 0.5), ('tangelo', 'Tangelo', 7)]),
    ({'amber_ladder': window(None), 'cinder_cove': None, 'a': 'text', 'b': [1], 'c': {}}, []),
    ({'tangelo': window('high'), 'x': window(True), 'y': window([])}, []),
    ({'\u202e': window(5)}, [('other', 'Other', 5)]),
    # An unknown kind is never dropped, nor shown beside itself.
    ({'limits': [listed('monthly_all', 0)]}, [('monthly_all', 'Monthly All', 0)]),
    ({'limits': [listed(None, 6), {'percent': 7}]},
     [('other', 'Other', 6), ('other_2', 'Other 2', 7)]),
    ({'tangelo': window(7), 'limits': [listed('tangelo', 7)]}, [('tangelo', 'Tangelo', 7)]),
    # Credits: by the names that the client gives them.
    ({'cinder_cove': window(4), 'wattle_ember': window(5, label='Welcome'),
      'promo_credits': [window(6, program_id='spring', label='Spring gift'), window(0), {}]},
     [('cinder_cove', 'Claude Code and Cowork credit', 4), ('wattle_ember', 'Welcome', 5),
      ('promo_spring', 'Spring gift', 6), ('promo_credit', 'Credit', 0)]),
    # No number, no bar.
    ({'limits': [listed('session', None), listed('weekly_scoped', None, 'A'), {}, None]}, []),
    # Known ones first, in their order, then those of models.
    ({'zeta': window(1), 'seven_day_sonnet': window(2), 'five_hour': window(3), 'limits': [
        listed('daily', 4), listed('weekly_scoped', 5, 'Z'), listed('weekly_scoped', 6, 'A'),
        listed('weekly_all', 7, is_active=False)]},
     [('five_hour', '5-Hour', 3), ('seven_day', '7-Day', 7),
      ('seven_day_sonnet', '7-Day Sonnet', 2), ('weekly_scoped_z', '7-Day Z', 5),
      ('weekly_scoped_a', '7-Day A', 6), ('zeta', 'Zeta', 1), ('daily', 'Daily', 4)]),
], ids=lambda value: json.dumps(value)[:30])
def test_which_limits(document, limits):
    assert [(limit.id, limit.label, limit.used) for limit in parsed(document).limits] == limits


def test_no_two_limits_share_a_label_or_an_id():
    for names in (('A', 'A', 'a', 'A!'), ('A', 'A', 'A 2'), ('A 2', 'A', 'A')):
        for values in list(zip(*parsed(models(*names)).limits))[:3]:
            assert len(set(values)) == len(names)


@pytest.mark.parametrize('document', [
    models(*['A'] * 100000), models(*('A %d' % (count % 5) for count in range(100000))),
    {'promo_credits': [window(1)] * 100000},
    {'x%d' % count: window(1) for count in range(10000)}],
    ids=['one name', 'few names', 'credits', 'windows'])
def test_very_many_limits(document):
    document = dict(document, five_hour=window(78), **extra())
    began = time.process_time()
    limits = parsed(document).limits
    assert time.process_time() - began < 10         # it took nine minutes
    assert len(limits) == LIMITS_MOST and limits[0].id == 'five_hour'
    for values in list(zip(*limits))[:3]:
        assert len(set(values)) == LIMITS_MOST


def test_one_line_of_very_many_limits(monkeypatch):
    """No more wordings are tried than can fit."""
    usage, tried_lines = parsed(models(*['A'] * LIMITS_MOST)), []
    joined = claude_usage.joined

    def counted(*args):
        tried_lines.append(args)
        return joined(*args)
    monkeypatch.setattr(claude_usage, 'joined', counted)
    line = summary_line(usage, Moment(NOW), 80)
    assert line[0].text == 'A ' and line[-1].text == ' …'
    assert width_of(line) <= 80 and len(tried_lines) <= 83


def test_percents_windows_and_dollars():
    for used in (0, 1, 0.5, 1.0, 100, 104.6):       # percent, not a part of 1
        for document in ({'five_hour': window(used)}, {'limits': [listed('session', used)]}):
            limit, = parsed(document).limits
            assert limit.used == used and isinstance(limit.used, float)
    dollars = {'limit_dollars': 10, 'used_dollars': 4.0}
    amount = Amount(400, 1000, 2, 'USD')
    for document, seconds, kind, told in (
            ({'limits': [listed('session', 1)]}, 5 * HOUR, 'rate', None),
            (models('A'), WEEK, 'rate', None),
            ({'limits': [listed('unheard_of', 1, group='weekly')]}, WEEK, 'rate', None),
            ({'limits': [listed('unheard_of', 1, group='session')]}, 5 * HOUR, 'rate', None),
            ({'limits': [listed('unheard_of', 1, group='lunar')]}, None, 'rate', None),
            ({'limits': [listed('unheard_of', 1, group=[])]}, None, 'rate', None),
            ({'seven_day_cowork': window(1)}, WEEK, 'rate', None),
            ({'five_hour_cowork': window(1, used_dollars=4)}, 5 * HOUR, 'rate', None),
            ({'tangelo': window(1, **dollars)}, None, 'rate', amount),
            ({'wattle_ember': window(1, **dollars)}, None, 'credit', amount),
            ({'promo_credits': [window(1, **dollars)]}, None, 'credit', amount)):
        limit, = parsed(document).limits
        assert (limit.window, limit.kind, limit.amount) == (seconds, kind, told), document


def extra(**fields):
    return {'extra_usage': dict({'is_enabled': True, 'used_credits': 763}, **fields)}


def newer(used, **fields):
    return {'spend': dict({'used': used, 'enabled': True}, **fields),
            'extra_usage': {'is_enabled': True, 'used_credits': 1, 'currency': 'GBP'}}


OUT = {'is_enabled': False, 'disabled_reason': 'out_of_credits'}


@pytest.mark.parametrize('document, told', [
    ({'extra_usage': {}}, None),
    ({'extra_usage': {'is_enabled': False, 'used_credits': 0, 'monthly_limit': 2000}}, None),
    # What was spent is shown also when it was switched off, and when nothing is spent yet.
    (extra(is_enabled=False, currency='EUR'), (763, None, 2, 'EUR', None)),
    ({'extra_usage': {'is_enabled': True}}, (0, None, 2, 'USD', None)),
    (extra(used_credits=None, monthly_limit=100), (0, 100, 2, 'USD', 0.0)),
    # Digits: as told, else by the currency.
    (extra(currency='eur', decimal_places=3), (763, None, 3, 'EUR', None)),
    (extra(currency='KRW'), (763, None, 0, 'KRW', None)),
    (extra(currency='VND', decimal_places=None), (763, None, 0, 'VND', None)),
    (extra(currency='JPY', decimal_places=2), (763, None, 2, 'JPY', None)),
    (extra(decimal_places=-1), (763, None, 2, 'USD', None)),
    (extra(currency=5, decimal_places=400), (763, None, 2, 'USD', None)),
    (extra(currency='E\x1b[31mU\nR'), (763, None, 2, 'EU R', None)),
    # Percent: as told, else reckoned.
    (extra(monthly_limit=2000, utilization=38.15), (763, 2000, 2, 'USD', 38.15)),
    (extra(monthly_limit=1000), (763, 1000, 2, 'USD', 76.3)),
    (extra(monthly_limit=0), (763, 0, 2, 'USD', 100)),
    # Where the credits are used up, that is told.
    (extra(monthly_limit=1000, **OUT), (763, 1000, 2, 'USD', 100, 'Out of credits.')),
    ({'extra_usage': OUT}, (0, None, 2, 'USD', 100, 'Out of credits.')),
    (extra(disabled_reason='out_of_credits'), (763, None, 2, 'USD', None)),
    # The newer form comes first, where it tells an amount.
    (newer({'amount_minor': 1234, 'currency': 'USD', 'exponent': 2}, percent=5),
     (1234, None, 2, 'USD', 5)),
    (newer({'amount_minor': 50, 'currency': 'JPY', 'exponent': 0}, limit={'amount_minor': 200}),
     (50, 200, 0, 'JPY', 25.0)),
    (newer({'amount_minor': 0, 'currency': 'USD', 'exponent': 2}, enabled=False), None),
    (newer(None), (1, None, 2, 'GBP', None)),
])
def test_paid_use(document, told):
    assert parsed(document).limits == ((spent(*told),) if told else ())
    assert parsed(document).rates == ()


@pytest.mark.parametrize('document', [
    None, [], [{}], 'text', 5, True, math.nan,
    {'five_hour': []}, {'five_hour': 5}, {'seven_day': 'x'}, {'seven_day_opus': True},
    {'five_hour': window('78')}, {'five_hour': window(True)}, {'five_hour': window([])},
    {'five_hour': window(math.nan)}, {'five_hour': window(math.inf)}, {'five_hour': window(1e300)},
    {'five_hour': window(10 ** 400)}, {'five_hour': window(1, used_dollars='5')},
    {'limits': {}}, {'limits': 5}, {'limits': 'x'}, {'limits': [5]}, {'limits': [[]]},
    {'limits': ['x']}, {'limits': [listed('session', '11')]}, {'limits': [listed('x', math.nan)]},
    {'promo_credits': {}}, {'promo_credits': [5]}, {'promo_credits': [window('6')]},
    {'spend': []}, {'spend': {'used': 5}}, {'spend': {'used': {'amount_minor': '5'}}},
    {'spend': {'used': {'amount_minor': 5}, 'limit': [5]}}, {'extra_usage': 5},
    {'extra_usage': []}, extra(used_credits='763'), extra(used_credits=math.nan),
    extra(monthly_limit='x'), extra(utilization='38'), extra(decimal_places=True),
], ids=lambda value: str(value)[:40])
def test_usage_of_another_shape(document):
    failure = failure_of(parsed, document)
    assert failure.code == 'bad_reply' and failure.detail and failure.retry_after is None
    # An error may come with status 200, and counts where there is nothing else.
    for document, code in ((captures.ERROR_429, 'rate_limited'), ({'error': 'x'}, 'bad_reply'),
                           ({'error': {}}, 'bad_reply'), (captures.ERROR_529, 'bad_reply')):
        assert failure_of(parsed, document).code == code
    for document in ({'error': None}, dict(captures.ERROR_429, tangelo=window(1))):
        parsed(document)


@pytest.mark.parametrize('document', [
    {HOSTILE: window(5)}, {'limits': [listed(HOSTILE, 5)]}, scoped({'surface': HOSTILE}),
    models(HOSTILE), {'promo_credits': [window(5, label=HOSTILE, program_id=HOSTILE)]}])
def test_texts_of_usage_are_cleaned(document):
    limit, = parsed(document).limits
    for shown in (limit.label, limit.short):
        assert 'zö' in shown.lower() and clean(shown, 500) == shown


# --- Reports of several sides ---

def five(used, left=HOUR, at=10.0, **more):
    """A Limit of the 5-hour window."""
    return limit('five_hour', used, left, at=at, **more)


def part(*limits):
    """A partial report: the status line's."""
    return Usage(limits, max(limit.at for limit in limits), is_whole=False)


@pytest.mark.parametrize('known, told, shown', [
    # Of one window: the newer, but never lower; less than a point is the same number.
    (five(50.0), five(60.0, at=20.0), (60.0, 20.0, HOUR)),
    (five(50.0), five(50.0, at=20.0), (50.0, 20.0, HOUR)),
    (five(50.0), five(49.1, at=20.0), (50.0, 20.0, HOUR)),
    (five(50.0), five(49.0, at=20.0), (50.0, 10.0, HOUR)),
    (five(50.0), five(0.0, at=20.0), (50.0, 10.0, HOUR)),
    (five(50.0), five(49.5, HOUR + 59, at=20.0), (50.0, 20.0, HOUR)),
    (five(50.0), five(20.0, HOUR - 59, at=20.0), (50.0, 10.0, HOUR)),
    # What is not younger is not laid over it.
    (five(50.0), five(60.0, at=10.0), (50.0, 10.0, HOUR)),
    (five(50.0), five(60.0, at=9.0), (50.0, 10.0, HOUR)),
    # Of two windows: the one that ends later. One that has not begun gives way.
    (five(50.0), five(5.0, HOUR + 60, at=20.0), (5.0, 20.0, HOUR + 60)),
    (five(50.0), five(95.0, HOUR - 60, at=20.0), (50.0, 10.0, HOUR)),
    (five(7.0, None), five(5.0, at=20.0), (5.0, 20.0, HOUR)),
])
def test_a_partial_report_over_a_whole_one(known, told, shown):
    told = told._replace(via='Claude Code')
    usage = merged([part(told), Usage((known, SEVEN_DAY), 10.0)])
    first, second = usage.limits
    assert (first.used, first.at) == shown[:2] and abs(first.resets_at - NOW - shown[2]) < 60
    assert first.via == ('Claude Code' if first.at == 20.0 else '')
    assert second == SEVEN_DAY and usage.is_whole


def test_of_whole_reports_the_newest_counts_alone():
    old = Usage((five(90.0), SEVEN_DAY._replace(at=10.0), EXTRA), 10.0)
    new = Usage((five(20.0, at=20.0, via='Claude Code'),), 20.0)
    assert merged([old, new]) == merged([new, old]) == new      # lower, and what is gone is gone
    assert merged([new, Usage((), 30.0)]) == Usage((), 30.0)
    assert merged([]) == Usage((), 0.0, False)
    # What a partial report does not tell stays.
    whole = Usage(tuple(item._replace(at=10.0) for item in MANY + (EXTRA,)), 10.0)
    usage = merged([whole, part(five(80.0, 3.75 * HOUR, at=20.0))])
    assert usage.limits[1:] == whole.limits[1:]
    assert usage.limits[0].used == 80.0 and usage.at == 20.0
    # What only it tells is added; alone it is not whole.
    assert merged([Usage((EXTRA,), 10.0), part(FIVE_HOUR)]).limits == (FIVE_HOUR, EXTRA)
    assert merged([part(FIVE_HOUR), part(SEVEN_DAY)]) == Usage((FIVE_HOUR, SEVEN_DAY), NOW, False)


def test_the_order_of_reports_does_not_matter():
    dice = random.Random(1)
    for _ in range(300):
        reports = []
        for at in range(1, dice.randrange(2, 6)):
            told = five(dice.choice([0.0, 20.0, 20.4, 90.0]),
                        dice.choice([None, HOUR, HOUR + 30, 2 * HOUR]), at=float(at))
            reports.append(Usage((told,), told.at, is_whole=dice.random() < 0.4))
        assert len({merged(order) for order in itertools.permutations(reports)}) == 1


def test_has_moved():
    old = Usage((FIVE_HOUR, SEVEN_DAY, EXTRA), NOW)
    for fields, moved in (({}, False), ({'via': 'Claude Code', 'at': NOW + 30}, False),
                          ({'resets_at': FIVE_HOUR.resets_at - 0.7}, False),    # they jitter
                          ({'resets_at': FIVE_HOUR.resets_at + 60}, True),
                          ({'resets_at': None}, True), ({'used': 78.1}, True),
                          ({'amount': EXTRA.amount}, True)):
        new = Usage((FIVE_HOUR._replace(**fields), SEVEN_DAY, EXTRA), NOW + 30)
        assert has_moved(old, new) is has_moved(new, old) is moved, fields
    for new in (old.limits[:2], old.limits[1:], MANY + (EXTRA,), ()):
        assert has_moved(old, Usage(new)) and has_moved(Usage(new), old)
    assert has_moved(None, old)


def test_next_reset():
    for lefts, first in (([], None), ([None, None], None), ([9 * DAY, 60], 60), ([None, 60], 60),
                         ([-1], None), ([-1, 60, None], 60), ([0, 60], 60), ([0.5], 0.5)):
        usage = Usage(tuple(limit('x', 1.0, left) for left in lefts))
        assert next_reset(usage, NOW) == (first and NOW + first)


@pytest.mark.parametrize('theirs, is_another', [
    (five(1.0), False), (five(1.0, HOUR + 59), False), (five(1.0, HOUR + 60), True),
    (five(1.0, 2 * HOUR), True), (five(1.0, None), False), (five(1.0, -60), False),
    (limit('seven_day', 1.0, DAY), False), (limit('seven_day_opus', 1.0, HOUR), False)])
def test_two_accounts_do_not_mix(theirs, is_another):
    """A window that runs in both ends at another time."""
    ours = Usage((five(50.0), limit('seven_day_opus', 1.0, DAY)), 10.0)
    assert is_another_account(ours, part(theirs), NOW) is is_another
    assert is_another_account(Usage((theirs,)), ours, NOW) is is_another


# --- Accounts ---

UUID, ORGANIZATION = captures.PROFILE['account']['uuid'], captures.PROFILE['organization']['uuid']
JANE = Account(UUID, 'Jane', 'jane@example.com', "jane@example.com's Organization", ('MAX',),
               'default_claude_max_20x')


@pytest.mark.parametrize('document, account', [
    (captures.PROFILE, Account(UUID, 'Jane', 'jane@example.com', 'Example Corp', ('ENTERPRISE',),
                               'default_raven_enterprise')),
    (captures.PROFILE_MAX, JANE),
    ({}, Account()), ({'account': None, 'organization': None}, Account()),
    ({'account': {'full_name': 'Jane Doe', 'display_name': None}}, Account(name='Jane Doe')),
    ({'organization': {'plan_display_name': 'x' * 50}}, Account(plan='x' * 40)),
    ({'account': {'full_name': 5, 'email': []}, 'organization': {'name': {}}}, Account()),
])
def test_profile(document, account):
    assert parse_profile(document) == account
    for odd in (None, [], 5, 'x', {'account': []}, {'account': 'x'}, {'organization': 5}):
        assert failure_of(parse_profile, odd).code == 'bad_reply'


def test_badges():
    both = {'has_claude_max': True, 'has_claude_pro': True}
    for kind, flags, badges in (
            ('claude_team', {}, 'TEAM'), ('claude_pro', {}, 'PRO'), ('claude_free', {}, ''),
            ('claude_max', both, 'MAX PRO'), ('claude_enterprise', both, 'ENTERPRISE MAX PRO'),
            (None, {'has_claude_max': 'yes', 'has_claude_pro': 1}, ''), (5, {}, '')):
        document = {'account': flags, 'organization': {'organization_type': kind}}
        assert parse_profile(document).badges == tuple(badges.split())


@pytest.mark.parametrize('document, account', [
    (captures.CLAUDE_JSON, JANE._replace(uuid=UUID + '/' + ORGANIZATION)),
    ({'oauthAccount': {'fullName': 'Jane Doe', 'userRateLimitTier': 'mine',
                       'organizationRateLimitTier': 'theirs'}},
     Account(name='Jane Doe', tier='mine')),
    ({'oauthAccount': {'emailAddress': None, 'displayName': 5}}, Account()),
    ({'oauthAccount': None}, None), ({'oauthAccount': 'x'}, None), ({}, None), (None, None),
    ([], None), ('x', None),
])
def test_identity(document, account):
    assert parse_identity(document) == account


@pytest.mark.parametrize('parse, document', [
    (parse_profile, {'account': {'full_name': HOSTILE, 'email': HOSTILE, 'uuid': HOSTILE},
                     'organization': {'name': HOSTILE, 'rate_limit_tier': HOSTILE}}),
    (parse_identity, {'oauthAccount': dict.fromkeys(
        captures.CLAUDE_JSON['oauthAccount'], HOSTILE)}),
])
def test_texts_of_accounts_are_cleaned(parse, document):
    texts = [text for text in parse(document)[1:] if text and isinstance(text, str)]
    assert texts and set(texts) == {clean(HOSTILE)}


# --- Anything ---

WORDS = [None, True, False, 0, 1, -1, 55.5, 1e15, 1e308, 10 ** 400, math.nan, math.inf, '', 'x',
         '5', 'weekly_scoped', HOSTILE, '\ud800', '2026-07-03T00:30:00Z', '9999-12-31T23:59:59.9Z']
KEYS = ['utilization', 'resets_at', 'percent', 'kind', 'scope', 'model', 'display_name', 'used',
        'limit', 'amount_minor', 'currency', 'is_enabled', 'five_hour', 'x', '', HOSTILE]


def anything(dice, depth=3):
    """A JSON value at random, a bit like those of the replies."""
    kind = dice.randrange(4 if depth else 2)
    if kind < 2:
        return dice.choice(WORDS)
    values = [anything(dice, depth - 1) for _ in range(dice.randrange(4))]
    return values if kind == 2 else {dice.choice(KEYS): value for value in values}


def places(document):
    """(container, key) of every value inside a document."""
    inner = document.items() if isinstance(document, dict) else enumerate(
        document if isinstance(document, list) else ())
    for key, value in inner:
        yield document, key
        yield from places(value)


def disturbed(document, dice):
    """A copy with a few values replaced, or added, by anything."""
    document = copy.deepcopy(document)
    for _ in range(dice.randrange(1, 4)):
        container, key = dice.choice(list(places(document)))
        if isinstance(container, dict) and dice.random() < 0.3:
            key = dice.choice(KEYS)
        container[key] = anything(dice)
    return document


def outcomes(parse, document, times):
    """What parsing of disturbed documents brings: values, and Failures, whose texts are clean."""
    dice = random.Random(1)
    for _ in range(times):
        changed = disturbed(document, dice)
        try:
            yield parse(changed)
        except SourceError as error:
            assert clean(error.failure.detail) == error.failure.detail, changed
            yield error.failure


@pytest.mark.parametrize('times', [150, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize('name', CAPTURED)
def test_disturbed_usage_is_understood_or_refused(name, times):
    understood = 0
    for usage in outcomes(parsed, getattr(captures, name), times):
        if isinstance(usage, Failure):
            assert usage.code == 'bad_reply'
            continue
        understood += 1
        known = snapshot(usage.limits)              # and what is understood can be shown
        assert json.loads(as_json(known, (PLACE,), Moment(1e9), 'code'))['limits'] is not None
        assert len(compose(known, UI, (47, 30), Moment(1e9)).lines) == 30
        assert len({limit.id for limit in usage.limits}) == len(usage.limits)
    assert times / 15 < understood < times * 14 / 15


@pytest.mark.parametrize('parse, document, codes', [
    (parse_profile, captures.PROFILE, {'bad_reply'}),
    (parse_identity, captures.CLAUDE_JSON, set()),
    (parse_login, captures.CREDENTIALS, {'logged_out', 'malformed'})])
def test_disturbed_accounts_are_understood_or_refused(parse, document, codes):
    found = outcomes(parse, document, 500)
    assert {told.code for told in found if isinstance(told, Failure)} == codes
