"""Console mode: what the Admin API tells, to the cent, well or badly."""
import copy
import functools
import json
import os
import threading
import time
import urllib.error
import urllib.request
from decimal import Decimal

import pytest

import captures
from admin import JOHN, KEY, MODELS, PATH, AdminApi, Organization, days_from, error
from claude_usage import (ASKING, DAY, HOUR, PLANNED, ConsolePoller, Failure, Known, Moment,
                          Projection, SourceError, as_json, as_metrics, cells,
                          dollars, message, parse_time, project, read_bill,
                          read_day, utc_day, who_am_i, whole_cents)
from harness import World
from server import Reply
from terminal import COMMAND, Terminal

DAYS = 'claude_code'
BROKEN = error(500, 'Internal server error')
FORBIDDEN = error(403, 'This key may not read this')
REVOKED = error(401, 'invalid x-api-key')
LIMITED = error(429, 'Too many requests', **{'Retry-After': '720'})
CUT_OFF = Reply(cut=5, body={'data': []})
WORDS = ('cost_report', 'claude_code', 'users', 'workspaces', 'me')
NOW = parse_time('2026-11-18T14:23:15Z')


def slow(fault):
    """A fault that comes after other replies."""
    return lambda request: time.sleep(0.1) or fault


def utc(text):
    """Epoch seconds of 'YYYY-MM-DD HH:MM:SS'."""
    return parse_time(text + 'Z')


def month_days(now):
    """The days of a month so far."""
    return days_from(utc_day(now)[:8] + '01', int(utc_day(now)[8:]))


class Desk:
    """A Monitor of the Console in a World: it asks when told to."""

    def __init__(self, world, user=JOHN, login_name='', key=KEY, **more):
        self.world, env = world, {'USER': login_name, 'ANTHROPIC_ADMIN_API_KEY': key}
        self.monitor = world.monitor(ConsolePoller, user=user, env=env, **more)

    def poll(self, later=0, asked=False):
        """Some seconds later, let it ask what is due, to the last request -> the Console."""
        self.world.now += later
        before = set(threading.enumerate())
        self.monitor.once(asked)
        for thread in set(threading.enumerate()) - before:
            if thread.is_alive():           # not one that is just being started, by the server
                thread.join(20)
        return self.known.value

    @property
    def known(self):
        return self.monitor.known('console', '')

    @property
    def failure(self):
        return self.known.failure and self.known.failure.code

    @property
    def sentence(self):
        return message(self.known.failure, None, Moment(self.world.now), 'console')

    def told(self, source='console'):
        """What it has told of a source so far."""
        return [reading.known for reading in self.monitor.told if reading.source == source]


@pytest.fixture
def world(server, tmp_path):
    """The world of somebody with an Admin API key and no login."""
    world = World(server, tmp_path)
    world.now = NOW
    world.log_out()
    return world


@pytest.fixture
def desk(world):
    """A function that opens a Desk in the world."""
    return functools.partial(Desk, world)


@pytest.fixture
def organization():
    return Organization()


@pytest.fixture
def api(server, organization):
    return AdminApi(server, organization)


@pytest.fixture
def mine(desk):
    return desk()


@pytest.fixture
def john(desk):
    """The Desk of one whose login name tells who he is."""
    return desk(user='', login_name='john')


def usd(sums):
    """{name: cents} of a server's {(name, currency): cents}, dollars only."""
    return {name: cents for (name, currency), cents in sums.items() if currency == 'USD'}


def check_sums(console, organization, days, user=JOHN):
    """All sums are the organization's own, exactly."""
    assert console.own == organization.own(user, days).get('USD', 0)
    assert console.total == organization.total(days).get('USD', 0)
    assert dict(console.by_user) == usd(organization.claude_code('who', days))
    assert dict(console.by_model) == usd(organization.claude_code('model', days))
    assert dict(console.by_workspace) == usd(organization.by_workspace(days))
    assert dict(console.by_day) == {
        day: organization.own(user, (day,)).get('USD', 0) for day in days}


def kinds(console):
    """What is wrong with a month: [(what, code)]."""
    return [(what, failure.code) for what, failure in console.problems]


# --- The sums ---

@pytest.mark.parametrize('now, size', [
    ('2026-11-02 09:30:00', 7), pytest.param('2026-11-01 00:00:00', 1, marks=pytest.mark.slow),
    pytest.param('2027-02-28 06:00:00', 999, marks=pytest.mark.slow),
    pytest.param('2028-02-29 23:59:59', 1000, marks=pytest.mark.slow)])
def test_sums_are_the_servers_own(server, world, desk, now, size):
    world.now = utc(now)
    days = month_days(world.now)
    before = utc_day(utc(days[0] + ' 00:00:00') - DAY)
    organization = Organization(before, len(days) + 2, rows=2,
                                busy={days[0]: size, days[-1]: size + 1})
    organization.archived = set(sorted(organization.workspaces)[:1])
    api, mine = AdminApi(server, organization, page=size), desk(user='', login_name='JOHN')
    console = mine.poll()
    check_sums(console, organization, days)
    assert len(api.requests('users')) == -(-len(organization.users) // size)
    assert (console.through, console.days) == (now[:10], len(days))
    assert console.complete and console.organization == 'Acme Corporation'
    assert len(api.requests(DAYS)) >= len(days) + 1         # its last day has two pages
    assert mine.known.at == world.now and mine.known.next_at == world.now + 120


@pytest.mark.parametrize('user', [JOHN, ''])
def test_another_monitor_takes_them_all_from_the_store(server, world, desk, user):
    """To the last digit, and asks later only for what may still change."""
    organization = Organization()
    organization.charge('2026-11-02', '0.0000000000000000001')
    api, first = AdminApi(server, organization), desk(user=user, login_name='John')
    console = first.poll()
    asked = len(server.requests)
    second = desk(user=user, login_name='John')
    assert second.poll(later=1) == console and not second.failure
    assert second.known.at == first.known.at and len(server.requests) == asked
    check_sums(second.poll(later=120), organization, organization.days)
    assert len(api.requests(DAYS)) == 18 + 3
    other = desk(user=user, key=KEY + '-of-another')
    assert other.poll() is None and other.failure == 'unauthorized'
    assert first.poll(later=120) and not first.failure


def test_other_currencies_are_named_and_not_counted(server, desk):
    organization = Organization(days=0)
    for cents, currency in (('10.5', 'USD'), ('20.25', 'EUR'), ('-3', 'EUR')):
        organization.add('2026-11-02', JOHN, cents, currency)
        organization.charge('2026-11-02', cents, currency)
    organization.charge('2026-11-03', 7, 'jpy')
    AdminApi(server, organization)
    console = desk().poll()
    assert console.own == console.total == Decimal('10.5')
    assert dict(console.by_day)['2026-11-02'] == Decimal('10.5')
    assert console.problems == (('uncounted', Failure('uncounted', 'EUR, JPY')),)
    assert not console.complete and console.days_done == 18


# --- Badly shaped replies ---

def row(**fields):
    """A row of the Claude Code report: 12.5 cents of John's."""
    return dict({'actor': {'type': 'user_actor', 'email_address': JOHN},
                 'model_breakdown': [{'model': 'claude-opus-4-5', 'estimated_cost':
                                      {'amount': Decimal('12.5'), 'currency': 'USD'}}]}, **fields)


def costing(amount, **fields):
    return row(model_breakdown=[{'model': 'm', 'estimated_cost': dict(
        fields, amount=amount)}])


@pytest.mark.parametrize('given, sums', [
    (row(), {JOHN: Decimal('12.5')}),
    (row(actor={'email_address': 'John@Company.COM'}), {JOHN: Decimal('12.5')}),
    (row(actor=None), {'unknown': Decimal('12.5')}),
    (row(actor={'type': 'robot_actor', 'serial': 7}), {'robot_actor': Decimal('12.5')}),
    (row(actor={'type': 'api_actor', 'api_key_name': 'CI'}), {'CI': Decimal('12.5')}),
    (row(actor={'type': 'api_actor', 'api_key_name': JOHN}), {'API key ' + JOHN: Decimal('12.5')}),
    (row(model_breakdown=None), {}), (row(model_breakdown=[]), {}),
    (row(model_breakdown=[{'model': 'm', 'estimated_cost': None}]), {JOHN: 0}),
    (costing(None), {JOHN: 0}), (costing(7), {JOHN: 7}),
    (costing('12.345'), {JOHN: Decimal('12.345')}),
    (costing(Decimal('-0.5')), {JOHN: Decimal('-0.5')}),
    (costing('-3', currency='eur'), {}), (costing(1, currency=None), {JOHN: 1}),
])
def test_rows_of_claude_code(given, sums):
    assert read_day([{'data': [given]}])['by_user'] == sums
    good = row(actor={'type': 'user_actor', 'email_address': 'ann@company.com'})
    both = read_day([{'data': [good, given]}, {'data': [good]}])['by_user']
    assert both == dict(sums, **{'ann@company.com': Decimal(25)})


@pytest.mark.parametrize('results, sums', [
    ([], {}), (None, {}),
    ([{'amount': '123.45', 'currency': 'USD', 'workspace_id': 'w'}], {'w': Decimal('123.45')}),
    ([{'amount': 123, 'currency': 'USD', 'workspace_id': None}], {'': 123}),
    ([{'amount': None, 'currency': None}], {'': 0}),
    ([{'amount': '-5.5'}, {'amount': '0.5'}], {'': -5}),
    ([{'amount': '1', 'workspace_id': 'v'}, {'amount': '2', 'workspace_id': 'w'}],
     {'v': 1, 'w': 2}),
])
def test_buckets_of_the_cost_report(results, sums):
    tables = read_bill([{'data': [{'starting_at': '2026-11-07T00:00:00Z', 'results': results}]}])
    assert tables['by_workspace'] == sums
    assert tables['by_day'] == ({'2026-11-07': sum(sums.values())} if sums else {})


@pytest.mark.parametrize('amount', [
    True, False, '', 'NaN', '-NaN', 'sNaN', 'Infinity', 'inf', '0x10', '1_000', ' 5 ', '5\n',
    '1,5', '\uff11\uff12', '\u0661', '--1', '1.', '.5', '1e', '1e9999', '1' * 16, [], {}, 1.5])
def test_what_is_no_amount(amount):
    for read, rows in ((read_day, [costing(amount)]), (read_bill, [
            {'starting_at': '2026-11-07T00:00:00Z', 'results': [{'amount': amount}]}])):
        with pytest.raises(SourceError, match='bad_reply'):
            read([{'data': rows}])
    for good in ('0E-10', '1.5e2', '-7', '00.10', Decimal('1E+2')):
        assert read_day([{'data': [costing(good)]}])['by_user'] == {JOHN: Decimal(good)}


JUNK = (None, True, 0, -1, Decimal('1E+400'), float('nan'), '', 'x', '\ud800', 'NaN',
        '1e999999999', [], [None], ['x'], [[]], {}, {'x': None})


def spoiled(document):
    """Copies of a document, each with junk in the place of one of its values."""
    for key in range(len(document)) if isinstance(document, list) else list(document):
        for junk in JUNK:
            other = copy.copy(document)
            other[key] = junk
            yield other
        if isinstance(document[key], (list, dict)):
            for inner in spoiled(document[key]):
                other = copy.copy(document)
                other[key] = inner
                yield other


@pytest.mark.parametrize('read, rows', [
    (read_day, [row(), row()]), (read_bill, [Organization(days=2).bucket('2026-11-02')])])
def test_a_wrong_shape_is_a_failure_and_never_a_crash(read, rows):
    wrong = 0
    for page in spoiled({'data': rows}):
        try:
            json.dumps(read([page]), default=str)
        except SourceError as failed:
            assert failed.failure.code == 'bad_reply'
            wrong += 1
    assert wrong > 20


def test_a_day_that_is_no_report_is_missing(api, mine):
    bodies = [b'', b'x', [], {}, {'data': None}, {'data': {}}, {'data': [1]},
              {'data': [], 'has_more': True}, '<html>', None]
    api.faults.update(zip(api.organization.days, map(Reply, [200] * 10, bodies)))
    console = mine.poll()
    assert console.days_done == 8 and not console.complete
    assert kinds(console) == [('day', 'bad_reply')] * 10


@pytest.mark.parametrize('names', ['days', 'lists'])
def test_a_page_that_does_not_lead_on_ends_the_report(api, john, names):
    """A token that repeats, above all, must not be followed for ever."""
    tokens = 'page_2026-11-07_1', '\ud800', '', 7, None, 'x' * 99999
    for where, token in zip(api.organization.days if names == 'days' else WORDS[0::2], tokens):
        api.faults[where] = Reply(body={'data': [], 'has_more': True, 'next_page': token,
                                        'last_id': token})
    console = john.poll()
    assert kinds(console) == ([('day', 'bad_reply')] * 6 if names == 'days' else [
        ('bill', 'bad_reply')])
    assert len(api.requests()) <= 22 + 6


# --- Failures ---

@pytest.mark.slow
@pytest.mark.parametrize('page', [1, 1000])
def test_days_that_fail_among_good_ones(server, desk, page):
    organization = Organization(rows=2)
    api, mine = AdminApi(server, organization, page=page), desk()
    faults = dict(zip(organization.days[3:7], (BROKEN, FORBIDDEN, Reply(body='<html>'), CUT_OFF)))
    for day, fault in faults.items():           # where there are two pages, the second only
        api.faults[day] = fault if page > 1 else (
            lambda request, fault=fault: fault if 'page' in request.query else None)
    console = mine.poll()
    rest = [day for day in organization.days if day not in faults]
    assert console.own == organization.own(JOHN, rest)['USD']
    assert dict(console.by_user) == usd(organization.claude_code('who', rest))
    assert console.total == organization.total()['USD']
    assert (console.complete, console.days_done, console.days) == (False, 14, 18)
    assert kinds(console) == [('day', code) for code in (
        'server_error', 'forbidden', 'bad_reply', 'network')] and not mine.failure
    told = len(mine.monitor.told)
    assert mine.poll(later=120).by_day[3] == (organization.days[3], None)
    assert 'Loading' not in str(mine.monitor.told[told:]), 'what is missing is known to be so'
    api.faults.clear()
    console = mine.poll(later=120)
    check_sums(console, organization, organization.days)
    assert console.complete
    api.faults.update({'2026-11-17': BROKEN, 'cost_report': BROKEN})
    console = mine.poll(later=120)
    check_sums(console, organization, organization.days)
    assert kinds(console) == [('bill', 'server_error'), ('day', 'server_error')]
    assert console.days_done == 17 and mine.known.at == NOW + 360 and not mine.failure
    assert desk().poll(later=1) == console, 'other monitors know it'


@pytest.mark.slow
@pytest.mark.parametrize('fault, code', [(REVOKED, 'unauthorized'), (BROKEN, 'server_error'),
                                         (FORBIDDEN, 'forbidden'), (CUT_OFF, 'network')])
def test_numbers_stay_when_everything_fails(organization, api, mine, world, fault, code):
    """As when the key is revoked while the program runs."""
    mine.poll()
    api.faults.update(dict.fromkeys(WORDS, fault))
    for _ in range(2):
        console = mine.poll(later=120)
        check_sums(console, organization, organization.days)
        assert mine.failure == code and console.complete
        assert mine.known.at == NOW, 'these numbers are not new'
        assert mine.known.next_at > world.now
        world.now = mine.known.next_at - 120
    api.faults.clear()
    assert mine.poll(later=120).complete and not mine.failure


def test_another_key_is_tried_at_once(server, world, desk):
    organization = Organization()
    api, mine = AdminApi(server, organization), desk(key='')
    world.write('.credentials.json', {'anthropicConsole': {'adminApiKey': KEY}})
    mine.poll()
    api.key = KEY + '2'
    mine.poll(later=120)
    assert mine.failure == 'unauthorized' and 'Console' in mine.sentence
    asked = len(api.requests())
    mine.poll(later=1)
    assert len(api.requests()) == asked
    organization.name = 'Other Corporation'
    world.write('.credentials.json', {'anthropicConsole': {'adminApiKey': KEY + '2'}})
    before = len(mine.told())
    assert mine.poll(later=1).organization == 'Other Corporation' and not mine.failure
    assert mine.told()[before] == Known(), "not the former organization's numbers under it"


@pytest.mark.parametrize('words', [WORDS[:1], WORDS[1:2], WORDS[2:]])
def test_a_key_without_access_to_a_report(organization, api, john, words):
    api.faults.update(dict.fromkeys(words, FORBIDDEN))
    console = john.poll()
    assert console.total == (None if 'cost_report' in words else organization.total()['USD'])
    is_known = words == ('cost_report',)
    assert console.own == (organization.own(JOHN)['USD'] if is_known else None)
    what = {'cost_report': 'bill', DAYS: 'day'}.get(words[0])
    assert set(kinds(console)) == ({(what, 'forbidden')} if what else set())
    assert console.complete == (not what)
    assert (console.projection == Projection()) == (what == 'day'), 'nothing to reckon it from'
    before = len(api.requests())
    assert kinds(john.poll(later=120)) == kinds(console)
    assert len(api.requests()) - before <= 4


@pytest.mark.slow
def test_a_key_without_access_to_anything_asks_little(server, world, desk):
    api, mine = AdminApi(server, Organization()), desk(user='')
    api.faults.update(dict.fromkeys(WORDS[:2], FORBIDDEN))
    assert mine.poll() is None and mine.failure == 'forbidden', 'names are no numbers'
    api.faults.update(dict.fromkeys(WORDS, slow(FORBIDDEN)))
    world.now, before = mine.known.next_at, len(api.requests())
    for most in (12, 24):
        assert mine.poll() is None and mine.failure == 'forbidden'
        assert len(api.requests()) - before <= most, 'some may be under way, but not all'
        world.now = mine.known.next_at


def test_refused_days_come_as_soon_as_they_may_be_read(organization, api, mine):
    api.faults[DAYS] = FORBIDDEN
    for later in (0, 120, 120):
        console = mine.poll(later=later)
        assert kinds(console) == [('day', 'forbidden')] * 18
        assert console.days_done == 0 and console.own is None
    api.faults.update(cost_report=LIMITED, claude_code=LIMITED)
    mine.poll(later=120)
    asked = len(api.requests(DAYS))
    api.faults = {DAYS: FORBIDDEN}
    mine.poll(later=720)
    assert len(api.requests(DAYS)) == asked + 1, 'it is still known to be refused'
    api.faults.clear()
    check_sums(mine.poll(later=120), organization, organization.days)
    assert mine.known.value.complete


def test_names_that_fail_once_are_asked_for_again(organization, api, john):
    api.faults.update(users=BROKEN, workspaces=Reply(body='<html>'), me=BROKEN)
    assert john.poll().complete, 'the costs do without'
    api.faults.clear()
    console = john.poll(later=120)
    check_sums(console, organization, organization.days)
    assert (console.organization, console.you) == (organization.name, JOHN)
    before = len(api.requests())
    john.poll(later=120)
    assert len(api.requests()) - before == 4


@pytest.mark.parametrize('word, later, retry_after, seconds', [
    ('cost_report', 120, '720', 720), (DAYS, 120, '6', 60), ('me', 0, '', 300),
    ('2026-11-18', 0, '720', 720)])
def test_after_a_429_the_whole_source_waits(organization, api, mine, world, later, word,
                                            retry_after, seconds):
    if later:
        mine.poll()
    api.faults[word] = error(429, 'Slow down', **{'Retry-After': retry_after})
    mine.poll(later=later)
    assert mine.failure == 'rate_limited' and mine.known.next_at == world.now + seconds
    asked, began = len(api.requests()), world.now
    api.faults.clear()
    for wait, is_asked in ((1, False), (seconds // 2, True), (seconds - 1, True)):
        world.now = began + wait
        mine.poll(asked=is_asked)
    assert len(api.requests()) == asked
    world.now = began + seconds
    check_sums(mine.poll(), organization, organization.days)
    assert not mine.failure


@pytest.mark.slow
def test_after_a_429_nobody_goes_on_paging(server, desk):
    busy = {'2026-11-%02d' % day: 300 for day in (1, 2, 3)}
    api = AdminApi(server, Organization(rows=0, busy=busy), page=1)
    api.faults['cost_report'] = lambda _: (server.wait_for(3, PATH + 'usage_report/claude_code')
                                           and LIMITED)
    desk().poll()
    assert len(api.requests(DAYS)) < 200, 'of 900'


@pytest.mark.slow
def test_what_has_come_before_a_429_is_not_asked_for_again(organization, api, mine, world):
    api.faults['2026-11-12'] = slow(LIMITED)
    known = [day for day, cents in mine.poll().by_day if cents is not None]
    assert len(known) > 5
    before = len(api.requests(DAYS))
    api.faults.clear()
    world.now = mine.known.next_at
    told = len(mine.told())
    check_sums(mine.poll(), organization, organization.days)
    asked = [request.query['starting_at'][0] for request in api.requests(DAYS)[before:]]
    assert not set(asked) & set(known) - set(organization.days[-3:])
    assert len(mine.told()) - told > 1, 'what is still missing comes with progress'


@pytest.mark.slow
def test_a_429_halfway_keeps_what_came_and_the_age_of_the_rest(organization, api, mine):
    mine.poll()
    organization.charge(organization.days[-1], '70000')
    api.faults[organization.days[-2]] = slow(LIMITED)
    assert mine.poll(later=120).total == organization.total()['USD']
    assert mine.known.at == NOW and mine.failure == 'rate_limited'


# --- Time goes by ---

def test_finished_days_are_fetched_once(server, world, desk):
    organization = Organization(days=24)
    api, mine = AdminApi(server, organization), desk()
    began = world.now = utc('2026-11-18 00:00:00')
    mine.poll()
    assert len(api.requests(DAYS)) == 18 and len(api.requests()) == 18 + 1 + 2
    for hours, most in ((0.1, 4), (23.9, 4), (24, 5), (25, 4), (5 * 24, 9), (5 * 24 + 1, 4)):
        before = len(api.requests())
        world.now = began + hours * HOUR
        for day in month_days(world.now)[-3:]:
            organization.add(day, JOHN, '1.25')         # what may still change
        organization.charge('2026-11-03', '99')
        check_sums(mine.poll(), organization, month_days(world.now))
        assert len(api.requests()) - before <= most, hours


@pytest.mark.parametrize('fault', [BROKEN, error(429, 'Slow down')])
def test_a_day_is_kept_as_it_is_when_it_has_become_final(organization, api, mine, world, fault):
    """Not as it was known before, if just then it cannot be had."""
    world.now = utc('2026-11-17 23:59:00')
    mine.poll()
    organization.add('2026-11-15', JOHN, '70000')
    api.faults['2026-11-15'] = fault
    mine.poll(later=120)                    # now it ended more than 48 hours ago
    api.faults.clear()
    check_sums(mine.poll(later=300), organization, organization.days)


@pytest.mark.parametrize('interval, seconds', [(None, 120), (600, 600)])
def test_polls_keep_their_distance(api, world, desk, interval, seconds):
    mine, counts = desk(interval=interval), []
    for after in (0, 0, seconds / 2, seconds - 0.1, seconds):
        world.now = NOW + after
        mine.poll()
        counts.append(len(api.requests()))
    assert [count - counts[0] for count in counts] == [0, 0, 0, 0, 4]


def test_a_month_ends_while_it_runs(server, world, desk):
    """It begins anew; another monitor does not wait upon the reply of the old month."""
    organization = Organization('2026-11-28', 6)
    api, mine = AdminApi(server, organization), desk()
    world.now = utc('2026-11-30 23:59:00')
    assert mine.poll().through == '2026-11-30'
    other = desk()
    console = other.poll(later=75)
    check_sums(console, organization, ['2026-12-01'])
    assert (console.through, console.days, console.complete) == ('2026-12-01', 1, True)
    assert console.projection == Projection() and not other.failure
    before = len(api.requests())
    assert mine.poll(later=1) == console and len(api.requests()) == before
    check_sums(mine.poll(later=2 * DAY), organization, days_from('2026-12-01', 3))


@pytest.mark.slow
def test_what_was_stored_is_reckoned_by_its_own_time(server, desk):
    api, first = AdminApi(server, Organization()), desk()
    known = first.poll()
    api.faults.update(dict.fromkeys(WORDS, BROKEN))
    other = desk()
    assert other.poll(later=10 * DAY) == known and other.failure
    assert other.known.at == first.known.at


# --- Names ---

def test_a_workspace_that_is_new_gets_its_name(organization, api, mine, desk):
    mine.poll()
    organization.workspaces['wrkspc_77'] = 'Fresh'
    organization.charge(organization.days[-1], '900', workspace='wrkspc_77')
    names = []
    for later in (120, 120, HOUR - 241, 120):
        names += [name for name, cents in mine.poll(later=later).by_workspace if cents == 900]
    assert names == ['wrkspc_77'] * 3 + ['Fresh']
    assert len(api.requests('workspaces')) == 2
    assert ('Fresh', 900) in desk().poll(later=1).by_workspace
    assert len(api.requests('workspaces')) == 2


@pytest.mark.parametrize('fault', [BROKEN, FORBIDDEN])
def test_a_look_for_new_names_that_fails_keeps_the_old(organization, api, john, fault):
    known = john.poll()
    organization.charge(organization.days[-1], '900', workspace='wrkspc_77')
    john.poll(later=HOUR)
    api.faults.update(dict.fromkeys(('me', 'users', 'workspaces'), fault))
    for _ in range(2):
        console = john.poll(later=120)
        assert (console.organization, console.you) == (known.organization, JOHN)
        assert set(dict(known.by_workspace)) < set(dict(console.by_workspace))
        assert console.complete and not john.failure
    assert len(api.requests('workspaces')) == 2, 'seldom'


@pytest.mark.parametrize('emails, name, expected', [
    (['ann@corp.com'], '', 'ann@corp.com'), (['john@corp.com'], 'somebody', 'john@corp.com'),
    (['ann@corp.com', 'john@corp.com'], 'JOHN', 'john@corp.com'),
    (['john@a.com', 'john@b.com'], 'john', ''),
    (['ann@corp.com', 'johnny@corp.com', 'john.doe@corp.com'], 'john', ''),
    (['ann@corp.com', 'jo@corp.com'], 'john', ''),
    (['ann@corp.com', 'john@corp.com'], '', ''), ([], 'john', ''),
])
def test_who_am_i(emails, name, expected):
    assert who_am_i(' ', None, emails, name) == expected
    assert who_am_i(' Me@x.com', None, emails, name) == 'me@x.com'


@pytest.mark.parametrize('user, identity, name, expected', [
    ('Given@x.com', 'identity@x.com', 'john', 'given@x.com'),
    ('', 'Identity@x.com', 'john', 'identity@x.com'),
    ('', None, 'john', JOHN), ('', None, 'jo', '')])
def test_where_my_address_is_found(server, world, desk, user, identity, name, expected):
    organization = Organization()
    api = AdminApi(server, organization)
    if identity:
        world.write('.claude.json', {'oauthAccount': {'emailAddress': identity}})
    console = desk(user=user, login_name=name).poll()
    assert console.you == expected and console.total == organization.total()['USD']
    assert (console.own is None) == (not expected)
    if not expected:
        assert dict(console.by_day) == {day: organization.total((day,)).get('USD', 0)
                                        for day in organization.days}
    assert bool(api.requests('users')) == (not (user or identity))
    assert {request.path.split('/')[1] for request in server.requests} == {'v1'}, 'no profile'


def test_who_one_is_is_not_another_ones_answer(server, world, desk):
    """Of what the users' list says, another login name makes something else; a login that comes
    later is taken at once."""
    organization = Organization()
    api = AdminApi(server, organization)
    assert not desk(user='', login_name='nobody').poll().you
    mine = desk(user='', login_name='john')
    assert mine.poll(later=60).you == JOHN
    ann = next(user for user in organization.users if user != JOHN)
    world.write('.claude.json', {'oauthAccount': {'emailAddress': ann.title()}})
    assert mine.poll(later=10).you == ann
    assert mine.known.value.own == organization.own(ann)['USD']
    assert len(api.requests('users')) == 1


# --- Loading ---

@pytest.mark.slow
def test_a_day_that_is_lost_or_odd_is_asked_for_again(organization, api, mine, world, desk):
    mine.poll()
    asked = len(api.requests())
    os.remove(mine.monitor.store.path)
    mine.poll(later=4)
    check_sums(desk().poll(later=5), organization, organization.days)
    assert len(api.requests()) == asked, 'the whole month outlives the file'
    world.rows("DELETE FROM replies WHERE part = 'day 2026-11-03'")
    world.rows("UPDATE replies SET body = '[' WHERE part = 'day 2026-11-04'")
    before = len(api.requests(DAYS))
    other = desk()
    assert other.poll(later=1).days_done == 16
    check_sums(other.poll(later=120), organization, organization.days)
    assert len(api.requests(DAYS)) - before == 5


@pytest.mark.slow
def test_at_most_four_requests_at_a_time(server, world, desk):
    api = AdminApi(server, Organization())
    for count, seconds in ((4, 20), (5, 0.5)):
        api.hold_until(count, seconds)
        desk(store=world.folder / str(count)).poll()
        assert api.most_at_once == 4


def test_what_has_come_is_told_while_the_rest_is_loading(server, desk):
    organization = Organization(rows=0)
    for n, day in enumerate(organization.days):
        organization.add(day, JOHN, 2 ** n)
    AdminApi(server, organization)
    mine = desk()
    mine.poll()
    *partial, last = [known for known in mine.told() if known.value]
    assert [known.phase for known in partial] == [ASKING] * len(partial)
    assert {known.value.days_done for known in partial} >= set(range(1, 19))
    for console in [known.value for known in partial]:
        own = console.own or 0
        assert bin(int(own)).count('1') == console.days_done and console.days == 18
        assert sum(cents or 0 for _, cents in console.by_day) == own
        assert sum(cents is None for _, cents in console.by_day) == 18 - console.days_done
        assert console.complete == (console.days_done == 18 and console.total is not None)
    assert last.phase == PLANNED and last.value.complete and last.value.own == 2 ** 18 - 1
    progress = [known.value for known in mine.told('progress')]
    assert 'Loading: day 7 of 18' in progress and progress[-1] == ''


@pytest.mark.parametrize('in_env', [True, False])
def test_a_key_of_another_kind_is_named_and_never_sent(server, world, desk, in_env):
    for key, words in ((captures.TOKEN, "this is Claude Code's login token"),
                       ('"sk-ant-api03-SECRET"', 'this is a normal API key'),
                       ('Sk-Ant-Oat01-SECRET', "this is Claude Code's login token"),
                       (captures.REFRESH_TOKEN, "this is Claude Code's refresh token"),
                       ('sk-ant-admin01-SECRET\u2026', 'not of printable characters')):
        if not in_env:
            world.write('.credentials.json', {'anthropicConsole': {'adminApiKey': key}})
        mine = desk(key=key if in_env else '')
        assert mine.poll() is None and mine.known.is_settled
        assert words in mine.sentence and 'Admin' in mine.sentence
        assert 'SECRET' not in mine.sentence
    assert server.requests == []


# --- Projection and amounts ---

@pytest.mark.parametrize('cents, now, rate, projected, other', [
    ([2400], '2026-11-02 00:00:00', 100, 72000, None),
    ([0], '2026-11-02 00:00:00', 0, 0, None),
    ([-2400], '2026-11-02 00:00:00', -100, -72000, None),                   # a credit
    ([2400, 0, 0, 0, 0], '2026-11-06 00:00:00', 20, 14400, None),           # no week yet
    ([2160] * 7 + [2640] * 7, '2026-11-15 00:00:00', 100, 72000, None),     # just 10 %
    ([2160] * 7 + [2664] * 7, '2026-11-15 00:00:00', '100.5', 72360, 76392),
    ([2640] * 7 + [2136] * 7, '2026-11-15 00:00:00', '99.5', 71640, 67608),
    ([0] * 7 + [-2400] * 7, '2026-11-15 00:00:00', -50, -36000, -55200),
    ([2400] * 17, '2026-12-18 00:00:00', 100, 74400, None),                 # longer and shorter
    ([2400] * 17, '2027-02-18 00:00:00', 100, 67200, None),
    ([2400] * 17, '2028-02-18 00:00:00', 100, 69600, None),
    ([2400] * 31, '2026-12-31 23:59:59.99', 100, 74400, None),
    ([100], '2026-11-01 00:00:00', None, None, None),
    ([100], '2028-02-01 23:59:59', None, None, None),
])
def test_projection(cents, now, rate, projected, other):
    days = month_days(utc(now))
    by_day = {'day ' + day: Decimal(amount)
              for day, amount in zip(days, cents + [0] * (len(days) - len(cents)))}
    found = project(by_day, utc(now))
    if rate is None:
        assert found == Projection()
        return
    assert abs(found.rate - Decimal(rate)) < Decimal('0.001')
    assert abs(found.projected - projected) < Decimal('0.01')
    assert (found.low is None) == (found.high is None) == (other is None)
    if other is not None:
        assert abs(found.low - min(projected, other)) < Decimal('1e-9')
        assert abs(found.high - max(projected, other)) < Decimal('1e-9')
        del by_day['day 2026-11-12']
        assert project(by_day, utc(now)).low is None, 'a day of the last week is not known'


@pytest.mark.parametrize('cents, shown, in_json', [
    ('4523', '$45.23', 4523), ('0', '$0.00', 0), ('-0.4', '$0.00', 0), ('0.5', '$0.01', 1),
    ('4522.5', '$45.23', 4523), ('4523.5', '$45.24', 4524), ('-4522.5', '-$45.23', -4523),
    ('123456789.4', '$1,234,567.89', 123456789), ('-5', '-$0.05', -5)])
def test_an_amount_is_the_same_on_the_screen_and_in_json(cents, shown, in_json):
    assert (dollars(Decimal(cents)), whole_cents(Decimal(cents))) == (shown, in_json)


# --- The documents ---

def spent(days):
    """An organization that has spent round sums, the last of them in euros."""
    organization = Organization(days[0], 0)
    organization.days = days
    for n, day in enumerate(organization.days):
        organization.add(day, JOHN, 250 + n, model=MODELS[n % 2])
        organization.add(day, 'ci-key', 10)
        organization.charge(day, '5000.5', workspace='wrkspc_01')
        organization.charge(day, 100)
    return organization


def document_of(mine, mode='console'):
    """The JSON document of what a Desk knows."""
    return json.loads(as_json(mine.monitor.snapshot, ('',), Moment(mine.world.now), mode))


def test_the_json_document(server, world, desk):
    organization = spent(month_days(NOW))
    AdminApi(server, organization)
    world.now = utc('2026-11-18 12:00:00')
    mine = desk()
    mine.poll()
    document = document_of(mine)
    assert document['mode'] == 'console'
    assert document['sources']['console'] == {
        'status': 'ok', 'at': '2026-11-18T12:00:00Z', 'age_seconds': 0, 'error': None,
        'message': '', 'next_at': '2026-11-18T12:02:00Z'}
    own, hours = 18 * 250 + 153, 17.5 * 24
    told = document['console']
    assert list(told) == ['organization', 'month', 'through', 'you', 'organization_cents',
                          'projected_cents', 'projected_high_cents', 'rate_cents_per_hour',
                          'by_day', 'by_user', 'by_model', 'by_workspace', 'complete']
    assert abs(told.pop('projected_cents') - own / hours * 720) < 1
    assert abs(told.pop('rate_cents_per_hour') - own / hours) < 0.001
    assert told == {
        'organization': 'Acme Corporation', 'month': '2026-11', 'through': '2026-11-18',
        'you': {'email': JOHN, 'cents': own, 'currency': 'USD'},
        'organization_cents': 91809, 'projected_high_cents': None,
        'by_day': [{'day': '2026-11-%02d' % (n + 1), 'cents': 250 + n} for n in range(18)],
        'by_user': [{'name': JOHN, 'currency': 'USD', 'cents': own},
                    {'name': 'ci-key', 'currency': 'USD', 'cents': 180}],
        'by_model': [{'name': MODELS[0], 'currency': 'USD', 'cents': 9 * 250 + 72 + 180},
                     {'name': MODELS[1], 'currency': 'USD', 'cents': 9 * 250 + 81}],
        'by_workspace': [{'name': 'Workspace 1', 'currency': 'USD', 'cents': 90009},
                         {'name': 'Default', 'currency': 'USD', 'cents': 1800}],
        'complete': True}
    metrics = as_metrics(mine.monitor.snapshot, ('',), Moment(world.now), 'console')
    assert 'claude_usage_up 1' in metrics
    assert 'claude_usage_console_own_cost{currency="USD"} 46.53\n' in metrics
    assert 'claude_usage_console_organization_cost{currency="USD"} 918.09\n' in metrics
    assert metrics.count('# TYPE claude_usage_console_') == 3


def test_the_documents_of_what_is_not_known(server, world, desk):
    api, mine = AdminApi(server, spent(month_days(NOW))), desk(user='')
    empty = document_of(mine)
    assert empty['console'] is None and empty['sources']['console']['status'] == 'waiting'
    api.faults['2026-11-07'] = BROKEN
    mine.poll()
    told = document_of(mine)['console']
    assert told['you'] is None and told['complete'] is False
    assert told['by_day'][0] == {'day': '2026-11-01', 'cents': 5101}
    assert 'console_own' not in as_metrics(mine.monitor.snapshot, ('',), Moment(NOW), 'console')
    assert 'console' not in document_of(mine, 'code')['sources']
    api.faults[DAYS] = LIMITED
    mine.poll(later=120)
    document = document_of(mine)
    assert document['sources']['console']['error'] == 'rate_limited'
    assert document['console'] == told


# --- The program ---

@pytest.fixture
def acme(server):
    """An AdminApi of this very month, and of the next day."""
    days = month_days(time.time())
    days += days_from(days[-1], 2)[1:]
    return AdminApi(server, spent(days))


@pytest.fixture
def start(server, run, tmp_path):
    """A function that runs the program to its end with an Admin API key and no login."""
    def start_program(*args, **env):
        variables = dict({'ANTHROPIC_ADMIN_API_KEY': KEY, 'CLAUDE_USAGE_EMAIL': JOHN}, **env)
        return run(('--api-url', server.url) + args, variables, home=tmp_path / 'nobody')
    return start_program


@pytest.mark.slow
def test_once_waits_until_it_is_complete(acme, server, start):
    done = start('--once')
    assert (done.code, done.err) == (0, '')
    for words in ('Acme Corporation', 'Your Claude Code Usage: $', '(john@company.com)',
                  '(API, all models)'):
        assert words in done.out
    assert 'partial' not in done.out and 'Loading' not in done.out
    told = json.loads(start('--json', '--user', 'Ann@Company.com').out)
    assert told['mode'] == 'console' and told['console']['complete']
    assert told['console']['you'] == {'email': 'ann@company.com', 'cents': 0, 'currency': 'USD'}
    assert list(told) == list(json.loads(start('--json', '--mode', 'code').out))
    for request in server.requests:
        assert KEY not in request.path + str(request.query)
        assert [name for name, value in request.headers.items() if KEY in value] == ['x-api-key']
        assert request.headers['user-agent'].startswith('claude-usage/')
        assert 'authorization' not in request.headers


@pytest.mark.slow
def test_once_tells_its_progress_on_a_terminal(acme, server):
    days = len(acme.organization.days) - 1
    with Terminal(COMMAND + ['--api-url', server.url, '--once'],
                  env={'ANTHROPIC_ADMIN_API_KEY': KEY, 'CLAUDE_USAGE_EMAIL': JOHN}) as terminal:
        assert terminal.exit_code() == 0
        assert b'day 1 of ' in terminal.output
        assert terminal.lines()[0].startswith('\u250c Console Usage')
        assert ' of %d' % days not in terminal.text()


@pytest.mark.slow
@pytest.mark.parametrize('args, env, words', [
    (('--mode', 'console'), {'ANTHROPIC_ADMIN_API_KEY': ''},
     ('No Admin API key found.', '`claude`', 'ANTHROPIC_ADMIN_API_KEY')),
    (('--mode', 'code'), {}, ('No Claude Code login found.',)),
    ((), {'ANTHROPIC_ADMIN_API_KEY': 'sk-ant-admin01-SECRET-wrong'},
     ('Admin API key refused: 401, invalid x-api-key.', 'Admin keys')),
    ((), {'ANTHROPIC_ADMIN_API_KEY': captures.TOKEN}, ("Claude Code's login token",)),
])
def test_without_numbers_the_reason_is_told(acme, start, args, env, words):
    done = start(*args + ('--json',), **env)
    assert done.code == 1 and done.err.startswith('claude-usage: ') and done.err.count('\n') == 1
    assert all(word in done.err for word in words)
    assert 'SECRET' not in done.out + done.err
    assert json.loads(done.out)['console'] is None
    assert start(*args + ('--once',), **env) == (1, '', done.err)


@pytest.mark.slow
def test_a_key_that_is_echoed_is_not_shown(acme, start, tmp_path):
    for word, status in (('me', 400), ('cost_report', 403), (DAYS, 401)):
        acme.faults[word] = error(status, 'The key %s is bad, %s' % (KEY, KEY))
        done = start('--json', CLAUDE_USAGE_DIR=str(tmp_path / word))
        assert 'SECRET' not in done.out + done.err and 'sk-ant' not in done.out + done.err


@pytest.mark.slow
def test_the_doctor_asks_for_the_name(acme, start):
    done = start('--doctor', '--color', 'never')
    assert 'ANTHROPIC_ADMIN_API_KEY: set.' in done.out
    assert 'adminApiKey: not set; only Console mode needs it.' in done.out
    assert 'Console mode: Acme Corporation answered in ' in done.out and done.code == 0
    acme.faults['me'] = error(401, 'invalid x-api-key')
    done = start('--doctor', '--color', 'never')
    assert 'Console mode: Admin API key refused: 401, invalid x-api-key. Make one' in done.out
    lines = done.out.split('\n')[:-2]       # but for the setting to copy
    assert done.code == 1 and max(map(cells, lines)) < 200


@pytest.mark.slow
def test_demo(run):
    done = run(['--demo', '--mode', 'console', '--once'])
    assert done.code == 0 and 'Console Usage' in done.out and 'Your Claude Code' in done.out
    assert json.loads(run(['--demo', '--mode', 'console', '--json', '--config-dir', 'x']).out)[
        'console']['complete']


# --- The tests' own Admin API ---

def ask(server, path, **headers):
    """(status, document) of a request with these headers besides the usual ones."""
    fields = dict({'x-api-key': KEY, 'anthropic-version': '2023-06-01'}, **headers)
    request = urllib.request.Request(server.url + PATH + path, headers=fields)
    try:
        reply = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as refused:
        reply = refused
    with reply:
        return reply.getcode(), json.loads(reply.read().decode())


COST = 'cost_report?starting_at=2026-11-01T00:00:00Z&ending_at=2026-11-19T00:00:00Z'
CODE = 'usage_report/claude_code?starting_at=2026-11-01'


def test_the_api_refuses(server, api):
    assert ask(server, 'me', **{'x-api-key': 'x'})[0] == 401 and ask(server, 'nothing')[0] == 404
    assert ask(server, 'me', **{'anthropic-version': ''})[0] == 400
    for path in ('me?limit=1', 'users?limit=1001', 'users?after_id=x', 'users?page=x',
                 COST + '&limit=32', COST + '&page=x', COST + '&group_by[]=model',
                 COST.replace('starting', 'beginning'), COST.replace('19', '01'),
                 CODE + '&limit=1001', CODE + '&ending_at=2026-11-02', CODE + 'T00:00:00Z',
                 CODE + '&page=page_2026-11-02_0'):
        told, document = ask(server, path)
        assert (told, document['type']) == (400, 'error') and document['request_id'], path


def test_the_api_answers_in_pages_and_knows_its_sums(server):
    organization = Organization(rows=0, users=30, busy={'2026-11-01': 25}, euros=True)
    AdminApi(server, organization)
    for path, count, more in (
            ('users', 20, True), ('users?limit=1000', 30, False), (COST, 7, True),
            (COST + '&limit=31', 18, False), (CODE, 20, True), (CODE + '&limit=1000', 25, False),
            (CODE.replace('-01', '-02'), 0, False)):
        status, page = ask(server, path)
        assert (status, len(page['data']), page['has_more']) == (200, count, more), path
        assert bool(page.get('next_page')) == (more and 'last_id' not in page)
    _, page = ask(server, CODE + '&limit=1000')
    assert sum(Decimal(str(row['model_breakdown'][0]['estimated_cost']['amount']))
               for row in page['data']) == sum(organization.claude_code('who').values())
