"""Replies and files into the model: exactly what they say, or a SourceError, never another."""
import calendar
import copy
import json
import math
import random

import pytest

import captures
from claude_usage import (DAY, HOUR, TIME_MOST, Account, Known, Limit, Snapshot, SourceError,
                          Spend, Ui, Usage, as_json, clean, compose, parse_identity, parse_json,
                          parse_login, parse_profile, parse_stored, parse_time, parse_usage,
                          unpacked_day, unpacked_month)
from samples import HOSTILE


def utc(*date):
    """Epoch seconds of year, month, day, hour, minute, second."""
    return float(calendar.timegm((date + (0,) * 6)[:6]))


def failure_of(parse, document):
    """The Failure that parsing raises."""
    with pytest.raises(SourceError) as caught:
        parse(document)
    return caught.value.failure


# --- Times ---

@pytest.mark.parametrize('value, seconds', [
    (None, None),
    ('2026-03-11T19:00:00.536264+00:00', utc(2026, 3, 11, 19) + 0.536264),
    ('2025-11-13T04:00:00+00:00', utc(2025, 11, 13, 4)),
    ('2025-11-13T04:00:00Z', utc(2025, 11, 13, 4)),
    ('2025-11-13t04:00:00z', utc(2025, 11, 13, 4)),
    ('2025-11-13T04:00:00.5Z', utc(2025, 11, 13, 4) + 0.5),
    ('2025-11-13T04:00:00', utc(2025, 11, 13, 4)),
    ('2025-11-13 04:00:59', utc(2025, 11, 13, 4, 0, 59)),
    ('2025-11-13T04:01', utc(2025, 11, 13, 4, 1)),
    ('2025-11-13T04:00:00+05:30', utc(2025, 11, 12, 22, 30)),
    ('2025-11-13T04:00:00-0800', utc(2025, 11, 13, 12)),
    ('2024-02-29T00:00:00Z', utc(2024, 2, 29)),
    ('9999-12-31T23:59:59Z', TIME_MOST),
    (1762999200, 1762999200.0),
    (1762999200.25, 1762999200.25),
    (0, 0.0),
])
def test_parse_time(value, seconds):
    assert parse_time(value) == seconds
    assert type(parse_time(value)) is type(seconds) or seconds == TIME_MOST


NO_TIMES = [
    '', 'soon', '2025-11-13', '04:00', '2025-13-01T00:00:00Z', '2025-02-29T00:00:00Z',
    '2025-11-13T24:00:00Z', '2025-11-13T04:60:00Z', '2025-11-13T04:00:00 CET',
    '0000-01-01T00:00:00Z', '1969-12-31T23:59:59Z', '0001-01-01T00:00:00+14:00',
    '9999-12-31T23:59:59-14:00', 'x2025-11-13T04:00:00Z', '2025-11-13T04:00:00Zx', '1762999200',
    True, False, [], {}, -1, TIME_MOST + 1, 1762999200000, 10 ** 400, -10 ** 400, math.nan,
    math.inf, -math.inf]


@pytest.mark.parametrize('value', NO_TIMES, ids=lambda value: str(value)[:30])
def test_parse_time_refuses(value):
    with pytest.raises(ValueError):
        parse_time(value)


# --- JSON ---

@pytest.mark.parametrize('data, document', [
    (b'{"a": [1, null]}', {'a': [1, None]}), (b'\xef\xbb\xbf{}', {}), (b' null\n', None),
    ('"Zo\xeb"'.encode('utf-8'), 'Zo\xeb')])
def test_parse_json(data, document):
    assert parse_json(data) == document


@pytest.mark.parametrize('data, told', [
    (b'', 'it is empty'), (b' \r\n', 'it is empty'), (captures.EDGE_HTML.encode(), 'no JSON'),
    (b'{"a": 1', 'no JSON'), (b'\xff\xfe', 'no JSON'), (b'{"a": "\xeb"}', 'no JSON'),
    (b'[' * 10000 + b']' * 10000, 'no JSON'), (b'{"a":' * 10000, 'no JSON'), (b'{} {}', 'no JSON'),
], ids=lambda value: str(value)[:20])
def test_parse_json_refuses(data, told):
    assert failure_of(parse_json, data) == ('bad_reply', told, None)


# --- Usage ---

WEEK = 7 * DAY
LIMITS_2026 = (
    Limit('five_hour', '5-Hour', '5h', 11.0, utc(2026, 7, 3, 0, 30) + 0.282668, 5 * HOUR),
    Limit('seven_day', '7-Day', '7d', 9.0, utc(2026, 7, 8, 9) + 0.282694, WEEK),
    Limit('weekly_scoped_fable', '7-Day Fable', 'Fable', 5.0, utc(2026, 7, 8, 9) + 0.283070, WEEK))


@pytest.mark.parametrize('name, limits, spend', [
    ('USAGE_2025', (
        Limit('five_hour', '5-Hour', '5h', 78.0, utc(2025, 11, 13, 4), 5 * HOUR),), None),
    ('USAGE_NOT_STARTED', (
        Limit('five_hour', '5-Hour', '5h', 0.0, None, 5 * HOUR),
        Limit('seven_day', '7-Day', '7d', 99.0, utc(2026, 3, 11, 19) + 0.536264, WEEK),
        Limit('seven_day_sonnet', '7-Day Sonnet', 'Sonnet', 2.0,
              utc(2026, 3, 12, 11) + 0.536285, WEEK)), None),
    ('USAGE_2026', LIMITS_2026, None),
    ('USAGE_ENTERPRISE', (), Spend(763, 2000, 2, 'EUR', 38.15)),
    ('USAGE_SPEND', LIMITS_2026, Spend(1234, 5000, 2, 'USD', 24.68)),
])
def test_captured_usage(name, limits, spend):
    assert parse_usage(getattr(captures, name)) == Usage(limits, spend)


def test_every_captured_usage_is_tested():
    names = {name for name in dir(captures) if name.startswith('USAGE_')}
    tested = {arguments[0] for arguments in test_captured_usage.pytestmark[0].args[1]}
    assert names == tested


def window(utilization, resets_at=None):
    return {'utilization': utilization, 'resets_at': resets_at}


def listed(kind, percent, name=None, **more):
    scope = {'model': {'id': None, 'display_name': name}, 'surface': None} if name else None
    return dict({'kind': kind, 'percent': percent, 'resets_at': None, 'scope': scope}, **more)


def limits_of(document):
    return [(limit.id, limit.label, limit.used) for limit in parse_usage(document).limits]


@pytest.mark.parametrize('utilization, used', [
    (0, 0.0), (1, 1.0), (0.5, 0.5), (1.0, 1.0), (100, 100.0), (104.6, 104.6)])
def test_utilization_is_percent(utilization, used):
    limit, = parse_usage({'five_hour': window(utilization)}).limits
    assert limit.used == used and isinstance(limit.used, float)
    limit, = parse_usage({'limits': [listed('session', utilization)]}).limits
    assert limit.used == used and isinstance(limit.used, float)


@pytest.mark.parametrize('document, limits', [
    ({}, []),
    ({'five_hour': None, 'limits': None, 'extra_usage': None, 'spend': None}, []),
    ({'five_hour': {}, 'seven_day': window(None)}, []),
    # Of the two lists, whichever has a limit.
    ({'limits': [listed('session', 1), listed('weekly_all', 2)]},
     [('five_hour', '5-Hour', 1), ('seven_day', '7-Day', 2)]),
    ({'five_hour': window(1), 'limits': [listed('session', 1), listed('weekly_all', 2)]},
     [('five_hour', '5-Hour', 1), ('seven_day', '7-Day', 2)]),
    # The limit of a model, in the old place, in the new one, in both.
    ({'seven_day_opus': window(3)}, [('seven_day_opus', '7-Day Opus', 3)]),
    ({'limits': [listed('weekly_scoped', 3, 'Opus')]}, [('weekly_scoped_opus', '7-Day Opus', 3)]),
    ({'seven_day_opus': window(3), 'limits': [listed('weekly_scoped', 3, 'Opus')]},
     [('seven_day_opus', '7-Day Opus', 3)]),
    ({'limits': [listed('weekly_scoped', 3, 'Claude Fable-5 (β)')]},
     [('weekly_scoped_claude_fable_5_β', '7-Day Claude Fable-5 (β)', 3)]),
    # Scopes that name nothing, or several times the same.
    ({'limits': [listed('weekly_scoped', 3)]}, [('weekly_scoped', '7-Day Scoped', 3)]),
    ({'limits': [listed('weekly_scoped', 3, scope={'model': None, 'surface': None})]},
     [('weekly_scoped', '7-Day Scoped', 3)]),
    ({'limits': [listed('weekly_scoped', 3, scope={'model': {'display_name': None}})]},
     [('weekly_scoped', '7-Day Scoped', 3)]),
    ({'limits': [listed('weekly_scoped', 3, scope={'model': None, 'surface': 'Web'})]},
     [('weekly_scoped_web', '7-Day Web', 3)]),
    ({'limits': [listed('weekly_scoped', 3, 'A'), listed('weekly_scoped', 4, 'A')]},
     [('weekly_scoped_a', '7-Day A', 3), ('weekly_scoped_a_2', '7-Day A', 4)]),
    # Code names: shown once in use, by their key.
    ({'seven_day_omelette': window(0.5), 'tangelo': window(7), 'nimbus_quill': window(0)},
     [('seven_day_omelette', '7-Day Omelette', 0.5), ('tangelo', 'Tangelo', 7)]),
    ({'amber_ladder': window(None), 'cinder_cove': None, 'a': 'text', 'b': [1], 'c': {}}, []),
    ({'five_hour': window(1), 'tangelo': window('high'), 'x': window(True), 'y': window([])},
     [('five_hour', '5-Hour', 1)]),
    ({'\u202e': window(5)}, [('other', 'Other', 5)]),
    # An unknown kind is never dropped, nor shown beside itself.
    ({'limits': [listed('monthly_all', 0)]}, [('monthly_all', 'Monthly All', 0)]),
    ({'limits': [listed(None, 6), {'percent': 7}]},
     [('other', 'Other', 6), ('other_2', 'Other', 7)]),
    ({'tangelo': window(7), 'limits': [listed('tangelo', 7)]}, [('tangelo', 'Tangelo', 7)]),
    # No number, no bar.
    ({'limits': [listed('session', None), listed('weekly_scoped', None, 'A'), {}, None]}, []),
    # Known ones first, in their order, then those of models.
    ({'zeta': window(1), 'seven_day_sonnet': window(2), 'five_hour': window(3), 'limits': [
        listed('daily', 4), listed('weekly_scoped', 5, 'Z'), listed('weekly_scoped', 6, 'A'),
        listed('weekly_all', 7, is_active=False)]},
     [('five_hour', '5-Hour', 3), ('seven_day', '7-Day', 7),
      ('seven_day_sonnet', '7-Day Sonnet', 2), ('weekly_scoped_z', '7-Day Z', 5),
      ('weekly_scoped_a', '7-Day A', 6), ('zeta', 'Zeta', 1), ('daily', 'Daily', 4)]),
])
def test_which_limits(document, limits):
    assert limits_of(document) == limits


@pytest.mark.parametrize('document, seconds', [
    ({'limits': [listed('session', 1)]}, 5 * HOUR),
    ({'limits': [listed('weekly_scoped', 1, 'A')]}, WEEK),
    ({'limits': [listed('unheard_of', 1, group='weekly')]}, WEEK),
    ({'limits': [listed('unheard_of', 1, group='session')]}, 5 * HOUR),
    ({'limits': [listed('unheard_of', 1, group='lunar')]}, None),
    ({'limits': [listed('unheard_of', 1, group=[])]}, None),
    ({'seven_day_cowork': window(1)}, WEEK),
    ({'five_hour_cowork': window(1)}, 5 * HOUR),
    ({'tangelo': window(1)}, None),
])
def test_length_of_the_window(document, seconds):
    limit, = parse_usage(document).limits
    assert limit.window == seconds


@pytest.mark.parametrize('resets_at', ['2026-07-03T00:30:00Z', '2026-07-03T00:30:00+00:00',
                                       utc(2026, 7, 3, 0, 30), int(utc(2026, 7, 3, 0, 30))])
def test_resets_at(resets_at):
    for document in ({'tangelo': window(1, resets_at)},
                     {'limits': [listed('session', 1, resets_at=resets_at)]}):
        limit, = parse_usage(document).limits
        assert limit.resets_at == utc(2026, 7, 3, 0, 30)


def extra(**fields):
    return {'extra_usage': dict({'is_enabled': True, 'used_credits': 763}, **fields)}


def newer(used, **fields):
    return {'spend': dict({'used': used, 'enabled': True}, **fields),
            'extra_usage': {'is_enabled': True, 'used_credits': 1, 'currency': 'GBP'}}


@pytest.mark.parametrize('document, spend', [
    ({}, None),
    ({'extra_usage': {}}, None),
    ({'extra_usage': {'is_enabled': False, 'used_credits': None, 'monthly_limit': None}}, None),
    ({'extra_usage': {'is_enabled': False, 'used_credits': 0, 'monthly_limit': 2000}}, None),
    # What was spent is shown also when it was switched off, and when nothing is spent yet.
    (extra(is_enabled=False, currency='EUR'), Spend(763, None, 2, 'EUR', None)),
    ({'extra_usage': {'is_enabled': True}}, Spend(0, None, 2, 'USD', None)),
    (extra(used_credits=None, monthly_limit=100), Spend(0, 100, 2, 'USD', 0.0)),
    # Digits: as told, else by the currency.
    (extra(currency='EUR'), Spend(763, None, 2, 'EUR', None)),
    (extra(currency='eur', decimal_places=3), Spend(763, None, 3, 'EUR', None)),
    (extra(currency='JPY'), Spend(763, None, 0, 'JPY', None)),
    (extra(currency='KRW'), Spend(763, None, 0, 'KRW', None)),
    (extra(currency='VND', decimal_places=None), Spend(763, None, 0, 'VND', None)),
    (extra(currency='JPY', decimal_places=2), Spend(763, None, 2, 'JPY', None)),
    (extra(currency='USD', decimal_places=0), Spend(763, None, 0, 'USD', None)),
    (extra(decimal_places=-1), Spend(763, None, 2, 'USD', None)),
    (extra(decimal_places=400), Spend(763, None, 2, 'USD', None)),
    (extra(currency=5), Spend(763, None, 2, 'USD', None)),
    (extra(currency='E\x1b[31mU\nR'), Spend(763, None, 2, 'EU R', None)),
    # Percent: as told, else reckoned.
    (extra(monthly_limit=2000, utilization=38.15), Spend(763, 2000, 2, 'USD', 38.15)),
    (extra(monthly_limit=1000), Spend(763, 1000, 2, 'USD', 76.3)),
    (extra(monthly_limit=0), Spend(763, 0, 2, 'USD', 100)),
    # The newer form comes first, where it tells an amount.
    (newer({'amount_minor': 1234, 'currency': 'USD', 'exponent': 2}, percent=5),
     Spend(1234, None, 2, 'USD', 5)),
    (newer({'amount_minor': 50, 'currency': 'JPY', 'exponent': 0}, limit={'amount_minor': 200}),
     Spend(50, 200, 0, 'JPY', 25.0)),
    (newer({'amount_minor': 0, 'currency': 'USD', 'exponent': 2}, enabled=False), None),
    (newer(None), Spend(1, None, 2, 'GBP', None)),
])
def test_spend(document, spend):
    assert parse_usage(document).spend == spend


@pytest.mark.parametrize('document', [
    None, [], [{}], 'text', 5, True, math.nan,
    {'five_hour': []}, {'five_hour': 5}, {'seven_day': 'x'}, {'seven_day_opus': True},
    {'five_hour': window('78')}, {'five_hour': window(True)}, {'five_hour': window([])},
    {'five_hour': window(math.nan)}, {'five_hour': window(math.inf)}, {'five_hour': window(1e300)},
    {'five_hour': window(10 ** 400)},
    {'limits': {}}, {'limits': 5}, {'limits': 'x'}, {'limits': [5]}, {'limits': [[]]},
    {'limits': ['x']}, {'limits': [listed('session', '11')]}, {'limits': [listed('x', math.nan)]},
    {'spend': []}, {'spend': {'used': 5}}, {'spend': {'used': {'amount_minor': '5'}}},
    {'spend': {'used': {'amount_minor': 5}, 'limit': [5]}},
    {'extra_usage': 5}, {'extra_usage': []},
    extra(used_credits='763'), extra(used_credits=math.nan), extra(monthly_limit='x'),
    extra(utilization='38'), extra(decimal_places='2'), extra(decimal_places=True),
], ids=lambda value: str(value)[:40])
def test_usage_of_another_shape(document):
    failure = failure_of(parse_usage, document)
    assert failure.code == 'bad_reply'
    assert failure.detail and failure.retry_after is None


@pytest.mark.parametrize('value', NO_TIMES, ids=lambda value: str(value)[:30])
def test_reset_that_is_no_time(value):
    for document in ({'five_hour': window(1, value)},
                     {'limits': [listed('session', 1, resets_at=value)]}):
        assert failure_of(parse_usage, document).code == 'bad_reply'


@pytest.mark.parametrize('document', [
    {HOSTILE: window(5)}, {'limits': [listed(HOSTILE, 5)]},
    {'limits': [listed('weekly_scoped', 5, HOSTILE)]},
    {'limits': [listed('weekly_scoped', 5, scope={'surface': HOSTILE})]}])
def test_texts_of_usage_are_cleaned(document):
    limit, = parse_usage(document).limits
    for shown in (limit.label, limit.short):
        assert 'x\u0308' in shown.lower() or 'zö' in shown.lower()
        assert clean(shown, 500) == shown


@pytest.mark.parametrize('document', [
    {HOSTILE: window('5')}, {HOSTILE: window(math.nan)}, {HOSTILE: window(5, 'never')},
    {HOSTILE: window(5, [])}])
def test_a_failure_tells_no_text_of_a_reply(document):
    try:
        parse_usage(document)
    except SourceError as error:
        assert clean(error.failure.detail, 60) == error.failure.detail


# --- Accounts ---

@pytest.mark.parametrize('document, account', [
    (captures.PROFILE, Account(
        '0b9f6f0e-3c55-4a55-9d39-5c1ac9f0a001', 'Jane Doe', 'jane@example.com', 'Example Corp',
        ('ENTERPRISE',), 'default_raven_enterprise')),
    (captures.PROFILE_MAX, Account(
        '0b9f6f0e-3c55-4a55-9d39-5c1ac9f0a001', 'Jane Doe', 'jane@example.com',
        "jane@example.com's Organization", ('MAX',), 'default_claude_max_20x')),
    ({}, Account()),
    ({'account': None, 'organization': None}, Account()),
    ({'account': {'full_name': None, 'display_name': 'Jane'}}, Account(name='Jane')),
    ({'account': {'full_name': 5, 'email': []}, 'organization': {'name': {}}}, Account()),
])
def test_profile(document, account):
    assert parse_profile(document) == account


@pytest.mark.parametrize('kind, flags, badges', [
    ('claude_enterprise', {}, ('ENTERPRISE',)), ('claude_team', {}, ('TEAM',)),
    ('claude_max', {}, ('MAX',)), ('claude_pro', {}, ('PRO',)), ('claude_free', {}, ()),
    ('claude_unheard_of', {}, ()), (None, {}, ()), (5, {}, ()),
    ('claude_max', {'has_claude_max': True}, ('MAX',)),
    ('claude_team', {'has_claude_pro': True}, ('TEAM', 'PRO')),
    ('claude_enterprise', {'has_claude_max': True, 'has_claude_pro': True},
     ('ENTERPRISE', 'MAX', 'PRO')),
    (None, {'has_claude_max': 'yes', 'has_claude_pro': 1}, ()),
])
def test_badges(kind, flags, badges):
    document = {'account': flags, 'organization': {'organization_type': kind}}
    assert parse_profile(document).badges == badges


@pytest.mark.parametrize('document', [None, [], 5, 'x', {'account': []}, {'account': 'x'},
                                      {'organization': 5}], ids=str)
def test_profile_of_another_shape(document):
    assert failure_of(parse_profile, document).code == 'bad_reply'


@pytest.mark.parametrize('document, account', [
    (captures.CLAUDE_JSON, Account(
        '0b9f6f0e-3c55-4a55-9d39-5c1ac9f0a001/5e0f7f7a-95b4-44f8-8a3c-1f6fb22bb002',
        'Jane', 'jane@example.com',
        "jane@example.com's Organization", ('MAX',), 'default_claude_max_20x')),
    ({'oauthAccount': {}}, Account()),
    ({'oauthAccount': {'emailAddress': None, 'displayName': 5}}, Account()),
    ({'oauthAccount': None}, None), ({'oauthAccount': 'x'}, None), ({}, None), (None, None),
    ([], None), ('x', None),
])
def test_identity(document, account):
    assert parse_identity(document) == account


def login(**fields):
    return {'claudeAiOauth': dict({'accessToken': 'sk-ant-oat01-x'}, **fields)}


@pytest.mark.parametrize('document, token, expires_at, account', [
    (captures.CREDENTIALS, captures.TOKEN, 4102444800.0,
     Account(badges=('MAX',), tier='default_claude_max_20x')),
    (login(), 'sk-ant-oat01-x', None, Account()),
    (login(expiresAt=None, scopes=None, subscriptionType=None), 'sk-ant-oat01-x', None, Account()),
    (login(expiresAt=0), 'sk-ant-oat01-x', 0.0, Account()),
    (login(expiresAt=1700000000500), 'sk-ant-oat01-x', 1700000000.5, Account()),
    (login(expiresAt='soon', rateLimitTier=5), 'sk-ant-oat01-x', None, Account()),
    (login(expiresAt=True, subscriptionType='enterprise'), 'sk-ant-oat01-x', None,
     Account(badges=('ENTERPRISE',))),
])
def test_login(document, token, expires_at, account):
    assert parse_login(document) == (token, expires_at, account)


@pytest.mark.parametrize('document, code', [
    (captures.LOGGED_OUT, 'logged_out'), ({}, 'logged_out'), ({'mcpOAuth': {}}, 'logged_out'),
    ({'claudeAiOauth': None}, 'logged_out'), ({'claudeAiOauth': {}}, 'logged_out'),
    ({'claudeAiOauth': 'x'}, 'logged_out'), (login(accessToken=None), 'logged_out'),
    (None, 'malformed'), ([], 'malformed'), ('x', 'malformed'), (5, 'malformed'),
    (login(accessToken=5), 'malformed'), (login(accessToken=['x']), 'malformed'),
    (login(accessToken='a b'), 'malformed'), (login(accessToken='a\r\nX-Evil: b'), 'malformed'),
    (login(accessToken='token\n'), 'malformed'), (login(accessToken='t\xf6ken'), 'malformed'),
], ids=lambda value: str(value)[:60])
def test_login_that_is_none(document, code):
    assert failure_of(parse_login, document).code == code


@pytest.mark.parametrize('expires', [10 ** 400, -10 ** 400, math.inf, math.nan, 1e308],
                         ids=lambda value: str(value)[:9])
def test_login_with_an_absurd_expiry(expires):
    assert parse_login(login(expiresAt=expires)).token == 'sk-ant-oat01-x'


def test_a_login_shows_no_token():
    assert 'SECRET' not in repr(parse_login(captures.CREDENTIALS))
    assert 'SECRET' not in str(parse_login(captures.CREDENTIALS))


@pytest.mark.parametrize('parse, document', [
    (parse_profile, {'account': {'full_name': HOSTILE, 'email': HOSTILE, 'uuid': HOSTILE},
                     'organization': {'name': HOSTILE, 'rate_limit_tier': HOSTILE}}),
    (parse_identity, {'oauthAccount': {
        'accountUuid': HOSTILE, 'emailAddress': HOSTILE, 'displayName': HOSTILE,
        'organizationName': HOSTILE, 'organizationRateLimitTier': HOSTILE}}),
    (lambda document: parse_login(document).account,
     login(rateLimitTier=HOSTILE, subscriptionType=HOSTILE)),
])
def test_texts_of_accounts_are_cleaned(parse, document):
    texts = [text for text in parse(document) if text and isinstance(text, str)]
    assert texts and set(texts) == {clean(HOSTILE)}


# --- The store ---

@pytest.mark.parametrize('parse', [parse_usage, parse_profile, unpacked_month, unpacked_day])
@pytest.mark.parametrize('body', [
    None, '', '{', 'null', '5', '"x"', '[[]]', '[1, 2, 3, 4, 5, 6]', '[' * 99999, 5, b'\xff',
    '[[["a", "USD", "x"]], []]', '["2026-11", null, {}, null, [["a"]], 5]',
    '["2026-11", null, {"2026-11-01": [5, 5]}, null, {}]', '["2026-11", null, {}, null, []]',
    '["2026-11", null, {}, null, {"x": ["timeout", "", null]}]',
    '["2026-11", null, {}, null, {"": ["odd", "", null]}]'])
def test_a_stored_reply_that_is_none(parse, body):
    """Whoever wrote it, and however."""
    assert parse_stored(body, parse) is None


# --- Anything ---

WORDS = [None, True, False, 0, 1, -1, 55.5, 1e15, 1e308, -1e308, 10 ** 400, math.nan, math.inf, '',
         'x', '5', 'weekly', 'weekly_scoped', 'EUR', HOSTILE, '\ud800', '2026-07-03T00:30:00Z',
         '0001-01-01T00:00:00+14:00', '9999-12-31T23:59:59.9Z', TIME_MOST]
KEYS = ['utilization', 'resets_at', 'percent', 'kind', 'scope', 'model', 'display_name', 'used',
        'limit', 'amount_minor', 'exponent', 'currency', 'is_enabled', 'five_hour', 'x', '',
        HOSTILE]


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


@pytest.mark.parametrize('name', ['USAGE_2025', 'USAGE_NOT_STARTED', 'USAGE_2026', 'USAGE_SPEND',
                                  'USAGE_ENTERPRISE'])
def test_disturbed_usage_is_understood_or_refused(name):
    dice = random.Random(name)
    understood = 0
    for _ in range(1500):
        document = disturbed(getattr(captures, name), dice)
        try:
            usage = parse_usage(document)
        except SourceError as error:
            assert error.failure.code == 'bad_reply'
            assert clean(error.failure.detail) == error.failure.detail, document
            continue
        understood += 1
        snapshot = Snapshot(usage=Known(usage, 0.0))        # and what is understood can be shown
        assert json.loads(as_json(snapshot, 1e9))['limits'] is not None
        assert len(compose(snapshot, Ui(), (47, 30), 1e9).lines) == 30
        assert len({limit.id for limit in usage.limits}) == len(usage.limits)
    assert 100 < understood < 1400


@pytest.mark.parametrize('parse, document, codes', [
    (parse_profile, captures.PROFILE, {'bad_reply'}),
    (parse_identity, captures.CLAUDE_JSON, set()),
    (parse_login, captures.CREDENTIALS, {'logged_out', 'malformed'})])
def test_disturbed_accounts_are_understood_or_refused(parse, document, codes):
    dice = random.Random(1)
    for _ in range(1500):
        changed = disturbed(document, dice)
        try:
            parse(changed)
        except SourceError as error:
            assert error.failure.code in codes
