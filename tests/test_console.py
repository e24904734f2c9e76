"""Console mode: what the Admin API tells, to the cent, well or badly."""
import copy
import json
import os
import queue
import tempfile
import threading
import time
import urllib.error
import urllib.request
from decimal import Decimal

import pytest

import captures
from admin import JOHN, KEY, MODELS, PATH, AdminApi, Organization, days_from, error
from claude_usage import (CONSOLE_ERRORS, DAY, HOUR, MODES, ConsolePoller, Projection, Snapshot,
                          SourceError, Store, absorb, detect_mode, dollars, has_credentials,
                          message, parse_admin_key, parse_claude_code, parse_cost_report,
                          parse_time, project, reckon_console, skew_of, summed, utc_day, who_am_i,
                          whole)
from server import Reply
from terminal import COMMAND, Terminal

DAY_PATH = 'claude_code'
BROKEN = error(500, 'Internal server error')
NOW = parse_time('2026-11-18T14:23:15Z')


def utc(text):
    """Epoch seconds of 'YYYY-MM-DD HH:MM:SS'."""
    return parse_time(text + 'Z')


def table(rows):
    """{(name, currency): cents} of a Console's ranked rows."""
    return {(name, currency): cents for name, currency, cents in rows}


def month_days(now):
    """The days of a month so far."""
    return days_from(utc_day(now)[:8] + '01', int(utc_day(now)[8:]))


class Desk:
    """A ConsolePoller in a test's hands: it asks when told to, and its clock stands still."""

    def __init__(self, url, now, user, env, clock=None, store=None):
        self.now, self.inbox = now, queue.Queue()
        self.snapshot, self.told = Snapshot(), []
        self.store = store or Store(tempfile.mkdtemp(dir=env['CLAUDE_CONFIG_DIR']))
        self.poller = ConsolePoller(self.inbox, clock or (lambda: self.now), url, env,
                                    self.store, user)

    def poll(self, asked=False):
        """Let it ask what is due, to the last request; return the Console that is known then."""
        before = set(threading.enumerate())
        if asked:
            self.poller.ask_now(self.poller.clock())
        self.poller.once()
        for thread in set(threading.enumerate()) - before:
            if thread.is_alive():           # not one that is just being started, by the server
                thread.join(20)
        return self.read()

    def read(self):
        while not self.inbox.empty():
            reading = self.inbox.get()
            self.told.append(reading)
            self.snapshot = absorb(self.snapshot, reading)
        return self.snapshot.console.value

    @property
    def failure(self):
        return self.snapshot.console.failure

    @property
    def sentence(self):
        """What is said of the failure."""
        return message(self.failure, None, self.now, CONSOLE_ERRORS) if self.failure else ''


@pytest.fixture
def env(tmp_path):
    """The environment of somebody with an Admin API key and no login."""
    return {'CLAUDE_CONFIG_DIR': str(tmp_path), 'ANTHROPIC_ADMIN_API_KEY': KEY}


@pytest.fixture
def desk(server, env):
    """A function that opens a Desk at the server."""
    def open_desk(now=NOW, user=JOHN, **options):
        return Desk(server.url, now, user, env, **options)
    return open_desk


def write(env, document, name='.credentials.json'):
    """Put a document among the files of Claude Code."""
    with open(os.path.join(env['CLAUDE_CONFIG_DIR'], name), 'w') as file:
        json.dump(document, file)


def check_sums(console, organization, days, user=JOHN):
    """All sums are the organization's own, exactly."""
    assert console.own == organization.own(user, days)
    assert console.total == organization.total(days)
    assert table(console.by_user) == organization.claude_code('who', days)
    assert table(console.by_model) == organization.claude_code('model', days)
    assert table(console.by_workspace) == organization.by_workspace(days)
    assert dict(console.by_day) == {
        day: organization.own(user, (day,)).get('USD', 0) for day in days}


# --- The sums ---

@pytest.mark.parametrize('size', [1, 2, 7, 20, 100, 999, 1000])
@pytest.mark.parametrize('now', [
    '2026-11-01 00:00:00', '2026-11-02 09:30:00', '2026-11-28 00:00:01', '2026-11-29 12:00:00',
    '2026-11-30 23:59:59', '2026-12-31 18:00:00', '2027-02-28 06:00:00', '2028-02-29 12:00:00'])
def test_sums_are_the_servers_own_at_every_page_size(server, desk, now, size):
    days = month_days(utc(now))
    before = utc_day(utc(days[0] + ' 00:00:00') - DAY)
    organization = Organization(before, len(days) + 2, rows=2,
                                busy={days[0]: size, days[-1]: size + 1})
    api = AdminApi(server, organization, page=size)
    console = desk(utc(now)).poll()
    check_sums(console, organization, days)
    assert (console.month, console.through) == (now[:7], now[:10])
    assert console.complete and console.organization == 'Acme Corporation'
    assert len(api.requests(DAY_PATH)) >= len(days) + 1      # its last day has two pages


@pytest.mark.parametrize('user', [JOHN, ''])
def test_another_monitor_takes_them_all_from_the_store(server, desk, env, user):
    """To the last digit, and asks later only for what may still change."""
    env['USER'] = 'John'
    organization = Organization(days=18)
    organization.charge('2026-11-02', '0.0000000000000000001')
    api, first = AdminApi(server, organization), desk(user=user)
    console = first.poll()
    asked = len(server.requests)
    second = desk(user=user, store=first.store)
    assert second.poll() == console and second.failure is None
    assert second.snapshot.console.at == first.snapshot.console.at
    assert len(server.requests) == asked
    second.now += 120
    check_sums(second.poll(), organization, month_days(second.now))
    assert len(api.requests(DAY_PATH)) < 18 + 5


def test_another_key_takes_nothing_from_the_store(server, desk, env):
    AdminApi(server, Organization(days=18))
    first = desk()
    assert first.poll()
    env['ANTHROPIC_ADMIN_API_KEY'] = KEY + '-of-another'
    second = desk(store=first.store)
    assert second.poll() is None and second.failure.code == 'unauthorized'
    first.now += 120
    env['ANTHROPIC_ADMIN_API_KEY'] = KEY
    assert first.poll() and first.failure is None


def test_quiet_days(server, desk):
    AdminApi(server, Organization(rows=0))
    console = desk().poll()
    assert console.complete and console.own == console.total == {}
    assert [cents for _, cents in console.by_day] == [0] * 18
    assert console.projection == Projection(0, 0, None)


def test_ten_thousand_users(server, desk, env):
    organization = Organization(days=2, users=10000, rows=2000)
    api = AdminApi(server, organization)
    env['USER'] = 'John'
    console = desk(utc('2026-11-02 12:00:00'), user='').poll()
    check_sums(console, organization, organization.days)
    assert len(api.requests('users')) == 10 and len(console.by_user) > 2000


def test_other_currencies_are_summed_apart(server, desk):
    organization = Organization(days=0)
    for cents, currency in (('10.5', 'USD'), ('20.25', 'EUR'), ('-3', 'EUR'), ('7', 'JPY')):
        organization.add('2026-11-02', JOHN, cents, currency)
        organization.charge('2026-11-02', cents, currency)
    AdminApi(server, organization)
    console = desk().poll()
    assert console.own == console.total == {
        'USD': Decimal('10.5'), 'EUR': Decimal('17.25'), 'JPY': Decimal(7)}
    assert dict(console.by_day)['2026-11-02'] == Decimal('10.5')


def test_an_api_key_that_is_named_like_a_user_is_not_that_user(server, desk):
    organization = Organization(days=1)
    AdminApi(server, organization)
    organization.rows['2026-11-01'].append(dict(
        organization.rows['2026-11-01'][0],
        actor={'type': 'api_actor', 'api_key_name': JOHN}))
    assert desk().poll().own == organization.own(JOHN)


def test_a_million_rows_are_off_by_nothing():
    amounts = [Decimal(n * 7919 % 100003 - 20000) / 1000 for n in range(10000)]
    one = parse_cost_report([{'starting_at': '2026-11-01', 'results': [
        {'amount': str(amount), 'workspace_id': 'w%d' % (n % 3)}
        for n, amount in enumerate(amounts)]}])
    total = sum(n * 7919 % 100003 - 20000 for n in range(10000))    # thousandths of a cent
    assert one[0] == {('2026-11-01', 'USD'): Decimal(total) / 1000}
    days = summed(one[1] for _ in range(100))
    assert sum(days.values()) * 1000 == 100 * total


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
    (row(), {(JOHN, 'USD'): Decimal('12.5')}),
    (row(actor={'type': 'user_actor', 'email_address': 'John@Company.COM'}),
     {(JOHN, 'USD'): Decimal('12.5')}),
    (row(actor=None), {('unknown', 'USD'): Decimal('12.5')}),
    (row(actor={}), {('unknown', 'USD'): Decimal('12.5')}),
    (row(actor={'type': 'robot_actor', 'serial': 7}), {('robot_actor', 'USD'): Decimal('12.5')}),
    (row(actor={'type': 'api_actor', 'api_key_name': 'CI'}), {('CI', 'USD'): Decimal('12.5')}),
    (row(model_breakdown=None), {}), (row(model_breakdown=[]), {}),
    (row(model_breakdown=[{'model': 'm', 'estimated_cost': None}]), {(JOHN, 'USD'): 0}),
    (costing(None), {(JOHN, 'USD'): 0}),
    (costing(7), {(JOHN, 'USD'): 7}),
    (costing('12.345'), {(JOHN, 'USD'): Decimal('12.345')}),
    (costing(Decimal('-0.5')), {(JOHN, 'USD'): Decimal('-0.5')}),
    (costing('-3', currency='eur'), {(JOHN, 'EUR'): -3}),
    (costing(1, currency=None), {(JOHN, 'USD'): 1}),
])
def test_rows_of_claude_code(given, sums):
    assert parse_claude_code([given]).by_user == sums
    good = row(actor={'type': 'user_actor', 'email_address': 'ann@company.com'})
    both = parse_claude_code([good, given, good]).by_user
    assert both == dict([(('ann@company.com', 'USD'), Decimal(25)), *sums.items()])


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
    by_day, by_workspace = parse_cost_report(
        [{'starting_at': '2026-11-07T00:00:00Z', 'results': results}])
    assert by_workspace == {(name, 'USD'): cents for name, cents in sums.items()}
    assert by_day == ({('2026-11-07', 'USD'): sum(sums.values())} if sums else {})


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


@pytest.mark.parametrize('parse, document', [
    (parse_claude_code, [row(), row()]),
    (parse_cost_report, [Organization(days=2).bucket('2026-11-02')])])
def test_a_wrong_shape_is_a_failure_and_never_a_crash(parse, document):
    wrong = 0
    for broken in spoiled(document):
        try:
            parse([value if isinstance(value, dict) else {} for value in broken])
        except SourceError as failed:
            assert failed.failure.code == 'bad_reply'
            wrong += 1
    assert wrong > 20


@pytest.mark.parametrize('body', [b'', b'x', [], {}, {'data': None}, {'data': {}}, {'data': [1]},
                                  {'data': [], 'has_more': True}, '<html>', None])
def test_a_day_that_is_no_report_is_missing(server, desk, body):
    organization = Organization()
    AdminApi(server, organization).faults['2026-11-07'] = Reply(body=body)
    console = desk().poll()
    assert console.days_done == 17 and not console.complete
    assert [(day, failure.code) for day, failure in console.problems] == [
        ('2026-11-07', 'bad_reply')]


@pytest.mark.parametrize('token', ['page_2026-11-07_1', '\ud800', '', 7, None, 'x' * 99999])
@pytest.mark.parametrize('where', ['2026-11-07', 'cost_report', 'workspaces', 'users'])
def test_a_page_that_does_not_lead_on_ends_the_report(server, env, where, token):
    """A token that repeats, above all, must not be followed for ever."""
    organization = Organization()
    api = AdminApi(server, organization)
    api.faults[where] = Reply(body={'data': [], 'has_more': True, 'next_page': token,
                                    'last_id': token})
    env['USER'] = 'john'
    desk = Desk(server.url, NOW, '', env)
    thread = threading.Thread(target=desk.poll, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), 'it asks, or waits, for ever'
    assert len(api.requests()) <= 30
    console = desk.read()
    assert desk.failure or console
    assert where in ('workspaces', 'users') or not console.complete


# --- Failures ---

@pytest.mark.parametrize('page', [1, 1000])
@pytest.mark.parametrize('fault', [BROKEN, error(529, 'Overloaded'), error(403, 'No'),
                                   Reply(body='<html>'), Reply(cut=5, body={'data': []})])
def test_a_day_that_fails_among_good_ones(server, desk, fault, page):
    organization = Organization(rows=2)
    api = AdminApi(server, organization, page=page)
    mine = desk()
    api.faults['2026-11-07'] = fault if page == 1000 else (
        lambda request: fault if 'page' in request.query else None)     # its second page only
    console = mine.poll()
    rest = [day for day in organization.days if day != '2026-11-07']
    assert console.own == organization.own(JOHN, rest)
    assert table(console.by_user) == organization.claude_code('who', rest)
    assert console.total == organization.total()
    assert (console.complete, console.days_done, console.days) == (False, 17, 18)
    assert [part for part, _ in console.problems] == ['2026-11-07'] and not mine.failure
    del api.faults['2026-11-07']
    mine.now += 120
    console = mine.poll()
    check_sums(console, organization, organization.days)
    assert console.complete


def test_a_known_day_that_fails_later_stays(server, desk):
    organization = Organization()
    api, mine = AdminApi(server, organization), desk()
    mine.poll()
    api.faults['2026-11-17'] = BROKEN
    mine.now += 120
    console = mine.poll()
    check_sums(console, organization, organization.days)
    assert not console.complete
    assert console.days_done == console.days - 1, 'so that the sum is marked partial'


def test_a_day_that_goes_on_failing_is_not_loading_again(server, desk):
    api, mine = AdminApi(server, Organization()), desk()
    api.faults['2026-11-07'] = BROKEN
    mine.poll()
    told = len(mine.told)
    mine.now += 120
    assert mine.poll().by_day[6] == ('2026-11-07', None)
    assert len(mine.told) == told + 1, 'only the whole'


REVOKED = error(401, 'invalid x-api-key')
LIMITED = error(429, 'Too many requests', **{'Retry-After': '720'})


@pytest.mark.parametrize('fault, code', [(REVOKED, 'unauthorized'), (LIMITED, 'rate_limited'),
                                         (BROKEN, 'server_error'),
                                         (Reply(cut=1, body={'data': []}), 'network')])
def test_numbers_stay_when_everything_fails(server, desk, fault, code):
    """As when the key is revoked while the program runs."""
    organization = Organization()
    api, mine = AdminApi(server, organization), desk()
    mine.poll()
    api.faults.update(cost_report=fault, claude_code=fault, me=fault)
    mine.now += 120
    console = mine.poll()
    check_sums(console, organization, organization.days)
    assert mine.failure.code == code
    assert mine.snapshot.console.at == NOW, 'these numbers are not new'
    assert mine.snapshot.console.next_at > mine.now
    api.faults.clear()
    mine.now = mine.snapshot.console.next_at
    assert mine.poll().complete and not mine.failure


def test_a_cost_report_that_fails_later_stays(server, desk):
    organization = Organization()
    api, mine = AdminApi(server, organization), desk()
    mine.poll()
    api.faults['cost_report'] = BROKEN
    mine.now += 120
    console = mine.poll()
    assert console.total == organization.total() and not console.complete


def test_another_key_is_tried_at_once(server, desk, env):
    organization = Organization()
    api, mine = AdminApi(server, organization), desk()
    del env['ANTHROPIC_ADMIN_API_KEY']
    write(env, {'anthropicConsole': {'adminApiKey': KEY}})
    mine.poll()
    api.key = KEY + '2'
    mine.now += 120
    mine.poll()
    assert mine.failure.code == 'unauthorized' and 'Console' in mine.sentence
    asked = len(api.requests())
    mine.now += 1
    mine.poll()
    assert len(api.requests()) == asked
    organization.name = 'Other Corporation'
    write(env, {'anthropicConsole': {'adminApiKey': KEY + '2'}})
    console = mine.poll()
    assert not mine.failure and console.organization == 'Other Corporation'


@pytest.mark.parametrize('word', ['cost_report', 'claude_code', 'users', 'workspaces', 'me'])
def test_a_key_without_access_to_one_report(server, desk, env, word):
    organization = Organization()
    api = AdminApi(server, organization)
    api.faults[word] = error(403, 'This key may not read this')
    env['USER'] = 'john'
    console = desk(user='').poll()
    assert console, 'all the rest may be read'
    assert console.total == (None if word == 'cost_report' else organization.total())
    unknown = word in ('claude_code', 'users')
    assert console.own == (None if unknown else organization.own(JOHN))
    if word == 'claude_code':
        assert not console.projection, 'nothing to reckon it from'
    if word in ('cost_report', 'claude_code'):
        assert not console.complete
        assert {(bool(part), failure.code) for part, failure in console.problems} == {
            (word == 'claude_code', 'forbidden')}


@pytest.mark.parametrize('fault', [BROKEN, error(529, 'Overloaded'), Reply(body='<html>')])
@pytest.mark.parametrize('word', ['users', 'workspaces', 'me'])
def test_a_name_that_fails_once_is_asked_for_again(server, desk, env, word, fault):
    organization = Organization()
    api, mine = AdminApi(server, organization), desk(user='')
    env['USER'] = 'john'
    api.faults[word] = fault
    mine.poll()
    api.faults.clear()
    mine.now = max(mine.now + 120, mine.snapshot.console.next_at)
    console = mine.poll()
    check_sums(console, organization, organization.days)
    assert (console.organization, console.you) == (organization.name, JOHN)
    before = len(api.requests())
    mine.now += 120
    mine.poll()
    assert len(api.requests()) - before == 4


@pytest.mark.parametrize('word', ['cost_report', 'claude_code', 'users', 'workspaces', 'me'])
def test_a_report_without_access_costs_few_requests(server, desk, word):
    api, mine = AdminApi(server, Organization()), desk(user='')
    api.faults[word] = error(403, 'This key may not read this')
    mine.poll()
    before = len(api.requests())
    mine.now += 120
    mine.poll()
    assert len(api.requests()) - before <= 4


@pytest.mark.parametrize('retry_after, seconds', [('720', 720), ('6', 60), ('', 60)])
@pytest.mark.parametrize('word', ['cost_report', 'claude_code', 'me', '2026-11-18'])
@pytest.mark.parametrize('later', [False, True])
def test_after_a_429_the_whole_source_waits(server, desk, later, word, retry_after, seconds):
    organization = Organization()
    api, mine = AdminApi(server, organization), desk()
    if later and word != 'me':
        mine.poll()
        mine.now += 120
    api.faults[word] = error(429, 'Slow down', **{'Retry-After': retry_after})
    mine.poll()
    assert mine.failure.code == 'rate_limited'
    assert mine.snapshot.console.next_at == mine.now + seconds
    asked, began = len(api.requests()), mine.now
    api.faults.clear()
    for wait, is_asked in ((1, False), (seconds // 2, True), (seconds - 1, True)):
        mine.now = began + wait
        mine.poll(is_asked)
    assert len(api.requests()) == asked
    mine.now = began + seconds
    check_sums(mine.poll(), organization, organization.days)
    assert not mine.failure


def test_after_a_429_nobody_goes_on_paging(server, desk):
    busy = {'2026-11-%02d' % day: 300 for day in (1, 2, 3)}
    api = AdminApi(server, Organization(rows=0, busy=busy), page=1)
    api.faults['cost_report'] = lambda _: (server.wait_for(3, PATH + 'usage_report/claude_code')
                                           and LIMITED)
    desk().poll()
    assert len(api.requests(DAY_PATH)) < 200, 'of 900'


@pytest.mark.parametrize('fault', [LIMITED, REVOKED])
def test_what_has_come_before_a_429_is_not_asked_for_again(server, desk, fault):
    organization = Organization()
    api, mine = AdminApi(server, organization), desk()
    api.faults['2026-11-12'] = fault
    mine.poll()
    known = [day for day, _ in mine.poller.days.items()]
    before = len(api.requests(DAY_PATH))
    api.faults.clear()
    mine.now = mine.snapshot.console.next_at
    told = len(mine.told)
    check_sums(mine.poll(), organization, organization.days)
    asked = [request.query['starting_at'][0] for request in api.requests(DAY_PATH)[before:]]
    assert not set(asked) & set(known) - set(organization.days[-3:])
    assert len(mine.told) - told > 1, 'what is still missing comes with progress'


# --- Time goes by ---

def test_finished_days_are_fetched_once(server, desk):
    organization = Organization(days=24)
    api, mine = AdminApi(server, organization), desk(utc('2026-11-18 00:00:00'))
    mine.poll()
    assert len(api.requests(DAY_PATH)) == 18 and len(api.requests()) == 18 + 1 + 2
    for hours, most in ((0.1, 4), (23.9, 4), (24, 5), (25, 4), (5 * 24, 9), (5 * 24 + 1, 4)):
        before = len(api.requests())
        mine.now = utc('2026-11-18 00:00:00') + hours * HOUR
        check_sums(mine.poll(), organization, month_days(mine.now))
        assert len(api.requests()) - before <= most, hours


@pytest.mark.parametrize('fault', [BROKEN, error(429, 'Slow down')])
def test_a_day_is_kept_as_it_is_when_it_has_become_final(server, desk, fault):
    """Not as it was known before, if just then it cannot be had."""
    organization = Organization()
    api, mine = AdminApi(server, organization), desk(utc('2026-11-17 23:59:00'))
    mine.poll()
    organization.add('2026-11-15', JOHN, '70000')
    api.faults['2026-11-15'] = fault
    mine.now += 120                         # now it ended more than 48 hours ago
    mine.poll()
    api.faults.clear()
    mine.now += 120
    check_sums(mine.poll(), organization, organization.days)


def test_what_may_still_change_is_fetched_again(server, desk):
    organization = Organization()
    api, mine = AdminApi(server, organization), desk()
    mine.poll()
    for day in organization.days[-3:]:
        organization.add(day, JOHN, '1.25')
    organization.charge(organization.days[3], '99')
    mine.now += 120
    check_sums(mine.poll(), organization, organization.days)
    assert len(api.requests('cost_report')) == 2


def test_polls_keep_their_distance(server, desk):
    api, mine = AdminApi(server, Organization()), desk()
    mine.poll()
    before = len(api.requests())
    for seconds in (0, 60, 119.9):
        mine.now = NOW + seconds
        mine.poll()
    assert len(api.requests()) == before
    mine.now = NOW + 120
    mine.poll()
    assert len(api.requests()) == before + 4


def test_a_month_ends_while_it_runs(server, desk):
    organization = Organization('2026-11-28', 6)
    AdminApi(server, organization)
    mine = desk(utc('2026-11-30 23:59:00'))
    assert mine.poll().month == '2026-11'
    mine.now += 120
    console = mine.poll()
    check_sums(console, organization, ['2026-12-01'])
    assert (console.month, console.through, console.days) == ('2026-12', '2026-12-01', 1)
    assert console.complete and console.projection is None
    mine.now += 2 * DAY
    check_sums(mine.poll(), organization, days_from('2026-12-01', 3))


@pytest.mark.parametrize('off', [-1, 1])
def test_a_clock_that_is_wrong_by_a_day(server, desk, off):
    """The server's Date header tells the right time."""
    right = time.time() // DAY * DAY + off * DAY + DAY // 2
    days = month_days(right)
    organization = Organization(days[0], len(days) + 2)
    AdminApi(server, organization, date=right)
    console = desk(clock=time.time).poll()
    assert console.through == days[-1]
    check_sums(console, organization, days)


@pytest.mark.parametrize('date, skew', [
    ('Wed, 18 Nov 2026 14:23:15 GMT', 0), ('Wed, 18 Nov 2026 15:20:00 GMT', 0),
    ('Thu, 19 Nov 2026 14:23:15 GMT', DAY), ('Tue, 17 Nov 2026 14:23:15 GMT', -DAY),
    ('soon', 0), (None, 0)])
def test_skew(date, skew):
    assert skew_of({'Date': date} if date else {}, NOW) == skew


# --- Another process, the same store ---

def test_who_one_is_is_not_another_ones_answer(server, desk, env):
    """Of what the users' list says, another login name may make something else."""
    organization = Organization()
    AdminApi(server, organization)
    env['USER'] = 'nobody'
    first = desk(user='')
    assert not first.poll().you
    env['USER'] = 'john'
    john = desk(user='', store=first.store, now=NOW + 60)
    assert john.poll().you == JOHN
    ann = next(user for user in organization.users if user.lower() != JOHN).lower()
    write(env, {'oauthAccount': {'emailAddress': ann.title()}}, '.claude.json')
    other = desk(user='', store=first.store, now=NOW + 70)
    assert other.poll().you == ann
    assert other.snapshot.console.value.own == organization.own(ann)


def test_a_workspace_that_is_new_gets_its_name(server, desk):
    organization = Organization()
    api, mine = AdminApi(server, organization), desk()
    mine.poll()
    organization.workspaces['wrkspc_77'] = 'Fresh'
    organization.charge(organization.days[-1], '900', workspace='wrkspc_77')
    names = []
    for _ in range(31):
        mine.now += 120
        names += [[name for name, _, cents in mine.poll().by_workspace if cents == 900]]
    assert names[0] == ['wrkspc_77'] and names[-1] == ['Fresh']
    assert len(api.requests('workspaces')) == 2
    other = desk(store=mine.store, now=mine.now + 1)
    assert ('Fresh', 'USD', 900) in other.poll().by_workspace
    assert len(api.requests('workspaces')) == 2


def test_a_workspace_that_is_archived_has_its_name(server, desk):
    organization = Organization()
    organization.archived = set(sorted(organization.workspaces)[:1])
    AdminApi(server, organization)
    check_sums(desk().poll(), organization, organization.days)


@pytest.mark.parametrize('off', [-1, 1])
def test_another_process_whose_clock_is_as_wrong(server, desk, off):
    """It does not ask for days to come, nor keeps for good what may still change."""
    right = time.time() // DAY * DAY + off * DAY + DAY // 2
    days = month_days(right)
    organization = Organization(days[0], len(days) + 2)
    api = AdminApi(server, organization, date=right)
    first = desk(clock=time.time)
    first.poll()
    ahead = [0]
    other = desk(clock=lambda: time.time() + ahead[0], store=first.store)
    assert other.poll().through == days[-1] and len(api.requests('cost_report')) == 1
    ahead[0] = 121
    other.poll()
    assert len(api.requests('cost_report')) == 2
    asked = {request.query['starting_at'][0] for request in api.requests(DAY_PATH)}
    assert asked == set(days)
    final = other.poller.final
    assert all(parse_time(day + 'T00:00Z') + 3 * DAY <= right + 200 for day in final)


def test_a_month_has_ended_when_another_process_starts(server, desk):
    """The reply of the old month is none to wait upon."""
    organization = Organization('2026-11-28', 6)
    AdminApi(server, organization)
    first = desk(utc('2026-11-30 23:59:50'))
    first.poll()
    for later in (15, 20):
        other = desk(utc('2026-11-30 23:59:50') + later, store=first.store)
        console = other.poll()
        assert not other.failure and console.month == '2026-12' and console.complete


def test_what_was_stored_is_reckoned_by_its_own_time(server, desk):
    organization = Organization()
    api, first = AdminApi(server, organization), desk()
    known = first.poll()
    for word in ('me', 'users', 'workspaces', 'cost_report', 'claude_code'):
        api.faults[word] = BROKEN
    other = desk(now=NOW + 10 * DAY, store=first.store)
    assert other.poll() == known and other.failure
    assert other.snapshot.console.at == first.snapshot.console.at


def test_the_whole_month_outlives_the_file(server, desk):
    """The days that no longer change are stored anew with the rest."""
    organization = Organization()
    api, first = AdminApi(server, organization), desk()
    for happen in (lambda: None, lambda: os.remove(first.store.path), lambda: None):
        first.poll()
        happen()
        first.now += 4
    asked = len(api.requests())
    other = desk(now=first.now + 1, store=first.store)
    check_sums(other.poll(), organization, organization.days)
    assert len(api.requests()) == asked and other.snapshot.console.value.complete


def test_a_stored_reply_without_its_days_is_not_the_month(server, desk):
    organization = Organization()
    AdminApi(server, organization)
    first = desk()
    first.poll()
    first.store.use(lambda db: db.execute('DELETE FROM days'), NOW, 'data')
    other = desk(now=NOW + 1, store=first.store)
    check_sums(other.poll(), organization, organization.days)
    assert other.snapshot.console.value.complete
    third = desk(now=NOW + 2, store=first.store)
    check_sums(third.poll(), organization, organization.days)


def test_a_429_is_not_taken_for_an_older_refusal(server, desk):
    organization = Organization()
    api, mine = AdminApi(server, organization), desk()
    api.faults['claude_code'] = error(403, 'This key may not read this')
    mine.poll()
    mine.now += 120
    for word in ('claude_code', 'cost_report'):
        api.faults[word] = error(429, 'Slow down', **{'Retry-After': '900'})
    mine.poll()
    assert mine.failure.code == 'rate_limited'
    assert mine.snapshot.console.next_at == mine.now + 900
    asked = len(api.requests(DAY_PATH))
    api.faults['claude_code'] = error(403, 'This key may not read this')
    del api.faults['cost_report']
    mine.now += 900
    mine.poll()
    assert len(api.requests(DAY_PATH)) == asked + 1, 'it is still known to be refused'


CUT_OFF = Reply(cut=5, body={'data': []})


@pytest.mark.parametrize('fault, requests', [(BROKEN, 2), (CUT_OFF, 1), (error(403, 'No'), 2)])
def test_a_look_for_new_names_that_fails_keeps_the_old(server, desk, fault, requests):
    organization = Organization()
    api, mine = AdminApi(server, organization), desk(user='')
    mine.poller.env['USER'] = 'john'
    known = mine.poll()
    organization.charge(organization.days[-1], '900', workspace='wrkspc_77')
    mine.now += HOUR
    mine.poll()
    for word in ('me', 'users', 'workspaces'):
        api.faults[word] = fault
    for _ in range(2):
        mine.now += 120
        console = mine.poll()
        assert (console.organization, console.you) == (known.organization, JOHN)
        assert {name for name, _, _ in known.by_workspace} < {
            name for name, _, _ in console.by_workspace}
        assert console.complete and not mine.failure
    assert len(api.requests('workspaces')) == requests, 'seldom'


def test_who_takes_stored_numbers_asks_for_no_profile(server, desk, env):
    """Who polls may, once, if it has failed not for as long as that takes to pass."""
    AdminApi(server, Organization())
    write(env, LOGIN)
    server.answer('/api/oauth/profile', BROKEN)
    first = desk(user='')
    first.poll()
    for _ in range(5):
        desk(user='', now=NOW + 1, store=first.store).poll()
    assert len(server.wait_for(1, '/api/oauth/profile')) == 1


# --- Loading ---

def test_without_any_report_there_is_nothing_to_show(server, desk):
    api, mine = AdminApi(server, Organization()), desk()
    for word in ('cost_report', 'claude_code'):
        api.faults[word] = BROKEN
    assert mine.poll() is None and mine.failure.code == 'server_error'


def test_a_refused_report_is_missing_on_all_days_until_it_is_not(server, desk):
    organization = Organization()
    api, mine = AdminApi(server, organization), desk()
    api.faults['claude_code'] = error(403, 'This key may not read this')
    for _ in range(3):
        console = mine.poll()
        assert [part for part, _ in console.problems] == organization.days
        assert console.days_done == 0 and console.own is None
        mine.now += 120
    api.faults.clear()
    check_sums(mine.poll(), organization, organization.days)
    assert mine.snapshot.console.value.complete


def test_a_429_halfway_leaves_the_numbers_of_the_last_whole_poll(server, desk):
    organization = Organization()
    api, mine = AdminApi(server, organization), desk()
    known, at = mine.poll(), mine.snapshot.console.at
    organization.add(organization.days[-1], JOHN, '70000')
    organization.charge(organization.days[-1], '70000')
    mine.now += 120
    api.faults[organization.days[-2]] = LIMITED
    assert mine.poll() == known and mine.snapshot.console.at == at
    assert mine.failure.code == 'rate_limited'


def test_at_most_four_requests_at_a_time(server, desk):
    api = AdminApi(server, Organization())
    for count, seconds in ((4, 20), (5, 0.5)):
        api.hold_until(count, seconds)
        desk().poll()
        assert api.most_at_once == 4


def test_what_has_come_is_told_while_the_rest_is_loading(server, desk):
    organization = Organization(rows=0)
    for n, day in enumerate(organization.days):
        organization.add(day, JOHN, 2 ** n)
    AdminApi(server, organization)
    mine = desk()
    mine.poll()
    told = [reading for reading in mine.told if reading.source == 'console']
    *partial, last = [reading.value for reading in told]
    assert [reading.next_at is None for reading in told] == [True] * len(partial) + [False]
    assert {console.days_done for console in partial} >= set(range(1, 19))
    for console in partial:
        own = (console.own or {}).get('USD', 0)
        assert bin(int(own)).count('1') == console.days_done and console.days == 18
        assert sum(cents or 0 for _, cents in console.by_day) == own
        assert sum(cents is None for _, cents in console.by_day) == 18 - console.days_done
        assert console.complete == (console.days_done == 18 and console.total is not None)
    assert last.complete and last.own == {'USD': 2 ** 18 - 1}


def test_a_month_without_its_bill_is_not_complete():
    days = {day: parse_claude_code([]) for day in month_days(NOW)}
    console = reckon_console('Acme', JOHN, days, None, {}, {}, NOW)
    assert not console.complete
    assert reckon_console('Acme', JOHN, days, ({}, {}), {}, {}, NOW).complete


# --- Who am I ---

def test_a_login_that_appears_makes_another_mode(server, desk, env):
    AdminApi(server, Organization())
    mine = desk()
    mine.poll()
    assert mine.snapshot.modes.value == ('console',)
    write(env, LOGIN)
    mine.poll()
    assert mine.snapshot.modes.value == MODES


@pytest.mark.parametrize('emails, name, expected', [
    ([' ann@corp.com '], '', 'ann@corp.com'), (['John@Corp.com'], 'somebody', 'john@corp.com'),
    (['ann@corp.com', 'John@corp.com'], 'john', 'john@corp.com'),
    (['ann@corp.com', 'john@corp.com'], 'JOHN', 'john@corp.com'),
    (['john@a.com', 'john@b.com'], 'john', ''),
    (['ann@corp.com', 'johnny@corp.com', 'john.doe@corp.com'], 'john', ''),
    (['ann@corp.com', 'jo@corp.com'], 'john', ''),
    (['ann@corp.com', 'john@corp.com'], '', ''),
    (['', 'ann@corp.com'], '', 'ann@corp.com'),
    ([], 'john', ''),
])
def test_who_am_i(emails, name, expected):
    assert who_am_i(emails, name) == expected


@pytest.mark.parametrize('user, profile, identity, name, expected', [
    ('Given@x.com', 'profile@x.com', 'identity@x.com', 'john', 'given@x.com'),
    ('', 'Profile@x.com', 'identity@x.com', 'john', 'profile@x.com'),
    ('', None, 'identity@x.com', 'john', 'identity@x.com'),
    ('', None, None, 'john', JOHN),
    ('', None, None, 'jo', ''),
])
def test_where_my_address_is_found(server, desk, env, user, profile, identity, name, expected):
    api = AdminApi(server, Organization())
    env['USER'] = name
    if profile:
        write(env, captures.CREDENTIALS)
        server.answer('/api/oauth/profile', Reply(body={'account': {'email': profile}}))
    if identity:
        write(env, {'oauthAccount': {'emailAddress': identity}}, '.claude.json')
    console = desk(user=user).poll()
    assert console.you == expected
    assert (console.own is None) == (not expected)
    assert bool(api.requests('users')) == (not (user or profile or identity))


def test_an_unknown_user_sees_the_organization(server, desk):
    organization = Organization()
    AdminApi(server, organization)
    console = desk(user='').poll()
    assert console.own is None and console.total == organization.total()
    assert dict(console.by_day) == {day: organization.total((day,)).get('USD', 0)
                                    for day in organization.days}


# --- Which mode ---

LOGIN, NO_LOGIN = captures.CREDENTIALS, captures.LOGGED_OUT
IN_FILE = {'anthropicConsole': {'adminApiKey': KEY}}
EXPIRED = {'claudeAiOauth': dict(LOGIN['claudeAiOauth'], expiresAt=1)}


@pytest.mark.parametrize('document, in_env, mode', [
    (None, False, 'code'), (None, True, 'console'), (NO_LOGIN, True, 'console'),
    (LOGIN, False, 'code'), (LOGIN, True, 'code'), (dict(LOGIN, **IN_FILE), False, 'code'),
    (IN_FILE, False, 'console'), (dict(NO_LOGIN, **IN_FILE), False, 'console'),
    (EXPIRED, True, 'code'), ({}, True, 'console'), ({}, False, 'code'),
    (dict(LOGIN, mode='console'), False, 'console'), (dict(IN_FILE, mode='code'), True, 'code'),
    ({'mode': 'console'}, False, 'console'), ({'mode': 'code'}, True, 'code'),
    (dict(LOGIN, mode='Console'), True, 'code'), (dict(IN_FILE, mode=None), True, 'console'),
    (dict(IN_FILE, mode=['code']), False, 'console'), (dict(LOGIN, mode={}), False, 'code'),
])
def test_detect_mode(env, document, in_env, mode):
    if not in_env:
        del env['ANTHROPIC_ADMIN_API_KEY']
    if document is not None:
        write(env, document)
    assert detect_mode(env, NOW) == mode


def test_a_login_of_the_environment_counts(env):
    env['CLAUDE_CODE_OAUTH_TOKEN'] = captures.TOKEN
    assert detect_mode(env, NOW) == 'code'


@pytest.mark.parametrize('key, mode', [(KEY, 'console'), (' ', 'code')])
def test_a_broken_file_does_not_hide_a_key_of_the_environment(env, key, mode):
    with open(os.path.join(env['CLAUDE_CONFIG_DIR'], '.credentials.json'), 'w') as file:
        file.write('{"claudeAi')
    env['ANTHROPIC_ADMIN_API_KEY'] = key
    assert detect_mode(env, NOW) == mode


@pytest.mark.parametrize('document, in_env, key', [
    (None, KEY, KEY), (None, ' %s\n' % KEY, KEY), (IN_FILE, '', KEY), (IN_FILE, 'other', 'other'),
    ({'anthropicConsole': {'adminApiKey': KEY + '\n'}}, '', KEY), (IN_FILE, '  ', KEY)])
def test_the_admin_key(document, in_env, key):
    assert parse_admin_key(document, {'ANTHROPIC_ADMIN_API_KEY': in_env}) == key


@pytest.mark.parametrize('document', [None, [], {}, {'anthropicConsole': None}, {
    'anthropicConsole': 'x'}, {'anthropicConsole': {'adminApiKey': ''}}, LOGIN])
def test_no_admin_key(document):
    with pytest.raises(SourceError) as caught:
        parse_admin_key(document, {})
    assert caught.value.failure.code == 'no_credentials'


@pytest.mark.parametrize('key, words', [
    (captures.TOKEN, "this is Claude Code's login token"),
    ('sk-ant-api03-SECRET', 'this is a normal API key'),
    ('"sk-ant-api03-SECRET"', 'this is a normal API key'),
    ('Sk-Ant-Oat01-SECRET', "this is Claude Code's login token"),
    (captures.REFRESH_TOKEN, "this is Claude Code's refresh token"),
    ('sk-ant-admin01-SECRET\u2026', 'not of printable characters'),
    ('sk-ant-admin01 SECRET', 'not of printable characters')])
@pytest.mark.parametrize('in_env', [True, False])
def test_a_key_of_another_kind_is_named_and_never_sent(server, desk, env, in_env, key, words):
    AdminApi(server, Organization())
    if in_env:
        env['ANTHROPIC_ADMIN_API_KEY'] = key
    else:
        del env['ANTHROPIC_ADMIN_API_KEY']
        write(env, {'anthropicConsole': {'adminApiKey': key}})
    mine = desk()
    assert detect_mode(env, NOW) == 'console'
    assert mine.poll() is None
    assert words in mine.sentence and 'Admin' in mine.sentence and 'SECRET' not in mine.sentence
    assert server.requests == []


def test_a_broken_file_does_not_matter_to_a_key_in_the_environment(server, desk, env):
    AdminApi(server, Organization())
    with open(os.path.join(env['CLAUDE_CONFIG_DIR'], '.credentials.json'), 'w') as file:
        file.write('{"claudeAi')
    assert desk().poll().complete


# --- Projection ---

def daily(*cents):
    """{day: cents} of November's first days."""
    return {'2026-11-%02d' % (n + 1): Decimal(amount) for n, amount in enumerate(cents)}


@pytest.mark.parametrize('by_day, now, rate, projected, other', [
    (daily(2400), '2026-11-02 00:00:00', 100, 72000, None),
    (daily(2400, 2400), '2026-11-03 00:00:00', 100, 72000, None),
    (daily(0), '2026-11-02 00:00:00', 0, 0, None),
    (daily(-2400), '2026-11-02 00:00:00', -100, -72000, None),              # a credit
    (daily(*[2400] * 30), '2026-12-01 00:00:00', None, None, None),         # another month
    (daily(*[2400] * 14), '2026-11-15 00:00:00', 100, 72000, None),
    (daily(2400, 0, 0, 0, 0, 0), '2026-11-07 00:00:00', '16.6666', 12000, None),   # no week yet
    (daily(*[2160] * 7 + [2640] * 7), '2026-11-15 00:00:00', 100, 72000, None),     # just 10 %
    (daily(*[2160] * 7 + [2664] * 7), '2026-11-15 00:00:00', '100.5', 72360, 76392),
    (daily(*[2640] * 7 + [2136] * 7), '2026-11-15 00:00:00', '99.5', 71640, 67608),
    (daily(*[2400] * 7 + [0] * 7), '2026-11-15 00:00:00', 50, 36000, 16800),
    (daily(*[0] * 7 + [-2400] * 7), '2026-11-15 00:00:00', -50, -36000, -55200),
])
def test_projection(by_day, now, rate, projected, other):
    by_day = dict({day: Decimal(0) for day in month_days(utc(now))}, **by_day)
    found = project(by_day, utc(now))
    if rate is None:
        assert found is None
        return
    assert abs(found.rate - Decimal(rate)) < Decimal('0.0001')
    assert abs(found.projected - projected) < Decimal('1e-9')
    assert (found.other is None) == (other is None)
    if other is not None:
        assert abs(found.other - other) < Decimal('1e-9')
        del by_day['2026-11-12']
        assert project(by_day, utc(now)).other is None, 'a day of the last week is not known'


@pytest.mark.parametrize('now', ['2026-11-01 00:00:00', '2026-11-01 23:59:59',
                                 '2028-02-01 12:00:00'])
def test_no_projection_in_the_first_24_hours(now):
    assert project(daily(100), utc(now)) is None


@pytest.mark.parametrize('now, days', [('2026-11-18 00:00:00', 30), ('2026-12-18 00:00:00', 31),
                                       ('2027-02-18 00:00:00', 28), ('2028-02-18 00:00:00', 29)])
def test_a_month_is_as_long_as_it_is(now, days):
    by_day = {now[:8] + '%02d' % day: Decimal(100) for day in range(1, 18)}
    assert abs(project(by_day, utc(now)).projected - 100 * days) < Decimal('1e-9')


@pytest.mark.parametrize('now', ['2026-11-30 23:59:59', '2026-12-31 23:59:59'])
def test_at_the_end_of_a_month_the_projection_is_its_cost(now):
    by_day = {day: Decimal(100) for day in month_days(utc(now))}
    assert abs(project(by_day, utc(now)).projected - sum(by_day.values())) < 1


@pytest.mark.parametrize('cents, shown, in_json', [
    ('4523', '$45.23', 4523), ('0', '$0.00', 0), ('0.4', '$0.00', 0), ('-0.4', '$0.00', 0),
    ('0.5', '$0.01', 1), ('4522.5', '$45.23', 4523), ('4523.5', '$45.24', 4524),
    ('-4522.5', '-$45.23', -4523), ('123456789.4', '$1,234,567.89', 123456789),
    ('-5', '-$0.05', -5)])
def test_an_amount_is_the_same_on_the_screen_and_in_json(cents, shown, in_json):
    assert (dollars(Decimal(cents)), whole(Decimal(cents))) == (shown, in_json)


# --- The program ---

PAST = utc('2025-11-18 12:00:00')


@pytest.fixture
def acme(server):
    """An AdminApi whose organization has spent round sums; its Date header tells PAST."""
    organization = Organization('2025-11-01', 0)
    organization.days = days_from('2025-11-01', 18)
    for n, day in enumerate(organization.days):
        organization.add(day, JOHN, 250 + n, model=MODELS[n % 2])
        organization.add(day, 'ci-key', 10)
        organization.charge(day, '5000.5', workspace='wrkspc_01')
        organization.charge(day, 100)
    organization.add('2025-11-03', 'ann@company.com', '77.5', 'EUR')
    return AdminApi(server, organization, date=PAST)


@pytest.fixture
def start(server, run, tmp_path):
    """A function that runs the program to its end with an Admin API key and no login."""
    def start_program(*args, **env):
        variables = dict({'ANTHROPIC_ADMIN_API_KEY': KEY, 'CLAUDE_USAGE_EMAIL': JOHN}, **env)
        return run(('--api-url', server.url) + args, variables, home=tmp_path / 'nobody')
    return start_program


def test_the_json_document(acme, start):
    done = start('--json')
    assert (done.code, done.err) == (0, '')
    document = json.loads(done.out)
    assert document['mode'] == 'console'
    assert document['sources']['console']['status'] == 'ok'
    told, own = document['console'], 18 * 250 + 153
    assert list(told) == ['organization', 'month', 'through', 'you', 'organization_cents',
                          'projected_cents', 'projected_high_cents', 'rate_cents_per_hour',
                          'by_day', 'by_user', 'by_model', 'by_workspace', 'complete']
    hours = 17.5 * 24
    assert abs(told.pop('projected_cents') - own / hours * 720) < 1
    assert abs(told.pop('rate_cents_per_hour') - own / hours) < 0.001
    assert told == {
        'organization': 'Acme Corporation', 'month': '2025-11', 'through': '2025-11-18',
        'you': {'email': JOHN, 'cents': own, 'currency': 'USD'},
        'organization_cents': 91809, 'projected_high_cents': None,
        'by_day': [{'day': '2025-11-%02d' % (n + 1), 'cents': 250 + n} for n in range(18)],
        'by_user': [{'name': JOHN, 'currency': 'USD', 'cents': own},
                    {'name': 'ci-key', 'currency': 'USD', 'cents': 180},
                    {'name': 'ann@company.com', 'currency': 'EUR', 'cents': 78}],
        'by_model': [{'name': MODELS[0], 'currency': 'USD', 'cents': 9 * 250 + 72 + 180},
                     {'name': MODELS[1], 'currency': 'USD', 'cents': 9 * 250 + 81},
                     {'name': MODELS[0], 'currency': 'EUR', 'cents': 78}],
        'by_workspace': [{'name': 'Workspace 1', 'currency': 'USD', 'cents': 90009},
                         {'name': 'Default', 'currency': 'USD', 'cents': 1800}],
        'complete': True}


@pytest.mark.parametrize('fault, code', [(REVOKED, 'unauthorized'), (LIMITED, 'rate_limited')])
def test_a_month_that_came_in_part_tells_its_failure_too(acme, start, fault, code):
    acme.faults['2025-11-07'] = fault
    document = json.loads(start('--json').out)
    assert document['sources']['console']['error'] == code
    assert document['console']['complete'] is False


@pytest.mark.parametrize('has_login, env, modes', [
    (False, {}, ()), (False, {'ANTHROPIC_ADMIN_API_KEY': KEY}, ('console',)),
    (True, {}, ('code',)), (True, {'ANTHROPIC_ADMIN_API_KEY': KEY}, MODES)])
def test_what_there_are_credentials_for(tmp_path, has_login, env, modes):
    env = dict(env, CLAUDE_CONFIG_DIR=str(tmp_path))
    if has_login:
        write(env, captures.CREDENTIALS)
    assert tuple(each for each in MODES if has_credentials(each, env, NOW)) == modes


def test_the_json_document_of_an_unknown_user(acme, start):
    acme.faults['2025-11-07'] = BROKEN
    done = start('--json', CLAUDE_USAGE_EMAIL='')
    told = json.loads(done.out)['console']
    assert done.code == 0 and told['you'] is None and told['complete'] is False
    assert told['by_day'][0] == {'day': '2025-11-01', 'cents': 5101}


def test_the_json_document_in_code_mode_has_the_same_keys(acme, start):
    document = json.loads(start('--json', '--mode', 'code').out)
    assert document['mode'] == 'code' and document['console'] is None
    assert list(document) == list(json.loads(start('--json').out))


def test_once_waits_until_it_is_complete(acme, start):
    done = start('--once')
    assert (done.code, done.err) == (0, '')
    for words in ('Acme Corporation', 'Nov 1-18, UTC', 'Your Claude Code Usage: $46.53',
                  '(john@company.com)', 'Organization: $918.09 (API, all models)'):
        assert words in done.out
    assert 'partial' not in done.out and 'Loading' not in done.out


def test_user_wins_over_the_environment(acme, start):
    assert 'EUR 0.78' in start('--once', '--user', 'Ann@Company.com').out


def test_once_tells_its_progress_on_a_terminal(acme, server):
    with Terminal(COMMAND + ['--api-url', server.url, '--once'],
                  env={'ANTHROPIC_ADMIN_API_KEY': KEY, 'CLAUDE_USAGE_EMAIL': JOHN}) as terminal:
        assert terminal.exit_code() == 0
        assert b'day 7 of 18' in terminal.output
        assert terminal.lines()[0].startswith('\u250c Console Usage')
        assert 'of 18' not in terminal.text()


@pytest.mark.parametrize('args, env, words', [
    ((), {'ANTHROPIC_ADMIN_API_KEY': ''}, ('`claude`', 'ANTHROPIC_ADMIN_API_KEY')),
    (('--mode', 'console'), {'ANTHROPIC_ADMIN_API_KEY': ''},
     ('No Admin API key found.', '`claude`', 'ANTHROPIC_ADMIN_API_KEY')),
    (('--mode', 'code'), {}, ('No Claude Code login found.',)),
    ((), {'ANTHROPIC_ADMIN_API_KEY': 'sk-ant-admin01-SECRET-wrong'},
     ('Admin API key refused: 401, invalid x-api-key.', 'Admin keys')),
    ((), {'ANTHROPIC_ADMIN_API_KEY': captures.TOKEN}, ("Claude Code's login token",)),
    ((), {'ANTHROPIC_ADMIN_API_KEY': 'sk-ant-api03-SECRET'}, ('a normal API key',)),
])
def test_without_numbers_the_reason_is_told(acme, start, args, env, words):
    done = start(*args + ('--json',), **env)
    assert done.code == 1 and done.err.startswith('claude-usage: ') and done.err.count('\n') == 1
    assert all(word in done.err for word in words)
    assert 'SECRET' not in done.out + done.err
    assert json.loads(done.out)['console'] is None
    once = start(*args + ('--once',), **env)
    assert once == (1, '', done.err)


def test_logged_out_and_without_a_key_both_ways_are_named(server, home, run):
    (home / '.claude' / '.credentials.json').write_text(json.dumps(NO_LOGIN))
    told = run(['--once', '--api-url', server.url]).err
    assert '`claude`' in told and 'ANTHROPIC_ADMIN_API_KEY' in told


@pytest.mark.parametrize('mode, title', [('auto', 'Claude Code'), ('code', 'Claude Code'),
                                         ('console', 'Console')])
def test_mode(acme, server, run, mode, title):
    server.answer('/api/oauth/usage', Reply(body=captures.USAGE_2026))
    done = run(['--once', '--mode', mode, '--api-url', server.url],
               {'ANTHROPIC_ADMIN_API_KEY': KEY, 'CLAUDE_USAGE_EMAIL': JOHN})
    assert done.code == 0 and done.out.startswith('\u250c %s Usage' % title)


@pytest.mark.parametrize('word, status, output', [
    ('me', 401, '--once'), ('me', 400, '--json'), ('me', 529, '--json'),
    ('cost_report', 401, '--json'), ('cost_report', 403, '--once'),
    ('cost_report', 404, '--json'), ('cost_report', 429, '--json'),
    ('cost_report', 500, '--once')])
def test_a_key_that_is_echoed_is_not_shown(acme, start, word, status, output):
    acme.faults[word] = error(status, 'The key %s is bad, %s' % (KEY, KEY))
    done = start(output)
    assert 'SECRET' not in done.out + done.err and 'sk-ant' not in done.out + done.err


def test_the_key_goes_nowhere_else(acme, server, start):
    start('--json')
    assert server.requests
    for request in server.requests:
        assert KEY not in request.path + str(request.query)
        assert [name for name, value in request.headers.items() if KEY in value] == ['x-api-key']
        assert request.headers['user-agent'].startswith('claude-usage/')
        assert 'authorization' not in request.headers


def test_demo(run):
    done = run(['--demo', '--mode', 'console', '--once'])
    assert done.code == 0 and 'Console Usage' in done.out and 'Your Claude Code' in done.out
    assert json.loads(run(['--demo', '--mode', 'console', '--json']).out)['console']['complete']


# --- The tests' own Admin API ---

def ask(server, path, **headers):
    """(status, document) of a request with these headers besides the usual ones."""
    fields = dict({'x-api-key': KEY, 'anthropic-version': '2023-06-01'}, **headers)
    request = urllib.request.Request(server.url + PATH + path, headers=fields)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, json.loads(reply.read().decode())
    except urllib.error.HTTPError as reply:
        with reply:
            return reply.code, json.loads(reply.read().decode())


COST = 'cost_report?starting_at=2026-11-01T00:00:00Z&ending_at=2026-11-19T00:00:00Z'
CODE = 'usage_report/claude_code?starting_at=2026-11-01'


@pytest.mark.parametrize('path, headers, status', [
    ('me', {'x-api-key': 'x'}, 401), ('me', {'x-api-key': ''}, 401),
    ('me', {'anthropic-version': ''}, 400), ('nothing', {}, 404), ('me?limit=1', {}, 400),
    ('users?limit=1001', {}, 400), ('users?limit=0', {}, 400), ('users?after_id=x', {}, 400),
    ('users?page=x', {}, 400), (COST + '&limit=32', {}, 400), (COST + '&page=x', {}, 400),
    (COST + '&group_by[]=model', {}, 400), (COST + '&bucket_width=1h', {}, 400),
    (COST.replace('starting', 'beginning'), {}, 400), (COST.replace('19', '01'), {}, 400),
    (CODE + '&limit=1001', {}, 400), (CODE + '&ending_at=2026-11-02', {}, 400),
    (CODE + 'T00:00:00Z', {}, 400), (CODE + '&page=page_2026-11-02_0', {}, 400)])
def test_the_api_refuses(server, path, headers, status):
    AdminApi(server, Organization())
    told, document = ask(server, path, **headers)
    assert (told, document['type']) == (status, 'error')
    assert document['error']['type'].endswith('_error') and document['request_id']


@pytest.mark.parametrize('path, count, more', [
    ('users', 20, True), ('users?limit=1000', 30, False), (COST, 7, True),
    (COST + '&limit=31', 18, False), (CODE, 20, True), (CODE + '&limit=1000', 25, False),
    (CODE.replace('-01', '-02'), 0, False)])
def test_the_api_answers_in_pages(server, path, count, more):
    AdminApi(server, Organization(rows=0, users=30, busy={'2026-11-01': 25}))
    status, page = ask(server, path)
    assert (status, len(page['data']), page['has_more']) == (200, count, more)
    assert bool(page.get('next_page')) == (more and 'last_id' not in page)


def test_the_api_knows_its_sums(server):
    organization = Organization()
    AdminApi(server, organization)
    _, page = ask(server, COST + '&limit=31&group_by[]=workspace_id')
    sums = {}
    for result in (result for bucket in page['data'] for result in bucket['results']):
        sums[result['currency']] = (sums.get(result['currency'], 0) + Decimal(result['amount']))
    assert sums == organization.total() and len(sums) == 2
    _, page = ask(server, CODE)
    assert sum(Decimal(str(row['model_breakdown'][0]['estimated_cost']['amount']))
               for row in page['data']) == sum(
                   organization.claude_code('who', ['2026-11-01']).values())
