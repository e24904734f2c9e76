"""Alerts: events between two Snapshots, told once, and what is done then."""
import argparse
import json
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

import claude_usage
from claude_usage import (BREAK_SECONDS, DAY, FAILURE_SECONDS, HOUR, NO_LIMIT, SETTLE_SECONDS,
                          AlertPoller, Event, Failure, History, Known, Moment, Outlook, Setup,
                          Snapshot, Watched, alert_option, compose, events, find_alerts,
                          title_words)
from conftest import USAGE, asked
from harness import QuickStore
from samples import (ACCOUNT, EXTRA, FIVE_HOUR, NORMAL, NOW, PLACE, SEVEN_DAY, UI, changed,
                     snapshot)
from server import Reply
from terminal import EAGER, QUICK, Terminal, command

ALL = Watched(('80', '95', 'runout', 'reset', 'failure'), 'code', (PLACE,), NOW - DAY)
EVENT = Event('percent', PLACE, FIVE_HOUR, NOW, '5-Hour: 80% used.', 80)
NEXT = NOW + 8 * HOUR


def used(percent, **more):
    """A Snapshot in which so much of the 5-hour limit is used."""
    return snapshot((FIVE_HOUR._replace(used=float(percent), **more), SEVEN_DAY))


def landing(low, known=NORMAL):
    """A Snapshot with an Outlook of the 5-hour limit."""
    samples = ((NOW, FIVE_HOUR.used, FIVE_HOUR.resets_at),)
    history = History(5 * HOUR, samples, (), Outlook(low, 150.0, NOW, NOW, 1.0))
    return changed(known, 'outlook', value={'five_hour': history}, at=NOW)


def failing(seconds, **more):
    """A Snapshot whose numbers are so old, and whose source fails."""
    return snapshot((FIVE_HOUR,), seconds, failure=Failure('network', 'no route'), **more)


# --- Events ---

@pytest.mark.parametrize('before, after, found', [
    (used(79), used(79.9), []),
    (used(79), used(80), [('percent five_hour', 80)]),
    (Snapshot(), used(81), [('percent five_hour', 80)]),            # there already at the start
    (used(79), used(97), [('percent five_hour', 95)]),              # the highest alone
    (used(97), used(96, resets_at=NOW - 1), []),                    # its window is over
    (NORMAL, landing(99.9), []),
    (NORMAL, landing(100.0), [('runout five_hour', 0)]),
    (NORMAL, landing(None), []),
    (used(95), used(3, resets_at=NEXT), [('reset five_hour', 0)]),
    (used(95), used(0, resets_at=None), [('reset five_hour', 0)]),
    (used(94), used(3, resets_at=NEXT), []),
    (used(95), used(81, resets_at=NEXT), [('reset five_hour', 0), ('percent five_hour', 80)]),
    (used(95), used(3, resets_at=FIVE_HOUR.resets_at + 59), []),    # a correction, and a jitter
    (used(95), changed(used(3, resets_at=NEXT), 'identity', value=ACCOUNT._replace(uuid='2')), []),
    (Snapshot(), used(3, resets_at=NEXT), []),
    (NORMAL, failing(FAILURE_SECONDS - 1), []),
    (NORMAL, failing(FAILURE_SECONDS), [('failure ', 0)]),
    (NORMAL, snapshot((FIVE_HOUR,), DAY), []),                      # as after a sleep
    (Snapshot(), failing(0, value=None, at=None), [('failure ', 0)]),
    (NORMAL, snapshot((EXTRA._replace(used=80.0),)), [('percent extra_usage', 80)]),
    (NORMAL, snapshot((EXTRA._replace(used=None),)), []),
    (NORMAL, Snapshot(), []),
])
def test_events(before, after, found):
    told = list(events(before, after, NOW, ALL))
    assert [(event.subject, event.percent) for event in told] == found
    assert {event.place for event in told} <= {PLACE}
    assert not list(events(before, after, NOW, ALL._replace(words=())))
    since = list(events(before, after, NOW, ALL._replace(since=NOW)))      # a sleep, another time
    assert since == [event for event in told if event.kind != 'failure']


@pytest.mark.parametrize('after, message', [
    (used(80.4), '5-Hour: 80% used. Resets in: 3h 45m (00:04)'),
    (landing(100.0), '5-Hour: will run out before its reset. Resets in: 3h 45m (00:04)'),
    (failing(HOUR, next_at=NOW + 90),
     'No numbers for 15 minutes. No connection: no route. Next try 20:20.')])
def test_messages(zone, after, message):
    event, = events(NORMAL, after, NOW, ALL)
    assert event.message == message


# --- Once for all monitors ---

class Monitor:
    """A monitor's AlertPoller on a store; its look at a Snapshot returns what it tells then."""

    def __init__(self, folder, *words, places=(PLACE,), **options):
        self.inbox, self.now, self.places, self.seen = queue.Queue(), NOW, places, ()
        usual = {'alert': list(words), 'on_alert': [], 'title': False, 'demo': False,
                 'output': None}
        self.poller = AlertPoller(Setup(
            argparse.Namespace(**dict(usual, **options)), {}, self.inbox, lambda: self.now,
            QuickStore(str(folder)), None, PLACE))

    def look(self, known, seconds=0):
        """(the new lines, the newest last; how often it rang), so many seconds later."""
        self.now += seconds
        self.poller.see(known, 'code', self.places)
        self.poller.once()
        lines, bells = self.seen, 0
        while not self.inbox.empty():
            told = self.inbox.get()
            bells += told.source == 'bell'
            if told.source == 'alerts':
                lines = told.known.value
        new = [words for at, words in lines if (at, words) not in self.seen]
        self.seen = lines
        return [words.split('.')[0] for words in reversed(new)], bells


USED_80, USED_81 = '5-Hour: 80% used', '5-Hour: 81% used'


@pytest.fixture
def monitor_of(tmp_path):
    return lambda *words, **more: Monitor(tmp_path / 'store', *words, **more)


def test_once_a_window_and_percent(monitor_of):
    monitor, jitter = monitor_of('80', '95', 'runout'), FIVE_HOUR.resets_at + 0.9
    story = [(used(79), []), (used(80), [USED_80]), (used(81), []), (used(79), []), (used(80), []),
             (used(82, resets_at=jitter), []),
             (landing(100.0, used(83)), ['5-Hour: will run out before its reset']),
             (landing(90.0, used(84)), []), (landing(100.0, used(84)), []),
             (used(95), ['5-Hour: 95% used']), (used(85), []), (used(95), []),
             (used(3, resets_at=NEXT), []), (used(81, resets_at=NEXT), [USED_81])]
    for step, (known, lines) in enumerate(story):
        assert monitor.look(known, 5) == (lines, len(lines)), step


def test_a_clock_that_jumps_tells_nothing_twice(monitor_of):
    monitor = monitor_of('80', 'failure')
    assert monitor.look(used(81)) == ([USED_81], 1)
    for seconds in (-DAY, 2 * HOUR, -HOUR):
        assert monitor.look(used(81), seconds) == ([], 0)
        assert monitor.seen == [] and monitor.poller.since == monitor.now


def test_two_monitors_ring_once_and_both_show_it(monitor_of):
    one, other = monitor_of('80'), monitor_of('80')
    for monitor in (one, other):
        assert monitor.look(used(79)) == ([], 0)
        monitor.look(used(79), BREAK_SECONDS - 1)
    assert one.look(used(80), 5) == ([USED_80], 1)
    assert other.look(used(80, resets_at=FIVE_HOUR.resets_at + 0.9), 5) == ([USED_80], 0)
    # One that starts now was told by the store; of a higher percent it is the first.
    third = monitor_of('80', '95')
    assert third.look(used(81)) == ([], 0) and third.look(used(80), SETTLE_SECONDS) == ([], 0)
    assert third.look(used(96), 5) == (['5-Hour: 96% used'], 1)
    assert monitor_of('80').look(used(96)) == ([], 0)


def test_each_rings_where_the_store_cannot_be_written(monitor_of, tmp_path, monkeypatch):
    monkeypatch.setattr(claude_usage, 'STORE_TIMEOUT', 0.01)
    assert monitor_of('80').look(used(81)) == ([USED_81], 1)
    db = sqlite3.connect(str(tmp_path / 'store' / 'store2.db'), isolation_level=None)
    db.execute('BEGIN IMMEDIATE')
    assert monitor_of('80').look(used(81)) == ([USED_81], 1)
    db.close()
    assert monitor_of('80').look(used(81)) == ([], 0)
    (tmp_path / 'file').touch()
    for folder, options in (('file', {}), ('file', {}), ('demo', {'demo': True})):
        monitor = Monitor(tmp_path / folder, '80', **options)
        assert monitor.look(used(81)) == ([USED_81], 1)
    demo = Monitor(tmp_path / 'demo', demo=True)            # shown by itself, but silent
    assert demo.look(landing(100.0)) == (['5-Hour: will run out before its reset'], 0)
    assert not (tmp_path / 'demo').exists()


def test_accounts_are_told_apart(monitor_of):
    monitor = monitor_of('80', places=(PLACE, '/work'))
    both = Snapshot(used(81))
    both['/work', 'identity'] = Known(ACCOUNT._replace(uuid='u2', email='me@work.example'))
    both['/work', 'usage'] = both[PLACE, 'usage']
    assert monitor.look(both) == (['user@example', 'me@work'], 1)
    # Another who logs in at a place is another account.
    other = changed(both, 'identity', value=ACCOUNT._replace(uuid='u3'))
    assert monitor.look(other, 5)[1] == 1 and monitor.look(both, 5)[1] == 0


@pytest.mark.parametrize('places', [(PLACE, '/work'), ('/work', PLACE)])
def test_the_failure_of_one_account_hides_nothing_of_another(places):
    before, after = used(97), Snapshot(used(3, resets_at=NEXT))
    after['/work', 'usage'] = Known(failure=Failure('network', 'Connection reset'))
    watched = Watched(('failure', 'reset'), 'code', places, NOW - DAY)
    found = [(event.kind, event.place) for event in events(before, after, NOW, watched)]
    assert sorted(found) == [('failure', '/work'), ('reset', PLACE)]


def test_all_lines_come_before_the_first_command(monitor_of):
    monitor = monitor_of('80', places=(PLACE, '/work'), on_alert=['false'])
    both = Snapshot(used(81))
    both['/work', 'identity'] = Known(ACCOUNT._replace(uuid='u2', email='me@work.example'))
    both['/work', 'usage'] = both[PLACE, 'usage']
    assert monitor.look(both) == (
        ['user@example', 'me@work', 'The alert command failed: it ended with 1'], 1)


# --- The screen and the command ---

@pytest.mark.parametrize('age, shown', [(0, ['⚠ five']), (59, ['⚠ five']), (61, [])])
@pytest.mark.parametrize('ui', [UI, UI._replace(help=True), UI._replace(hint=False)])
def test_an_alert_stays_for_a_minute(age, shown, ui):
    known, moment = Snapshot(NORMAL), Moment(NOW)
    known['', 'alerts'] = Known(((NOW - age, 'five'), (NOW - 61, 'old')))
    lines = compose(known, ui, (60, 20), moment).lines
    assert [span.text for line in lines for span in line if span.role == 'alert'] == shown
    assert moment.until <= NOW + 60
    ui = ui._replace(notice=('Yes.',), notice_until=NOW + 4)
    assert compose(known, ui, (60, 20), moment).lines[-1][0].text == 'Yes.'


@pytest.mark.parametrize('words, reason', [
    (['true'], ''), (['sh', '-c', 'exit 3'], 'it ended with 3'), (['/'], 'Permission denied'),
    (['sh', '-c', 'cat; yes | head -c 99999'], ''), (['/none'], 'No such file or directory')])
def test_commands(monitor_of, words, reason):
    lines = [USED_81] + ['The alert command failed: ' + reason] * bool(reason)
    assert monitor_of('80', on_alert=words).look(used(81)) == (lines, 1)


@pytest.mark.parametrize('after', ['', '; wait'])
def test_a_command_and_what_it_has_started_are_killed(monitor_of, tmp_path, monkeypatch, after):
    monkeypatch.setattr(claude_usage, 'COMMAND_SECONDS', 1)
    words = 'sleep 60 & echo $! > %s/pid%s' % (tmp_path, after)
    poller = monitor_of('80', on_alert=['sh', '-c', words]).poller
    reason = 'it took longer than 1 seconds' if after else 0
    assert poller.run_command('', EVENT) == reason and poller.child is None
    pid, deadline = (tmp_path / 'pid').read_text().strip(), time.monotonic() + 5
    state = b'S'
    while state[:1] not in (b'', b'Z') and time.monotonic() < deadline:
        state = subprocess.run(['ps', '-o', 'stat=', '-p', pid], stdout=subprocess.PIPE).stdout
    assert state[:1] in (b'', b'Z')


def test_the_environment_of_a_command(monitor_of, tmp_path, monkeypatch):
    for name in ('CLAUDE_CODE_OAUTH_TOKEN', 'ANTHROPIC_URL', 'aws_secret', 'API_KEY', 'PASSWORDS'):
        monkeypatch.setenv(name, 'SECRET')
    write = 'import json, os; json.dump(dict(os.environ), open(%r, "w"))' % str(tmp_path / 'env')
    poller = monitor_of('80', on_alert=[sys.executable, '-S', '-c', write]).poller
    for event, facts in (
            (EVENT, ['percent', 'five_hour', '78', '2026-11-22T23:04:18Z', '5-Hour: 80% used.']),
            (Event('failure', PLACE, NO_LIMIT, NOW, 'Oh.'), ['failure', '', '', '', 'Oh.'])):
        assert not poller.run_command('user@example.com', event)
        env = json.loads((tmp_path / 'env').read_text())
        assert 'SECRET' not in env.values() and env['PATH'] == os.environ['PATH']
        names = 'EVENT', 'LIMIT', 'PERCENT', 'RESETS_AT', 'MESSAGE', 'ACCOUNT'
        assert [env['CLAUDE_USAGE_' + name] for name in names] == facts + ['user@example.com']


# --- The command line ---

def test_words_of_alerts():
    for words in ('1', '80', '100', 'runout', 'reset', 'failure'):
        assert alert_option(words) == words
    for words in ('0', '101', '-5', '80.5', '80%', 'resets', '', '٨٠'):
        with pytest.raises(argparse.ArgumentTypeError):
            alert_option(words)


def test_the_doctor_names_alerts_and_command():
    def found(**options):
        usual = argparse.Namespace(**dict({'alert': None, 'on_alert': None}, **options))
        setup = Setup(usual, {}, None, None, None, None, PLACE)
        return [tuple(finding) for finding in find_alerts(setup, NORMAL, Moment(NOW))]
    assert found() == []
    assert found(alert=['80', 'reset']) == [(True, 'Alerts', '80, reset.')]
    (is_good, place, words) = found(alert=['80'], on_alert=['sh', '-c'])[1]
    assert is_good and place == 'Alert command' and words.endswith('/sh.')
    assert found(alert=['80'], on_alert=['no-such'])[1] == (
        False, 'Alert command', 'no-such cannot be run.')
    assert found(on_alert=['sh']) == [(False, 'Alert command', 'needs an --alert.')]


def test_what_is_refused(ask):
    for words, reason in ((['--watch'], '--watch needs an --alert'),
                          (['--alert', 'now'], 'argument --alert: must be a percent, runout'),
                          (['--on-alert', '"'], 'argument --on-alert: '),
                          (['--on-alert', "''"], 'argument --on-alert: '),
                          (['--on-alert', ''], 'argument --on-alert: ')):
        done = ask(*words)
        assert done.code == 2 and reason in done.err and not done.out, words
    done = ask('--alert', '10')             # without a terminal it is --once
    assert done.code == 0 and '5-Hour' in done.out and '\a' not in done.out


# --- Processes ---

def reply(percent):
    """A reply with so much of the 5-hour limit used, and an hour to go."""
    at = time.strftime('%Y-%m-%dT%H:%M:%S.9+00:00', time.gmtime(time.time() // 60 * 60 + HOUR))
    return Reply(body={'five_hour': {'utilization': float(percent), 'resets_at': at}})


def bells(terminals):
    return sum(bytes(terminal.output).count(b'\a') for terminal in terminals)


@pytest.mark.slow
@pytest.mark.parametrize('first, constants', [(81, {}), (70, {'SETTLE_SECONDS': 0})])
def test_five_monitors_ring_once(service, home, tmp_path, first, constants):
    """At the start, and while they run."""
    service.answer(USAGE, reply(first), reply(81))
    rang = tmp_path / 'rang'
    argv = command(**dict(QUICK, **constants)) + [
        '--api-url', service.url, '--alert', '80', '--on-alert',
        'sh -c \'echo "$CLAUDE_USAGE_MESSAGE" >> %s\'' % rang]
    terminals = [Terminal(argv, (60, 20), {'HOME': str(home)}) for _ in range(5)]
    try:
        for terminal in terminals:
            terminal.shows(' %d%%' % first, timeout=60)
        if first < 80:
            assert bells(terminals) == 0
            terminals[0].send('r')
            for terminal in terminals:
                terminal.shows('⚠ 5-Hour: 81% used. Resets in: ', timeout=60)
        deadline = time.monotonic() + 30
        while not (bells(terminals) and rang.exists()) and time.monotonic() < deadline:
            time.sleep(0.05)
        terminals.append(Terminal(argv, (60, 20), {'HOME': str(home)}))     # just after it rang
        terminals[-1].shows('81%')
        for terminal in terminals:
            terminal.settle()
        assert bells(terminals) == 1 and rang.read_text().count('5-Hour: 81% used. ') == 1
        for terminal in terminals:
            terminal.quit()
    finally:
        for terminal in terminals:
            terminal.close()
    assert asked(service) == (1 if first == 81 else 2)


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_watch_prints_a_line(begin, service, number):
    service.answer(USAGE, reply(81))
    child = begin(['--api-url', service.url, '--watch', '--alert', '80', '--title', '--on-alert',
                   'no-such-command'], argv=EAGER)
    assert child.stdout.readline().startswith('5-Hour: 81% used. Resets in: ')
    failed = 'claude-usage: The alert command failed: No such file or directory.\n'
    assert child.stderr.readline() == failed
    child.send_signal(number)
    assert child.communicate(timeout=30) == ('', '') and child.returncode == 0


@pytest.mark.slow
def test_the_title_is_set_and_given_back(monitor, service):
    assert title_words(Snapshot(), 'code', (PLACE,)) == 'Claude'
    assert title_words(used(3), 'code', (PLACE, '/other')) == 'Claude 34%'
    service.answer(USAGE, reply(81))
    with monitor('--title') as terminal:
        terminal.wait_for(lambda _: terminal.screen.title == 'Claude 81%')
        terminal.quit()
        assert terminal.screen.title == ''
    output = bytes(terminal.output)
    assert 0 < output.find(b'\x1b[22;2t') < output.find(b'\x1b]2;\a\x1b[23;2t')
    with monitor() as terminal:
        terminal.shows('81%')
        terminal.quit()
    assert b'\x1b]2;' not in terminal.output and b'\a' not in terminal.output
