"""Budgets: limits of a month's cost in Console mode, on the screen and for scripts."""
import argparse
import json
import re
import time

import pytest

import claude_usage
from admin import JOHN, KEY, AdminApi, Organization
from claude_usage import (DAY, MODES, ConsolePoller, Moment, Usage, as_json, as_metrics,
                          check_account, check_limits, compose, parse_time,
                          projected_limits, utc_day, with_budgets)
from harness import World
from samples import NORMAL, PLACE
from test_console_view import ACME, BILL, BROKEN, CONSOLE, NOW, acme, known, month
from test_view import check, shown

pytestmark = pytest.mark.usefixtures('zone')

STEADY = acme((250,) * 18)                  # $45.00 so far


def budgeted(own=100, organization=None, console=None, at=NOW):
    """What is known where there are budgets of so many dollars."""
    return known(with_budgets(console or month(STEADY), (own, organization), at))


def limits_of(snapshot):
    return MODES['console'].limits(snapshot, '').limits


def see(snapshot):
    return shown(snapshot, (60, 30), CONSOLE, NOW)


def test_a_budget_is_a_limit():
    own, whole = limits_of(budgeted(100, 5000))
    assert (own.id, own.label, own.kind, own.used) == ('budget', 'Budget', 'budget', 45.0)
    assert (own.resets_at, own.window) == (parse_time('2026-12-01T00:00:00Z'), 30 * DAY)
    assert own.at == NOW and own.amount[:2] == (4500, 10000)
    assert (whole.id, whole.label) == ('budget_org', 'Org Budget')
    assert whole.used == float(ACME.total()['USD']) / 5000
    assert limits_of(budgeted(None)) == () and limits_of(claude_usage.Snapshot()) == ()


@pytest.mark.parametrize('console, own, organization, whole', [
    (month(STEADY), 9, 9, True), (month(STEADY), None, None, True),
    (month(STEADY, done=17), 9, None, False), (month(STEADY, done=17), None, 9, True),
    (month(STEADY, problems={BILL: BROKEN}), 9, None, True),
    (month(STEADY, problems={BILL: BROKEN}), None, 9, False),
    (month(STEADY, bill=False), None, 9, False), (month(STEADY, you=''), 9, None, False)])
def test_whether_all_of_a_budget_is_known(console, own, organization, whole):
    assert MODES['console'].limits(budgeted(own, organization, console), '').is_whole == whole


@pytest.mark.parametrize('own, told', [
    (100, r'Budget: +█+[▏▎▍▌▋▊▉]?░+│░+ +45% '), (100, r'⏰ Resets in: 12d 10h 36m \(Dec 1 01:00\)'),
    (100, r'Lands at 77% '), (100, r'USD 45\.00 of 100\.00 '), (45, r'Budget: +█+│█+ +100% '),
    (60, r'⚠ Runs out Tue \d\d:\d\d '), (1000000, r' 0% ')])
def test_what_is_shown(own, told):
    assert re.search(told, see(budgeted(own)))


def test_where_it_lands():
    ranged = month(acme((900,) * 11 + (100,) * 7))
    end = ranged.projection
    span = [float(cents) / 200 for cents in (end.low, end.high)]
    assert 'Lands at %.0f–%.0f%%' % tuple(span) in see(budgeted(200, None, ranged))
    assert 'May run out from ' in see(budgeted(float(end.low + end.high) / 200, None, ranged))
    told = see(budgeted(None, float(ranged.bill_projection.projected) / 50, ranged))
    assert re.search(r'Org Budget: [^L]*Lands at (\d\d–)?5\d%', told)
    assert not re.search('Lands|out', see(budgeted(45)) + see(budgeted(3)))


@pytest.mark.parametrize('budgets', [(100, None), (None, 5000), (46, 2000), (1, 1), (0.01, 1e7)])
def test_at_every_size(budgets):
    snapshot = budgeted(*budgets)
    check(snapshot, CONSOLE, (0, 11, 15, 20, 30, 47, 94), (0, 1, 2, 5, 8, 13, 30))
    check(snapshot, CONSOLE._replace(ascii=True, icons=False), (20, 47), (5, 30))
    now = NOW
    for _ in range(20):
        moment = Moment(now)
        frame = compose(snapshot, CONSOLE, (80, 40), moment)
        for later in ((now + moment.until) / 2, moment.until - 0.002):
            assert compose(snapshot, CONSOLE, (80, 40), Moment(max(now, later))) == frame
        now = moment.until


def test_json_and_metrics():
    snapshot = budgeted(100, 1e6)
    document = json.loads(as_json(snapshot, ('',), Moment(NOW), 'console'))
    first, second = document['limits']
    assert (first['id'], first['used_percent'], first['level']) == ('budget', 45.0, 'green')
    assert second['id'] == 'budget_org' and first['resets_at'] == '2026-12-01T00:00:00Z'
    outlook = first['outlook']
    assert 45 < outlook['low_percent'] <= outlook['high_percent'] < 100
    assert len(outlook) == 7 and outlook['runs_out_from'] is outlook['runs_out_until'] is None
    tight = json.loads(as_json(budgeted(50), ('',), Moment(NOW), 'console'))['limits'][0]
    assert tight['outlook']['high_percent'] > 100
    assert document['generated_at'] < tight['outlook']['runs_out_from'] < tight['resets_at']
    metrics = as_metrics(snapshot, ('',), Moment(NOW), 'console')
    assert 'claude_usage_limit_used_ratio{limit="budget"} 0.45\n' in metrics
    assert 'claude_usage_limit_projected_ratio{limit="budget",bound="low"} 0.' in metrics
    assert re.search(r'limit_reset_timestamp_seconds\{limit="budget_org"\} 17\d+', metrics)
    both = claude_usage.Snapshot(NORMAL)
    both.update(snapshot)
    told = json.loads(as_json(both, (PLACE,), Moment(NOW), 'code'))['limits']
    assert [limit['id'] for limit in told] == ['five_hour', 'seven_day'], 'those of the mode'


@pytest.mark.parametrize('own, organization, percent, projected, code', [
    (100, None, 40, False, 3), (100, None, 46, False, 0), (100, None, 70, True, 3),
    (100, None, 80, True, 0), (100, 2000, 99, False, 3), (None, None, 50, False, 1)])
def test_check(capsys, own, organization, percent, projected, code):
    snapshot = budgeted(own, organization)
    usage = MODES['console'].limits(snapshot, '')
    if projected:
        usage = Usage(projected_limits(usage, snapshot, ''))
    assert check_limits(usage, percent, Moment(NOW))[0] == code
    assert check_limits(usage, percent, Moment(NOW + 16 * 60))[0] == 1
    if own is None:
        options = argparse.Namespace(check=50.0, projected=False)
        unknown = budgeted(100, None, month(STEADY, you=''))
        assert check_account(options, unknown, '', 'console') == 1
        assert capsys.readouterr() == ('', 'claude-usage: Not all limits are known.\n')


def test_the_poller_makes_them(server, tmp_path):
    world = World(server, tmp_path)
    world.now = NOW
    world.log_out()
    api = AdminApi(server, Organization())
    monitor = world.monitor(ConsolePoller, env={'ANTHROPIC_ADMIN_API_KEY': KEY}, user=JOHN,
                            budget=50.0, budget_org=900.0)
    monitor.once()
    own, whole = limits_of(monitor.snapshot)
    assert own.used == float(api.organization.own(JOHN)['USD']) / 50
    assert whole.used == float(api.organization.total()['USD']) / 900


@pytest.mark.slow
def test_check_where_console_mode_is_found(run, server, home):
    today = utc_day(time.time())
    api = AdminApi(server, Organization(today[:8] + '01', int(today[8:])))

    def judged(*args):
        return run(('--api-url', server.url) + args,
                   {'ANTHROPIC_ADMIN_API_KEY': KEY, 'CLAUDE_USAGE_EMAIL': JOHN})
    assert judged('--check', '50', '--budget', '1').code == 1 and not api.requests(), 'Code mode'
    done = judged('--mode', 'console', '--check', '50', '--budget', '0.01')
    assert (done.code, done.err) == (3, '') and done.out.startswith('Budget: ')
    (home / '.claude' / '.credentials.json').unlink()
    assert judged('--check', '50', '--budget', '10000000').code == 0
    assert judged('--check', '50').code == 1, 'no budget, no login'
