"""Reading Pace Maker's files: of every release, in every state, without a trace."""
import argparse
import json
import os
import queue
import re
import shutil
import threading
import time

import pytest

import captures
from claude_usage import (ENGINE_DEFAULTS, FEEDS, PACE_DEFAULTS, CodePoller, Moment, PacePoller,
                          Setup, Snapshot, SourceError, Ui, absorb, as_json, compose, read_only,
                          way_to_open)
from harness import World
from pacemaker import (DAY, HOUR, MINUTE, NOW, REGISTRY, RELEASES, SECRETS, TABLES, Pace, Writer,
                       iso, usage)
from server import Reply

pytestmark = pytest.mark.usefixtures('zone')

NUMBERS = 77.2, 1.9 * HOUR, 34.0, 4 * DAY       # as usage() has them: 15.2 above a target of 62 %
OTHERS = 50.0, 1.9 * HOUR, 34.0, 4 * DAY
FOLDER = '.claude-pace-maker'
not_root = pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0,
                              reason='root may read and write everything')


class Look:
    """A PacePoller, and what it has told, by a clock that only the tests move."""

    def __init__(self, now=NOW):
        self.now, self.inbox, self.snapshot, self.told = now, queue.Queue(), Snapshot(), 0
        self.poller = PacePoller(Setup(argparse.Namespace(), {}, self.inbox, lambda: self.now,
                                       None, None, 'a place'))

    def once(self):
        """Look once more; return what is Known then."""
        self.wait = self.poller.once()
        while not self.inbox.empty():
            self.told += 1
            self.snapshot = absorb(self.snapshot, self.inbox.get())
        return self.snapshot['', 'pace_maker']

    def state(self, mode='code'):
        """Look once more; return what --json tells then."""
        self.once()
        document = as_json(self.snapshot, ('a place',), Moment(self.now), mode)
        return json.loads(document)['pace_maker']

    def screen(self, size=(60, 60), **ui):
        """Look once more; return the screen then, without its borders."""
        self.once()
        frame = compose(self.snapshot, Ui(**dict({'mode': 'code'}, **ui)), size, Moment(self.now))
        rows = (''.join(span.text for span in line) for line in frame.lines)
        return '\n'.join(row.strip('│ ') for row in rows)

    def panel(self, title):
        """Look once more; return the rows of that panel."""
        for index in range(4):
            rows = self.screen(panel=index, hint=False).split('\n')
            if rows[0].startswith('┌ %s ─' % title):
                return [row for row in rows[1:] if row and row[0] != '└']
        return []

    def setting(self, label):
        """Look once more; return a value of the panel of settings, None if it is not there."""
        for row in self.panel('Pace Maker'):
            if row.startswith(label):
                return row[len(label):].strip()
        return None


def used():
    return Look().state()['five_hour_percent']


def insert(pace, table, columns, *rows):
    """Add rows of these columns."""
    pace.insert(table, *(dict(zip(columns.split(), row)) for row in rows))


def decide(pace, *rows):
    insert(pace, 'pacing_decisions', 'timestamp should_throttle delay_seconds', *rows)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home directory of this process, and of those that it starts."""
    path = tmp_path / 'home'
    (path / '.claude').mkdir(parents=True)
    monkeypatch.setenv('HOME', str(path))
    return path


@pytest.fixture
def pace(home):
    """A directory of the latest release, with a reply in it that is a minute old."""
    made = Pace(home / FOLDER)
    made.use(*NUMBERS, at=NOW - 60)
    return made


# --- Every release ---

@pytest.mark.parametrize('release', RELEASES)
def test_every_release_is_read(home, release):
    """What the first one did not have is not shown; nor does its decision hold as long."""
    pace = Pace(home / FOLDER, release)
    assert Look().state()['status'] == 'no_data'
    pace.use(*NUMBERS, at=NOW - 20)
    state = Look().state()
    assert [state[key] for key in ('status', 'window', 'at', 'stale', 'estimated')] == [
        'throttling', '5-hour', '2026-11-25T19:18:58Z', False, False]
    assert (state['target_percent'], state['deviation_percent']) == (62, 15.2)
    assert (state['five_hour_percent'], state['seven_day_percent']) == (77.2, 34)
    assert state['tempo'] == ('on' if release == '1.0' else 'auto')
    rows = '\n'.join(Look().panel('Pace Maker'))
    assert [words in rows for words in ('Tempo', 'Blockages', 'TDD', 'Secrets')] == [
        True, release != '1.0', release != '1.0', release == '2.34']
    if release == '2.0':
        decide(pace, (NOW - 100, 1, 45))
        assert Look().state()['delay_seconds'] == 45
        for name in ('langfuse_metrics', 'api_cache', 'backoff_state'):     # as in 1.4
            pace.closed('usage.db', 'DROP TABLE ' + name)
        pace.insert('usage_snapshots', usage(*NUMBERS))
        assert Look().state()['delay_seconds'] == 331 and Look().state()['tempo'] == 'auto'


def test_a_directory_without_databases(home):
    pace = Pace(home / FOLDER)
    for name in ('usage.db', 'session_registry.db'):
        os.remove(pace.path(name))
    assert Look().state()['status'] == 'no_data'
    pace.configure(enabled=False)
    assert Look().state()['status'] == 'inactive'


@pytest.mark.parametrize('kind', ['missing', 'empty', 'file'])
def test_where_it_is_not_installed(home, kind):
    if kind == 'empty':
        (home / FOLDER).mkdir()
    elif kind == 'file':
        (home / FOLDER).write_text('')
    look = Look()
    assert look.state()['installed'] is False and look.wait == 60
    assert look.once().is_settled and 'Pace' not in look.screen()


def test_it_may_be_installed_and_removed_meanwhile(home, pace):
    look = Look()
    assert look.state()['status'] == 'throttling' and look.wait == 2
    os.rename(pace.folder, str(home / 'away'))
    assert look.state()['installed'] is False
    os.rename(str(home / 'away'), pace.folder)
    assert look.state()['status'] == 'throttling'


def test_counts_and_events_of_their_time(pace):
    insert(pace, 'blockage_events', 'timestamp category', (NOW - 3601, 'other'),
           (NOW - 3599, 'pacing_quota'), (NOW - 5, 'other'), (NOW - 4, 'other'))
    insert(pace, 'langfuse_metrics', 'bucket_timestamp sessions_count traces_count spans_count',
           *((NOW - age, 1, 20, 300) for age in (DAY + 1, DAY - 1, 60)))
    insert(pace, 'secrets_metrics', 'bucket_timestamp secrets_masked_count',
           *((NOW - age, 7) for age in (DAY + 1, DAY - 1)))
    insert(pace, 'activity_events', 'timestamp event_code status', (NOW - 11, 'LF', 'blue'),
           (NOW - 9, 'IV', 'green'), (NOW - 2.5, 'TDX', 'pink'), (NOW - 2, 'IV', 'yellow'))
    insert(pace, 'governance_events', 'timestamp event_type project_name feedback_text',
           *((NOW - age, 'IV', 'p', words) for age, words in (
               (3601, 'late'), (3000, 'old'), (5, 'new'))))
    look = Look()
    rows = look.panel('Pace Maker')
    start = [row.split()[0] for row in rows].index('Blockages')
    assert [re.sub('  +', ': ', row) for row in rows[start:]] == [
        'Blockages (1h): 3', 'Other: 2', 'Pacing Quota: 1',
        'Langfuse (24h): 2 sessions, 40 traces, 600 spans', 'Secrets (24h): 7 masked']
    assert look.panel('Governance') == ['20:19 IV p', 'new', '19:29 IV p', 'old']
    assert 'Activity: IV TD\n' in look.screen()
    look.now += 5           # the clock alone takes them away, one after another
    assert (look.setting('Blockages (1h)'), look.setting('Secrets (24h)')) == ('2', '0 masked')
    assert look.setting('Langfuse (24h)') == '1 sessions, 20 traces, 300 spans'
    look.now += 3
    assert 'Activity' not in look.screen()
    look.now += HOUR
    assert look.setting('Blockages (1h)') == '0' and look.panel('Governance') == []


LISTED = """[RegEx]

\u26d4 **Clean code**: 2 violations \x1b[31mfound\x1b[0m
==========
- mill.py: a bare except
  - and a swallowed error\t\r
"""


@pytest.mark.parametrize('words, head, lines', [
    (LISTED, '[RegEx]', ['\u26d4 **Clean code**: 2 violations found', '- mill.py: a bare except',
                         '- and a swallowed error']),
    ('1. one\n\n2. two [sonnet+opus]', '[sonnet+opus]', ['1. one', '2. two']),
    ('Fine.\n [Codex] \nReally.', '[Codex]', ['Fine.', 'Really.']),
    ('- [x] done\n- see [the list](x)', '', ['- [x] done', '- see [the list](x)']),
    ('key sk-ant-api03-SECRETSECRET', '', ['key [secret]']), ('', '', []), ('---', '', [])])
def test_governance_events_keep_their_lines_and_lists(pace, words, head, lines):
    insert(pace, 'governance_events', 'timestamp event_type project_name feedback_text',
           (NOW - 60, 'CC', 'engine', words))
    assert Look().panel('Governance') == [('20:18 CC engine ' + head).strip()] + lines


AGENT = {'agent_id': 'a', 'session_id': 's', 'role': 'root', 'workspace_root': '/w',
         'start_time': 1, 'last_seen': NOW}
ACTION = 'agent_id tool_name target ts'


def test_the_agents(pace):
    insert(pace, 'agents',
           'agent_id session_id role subagent_type workspace_root start_time last_seen ended_at',
           ('sub', 's', 'sub', 'tester', '/w/b', 2, NOW - 5, None),
           ('0123456789', 's', 'root', None, '/w/b', 3, NOW - 9, None),
           ('root-a', 't', 'root', '', '/w/a', 1, NOW - 1300, None),
           ('gone', 'u', 'root', '', '/w/c', 0, NOW - 1300, NOW - 55),
           ('late', 'v', 'root', '', '/w/d', 0, NOW - 9999, None))
    insert(pace, 'agent_actions', ACTION, *(
        (name, tool, target, NOW) for name, tool, target in (
            ('sub', 'Read', 'a.md'), ('0123456789', 'Grep', '-'), ('sub', 'Edit', '/w/b/foo.py'),
            ('sub', 'Bash', 'tox -e /x/y'), ('sub', 'Write', 'foo.md'))))
    look = Look()
    assert look.panel('Agents') == [
        '▸ b', '23456789  Grep', '↳ tester  Write foo.md, Bash tox -e /x/y, Edit',
        '▸ c', 'gone']
    look.now += 6
    assert look.panel('Agents')[-1].startswith('↳ tester'), 'a minute after its end'
    look.now = NOW + 1196
    assert look.panel('Agents') == []


def test_an_agent_keeps_its_actions_while_others_are_busy(pace):
    """Pace Maker keeps three of each; their numbers grow."""
    pace.insert('agents', *(dict(AGENT, agent_id=name) for name in ('waiting', 'busy')))
    insert(pace, 'agent_actions', ACTION, ('waiting', 'Task', '-', NOW),
           *(('busy', 'Bash', '-', NOW) for _ in range(800)))
    assert Look().panel('Agents')[1:] == ['waiting  Task', 'busy  Bash, Bash, Bash']


@pytest.mark.parametrize('rows, delay', [
    ([(NOW - 99, 0, 0), (NOW - 20, 1, 45)], 45), ([(NOW - 20, 1, 45), (NOW - 99, 1, 7)], 45),
    ([(int(NOW - 5), 0, 0), (int(NOW - 5), 1, 45)], 45),        # of one second the last
    ([(NOW - 5, 1, -5)], 0), ([(NOW - 5, 0, 45)], 0), ([(NOW + 60, 1, 45)], 331),
    ([('soon', 1, 45)], 331), ([], 331)])
def test_the_last_decision_is_in_force(pace, rows, delay):
    decide(pace, *rows)
    assert Look().state()['delay_seconds'] == delay


# --- Settings ---

@pytest.mark.parametrize('config', [
    {}, {'max_delay': 120}, {'base_delay': 60}, {'threshold_percent': 50},
    {'base_delay': 5, 'max_delay': 120, 'threshold_percent': 0, 'poll_interval': 300,
     'weekly_limit_enabled': True}])
def test_the_delay_is_the_hooks_delay(pace, config):
    """They hand these settings to no engine; the last ones are what install.sh writes."""
    pace.configure(**config)
    pace.use(78.0, 109 * MINUTE, 34.0, 4 * DAY, at=NOW - 304)
    decide(pace, (NOW - 304, 0, 0))
    state = Look().state()
    assert (state['delay_seconds'], state['algorithm'], state['strategy']) == (
        323, 'adaptive', 'gradual')


def install(home, name, text):
    """Have a source with this file where install_source says."""
    path = home / 'a source' / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (home / FOLDER / 'install_source').write_text(str(home / 'a source') + '\n')


@pytest.mark.parametrize('name, text, version', [
    ('.claude-plugin/plugin.json', '{"name": "x", "version": "2.34.2"}', '2.34.2'),
    ('src/pacemaker/__init__.py', '"""Words."""\n\n__version__ = "2.9.0"\n', '2.9.0'),
    ('src/pacemaker/__init__.py', 'version = 1\n', None), ('elsewhere', '', None)])
def test_the_version_from_where_it_stands(home, pace, name, text, version):
    pace.configure(version='9.9')
    install(home, name, text)
    assert Look().setting('Version') == version


@pytest.mark.parametrize('version, delay', [
    ('2.9.1', 0), ('2.34.2', 0), ('10.0', 0), ('', 0), ('2.9.0', 45), ('1.12', 45)])
def test_two_limiters_off_void_the_last_decision(home, pace, version, delay):
    if version:
        install(home, '.claude-plugin/plugin.json', json.dumps({'version': version}))
    decide(pace, (NOW - 5, 1, 45))
    pace.configure(weekly_limit_enabled=False)
    assert Look().state()['delay_seconds'] == 45
    pace.configure(weekly_limit_enabled=False, five_hour_limit_enabled=False)
    state = Look().state()
    assert (state['delay_seconds'], state['window']) == (delay, None)
    assert state['status'] == ('throttling' if delay else 'on_pace')


@pytest.mark.parametrize('config, session, tempo', [
    ({}, None, 'auto'), ({'tempo_mode': 'on'}, None, 'on'), ({'tempo_mode': 'off'}, None, 'off'),
    ({'tempo_mode': 'auto', 'tempo_enabled': False}, None, 'auto'),
    ({'tempo_enabled': False}, None, 'off'), ({'tempo_enabled': True}, None, 'on'),
    ({'tempo_enabled': False, 'tempo_mode': 'sideways'}, None, 'off'),
    ({'tempo_mode': 'off'}, True, 'on'), ({'tempo_mode': 'on'}, False, 'off'), ({}, False, 'off'),
    ({}, 1, 'auto'), ({}, 'on', 'auto')])
def test_tempo(pace, config, session, tempo):
    pace.configure(**config)
    if session is not None:
        pace.write('state.json', json.dumps({'tempo_session_enabled': session, 'x': []}))
    assert Look().state()['tempo'] == tempo
    pace.write('state.json', '[')
    assert Look().state()['status'] == 'throttling'


@pytest.mark.parametrize('key, value', [
    ('max_delay', '350'), ('base_delay', True), ('enabled', 1), ('hook_model', 5),
    ('tempo_mode', []), ('base_delay', float('nan')), ('preload_hours', float('inf')),
    ('preload_hours', 10 ** 400), ('max_delay', -1), ('safety_buffer_pct', -0.1),
    ('poll_interval', '60'), ('log_level', {}), ('hook_model', None), ('of a later release', [])])
def test_an_unfit_value_counts_as_absent_and_is_named(pace, key, value):
    pace.configure(**{key: value, 'tdd_enabled': False, 'max_delay ': None})
    look = Look()
    assert look.state()['delay_seconds'] == 331 and look.setting('TDD') == 'off'
    words = 'Failed to load config.json: %s is no fit value.' % key
    is_fit = value is None or key not in PACE_DEFAULTS or key in ENGINE_DEFAULTS
    assert (words in ' '.join(look.screen().split())) != is_fit


# --- Missing tables and columns ---

OTHER_COLUMNS = 'DROP TABLE {0}; CREATE TABLE {0} ({1});'


def columns(definition):
    return [part.split()[0] for part in re.sub(r'\([^()]*\)+', '', definition).split(',')]


@pytest.mark.parametrize('table', sorted(TABLES) + ['agents', 'agent_actions'])
def test_a_table_or_column_may_be_missing(home, table):
    """Then that part is not shown; no failure, whatever else there is."""
    pace = Pace(home / FOLDER)
    pace.insert('usage_snapshots', usage(*NUMBERS))
    if table in ('accumulated_costs', 'calibrated_coefficients'):
        fall_back(pace)
    name, definition = 'usage.db', TABLES.get(table)
    if not definition:
        name = 'session_registry.db'
        definition = re.search(r'CREATE TABLE %s \((.*?)\);' % table, REGISTRY, re.DOTALL).group(1)
    for missing in [None] + columns(definition):
        there = [column for column in columns(definition) if missing and column != missing]
        script = OTHER_COLUMNS.format(table, ', '.join(there)) if there else 'DROP TABLE ' + table
        shutil.copy(pace.path(name), pace.path('spare.db'))
        pace.closed(name, script)
        look = Look()
        assert look.once().failure is None and 'Failed' not in look.screen(), missing
        if table not in ('usage_snapshots', 'fallback_state_v2'):
            assert look.state()['status'] == 'throttling' or table in (
                'accumulated_costs', 'calibrated_coefficients')
        os.rename(pace.path('spare.db'), pace.path(name))


@pytest.mark.parametrize('missing', ['five_hour_util', 'seven_day_util'])
def test_a_row_without_a_percent_is_passed_over(pace, missing):
    row = usage(*OTHERS)
    del row[missing]
    pace.insert('usage_snapshots', usage(12.0, HOUR, 1.0, DAY))
    pace.closed('usage.db', OTHER_COLUMNS.format('api_cache', ', '.join(row)), [
        ('api_cache', [row])])
    assert used() == 12


@pytest.mark.parametrize('table, columns, row', [
    ('activity_events', 'timestamp event_code status', ('soon', 'IV', 'red')),
    ('governance_events', 'timestamp event_type project_name feedback_text', ('soon', 5, 6, 7)),
    ('governance_events', 'timestamp event_type project_name feedback_text', (NOW - 5, 5, 6, 7)),
    ('blockage_events', 'timestamp category', ('soon', 'other')),
    ('secrets_metrics', 'bucket_timestamp secrets_masked_count', (int(NOW) - 9, 'many')),
    ('pacing_decisions', 'timestamp should_throttle delay_seconds', (NOW - 5, 'x', 'y')),
    ('agents', 'last_seen agent_id role workspace_root session_id start_time', ('odd',) * 6),
    ('agents', 'last_seen agent_id role workspace_root session_id start_time', (NOW,) + (7,) * 5)])
def test_an_odd_row_is_passed_over_or_shown_as_it_is(pace, table, columns, row):
    insert(pace, table, columns, row)
    look = Look()
    assert look.state()['installed'] and 'Failed' not in look.screen((120, 60))


# --- The usage it works from ---

ENTERED = NOW - 2 * HOUR


def fall_back(pace, left=HOUR, costs=((7201, 50.0), (7199, 4.0), (5400, 2.0), (10, 4.0)), **state):
    """Its access has been blocked for 2 hours; each of the costs is (age, dollars)."""
    pace.insert('fallback_state_v2', dict({
        'state': 'fallback', 'baseline_5h': 40.0, 'baseline_7d': 20.0, 'tier': '5x',
        'resets_at_5h': None if left is None else iso(NOW + left),
        'resets_at_7d': iso(NOW + DAY), 'entered_at': ENTERED}, **state))
    insert(pace, 'accumulated_costs', 'timestamp cost_dollars',
           *((NOW - age, dollars) for age, dollars in costs))


def test_the_latest_source_that_there_is(pace):
    pace.insert('usage_snapshots', *(usage(percent, HOUR, 1.0, DAY, at=NOW - age)
                                     for percent, age in ((11.0, 30), (12.0, 10), (13.0, 20))))
    assert used() == 77.2
    pace.closed('usage.db', 'DELETE FROM api_cache')
    assert used() == 12
    pace.insert('fallback_state_v2', {'state': 'normal', 'baseline_5h': 40.0})
    assert used() == 12
    fall_back(pace)
    assert used() == 47.5


MEASURED = [('20x', 0.5, 0.5), ('5x', 0.01, 0.002)]


@pytest.mark.parametrize('left, more, told', [
    (HOUR, {}, (47.5, 21.1)),
    (HOUR, {'costs': ()}, (40, 20)),
    (HOUR, {'tier': '20x'}, (41.875, 20.275)),
    (HOUR, {'measured': MEASURED}, (50, 22)),
    (HOUR, {'measured': MEASURED[:1]}, (47.5, 21.1)),
    (HOUR, {'baseline_5h': 95.0, 'baseline_7d': 99.0}, (100, 100)),
    (HOUR, {'rollover_cost_5h': 4.0}, (4.5, 21.1)),
    (HOUR, {'rollover_cost_5h': 99.0, 'rollover_cost_7d': 0.0}, (0, 1.1)),
    # The window is over: another one, in which only what was spent since counts.
    (-HOUR, {}, (3, 21.1)),
    (0, {}, (0, 21.1)),
    (-11 * HOUR, {}, (3, 21.1)),
    (-HOUR, {'rollover_cost_5h': 1.0}, (3, 21.1)),
    (HOUR, {'resets_at_7d': iso(NOW - 8 * DAY)}, (47.5, 1.1)),
    (HOUR, {'resets_at_7d': iso(NOW - 100 * MINUTE)}, (47.5, 0.66)),
    (None, {}, (47.5, 21.1))])
def test_an_estimate(pace, left, more, told):
    more = dict(more)
    insert(pace, 'calibrated_coefficients', 'tier coefficient_5h coefficient_7d',
           *more.pop('measured', ()))
    fall_back(pace, left, **more)
    state = Look().state()
    assert (state['five_hour_percent'], state['seven_day_percent']) == pytest.approx(told)
    assert state['estimated'] is True and state['at'] == iso(ENTERED, 'Z')


def test_an_estimate_goes_on_into_the_next_window_by_the_clock_alone(pace):
    fall_back(pace)
    pace.configure(weekly_limit_enabled=False)
    look = Look()
    for later, percent, target in ((0, 47.5, 80), (3590, 47.5, 99.94), (3600, 0, 10),
                                   (5 * HOUR, 0, 80), (6 * HOUR, 0, 10)):
        look.now = NOW + later
        state = look.state()
        assert state['five_hour_percent'] == percent, later
        assert state['target_percent'] == pytest.approx(target, abs=0.01), later


def test_the_end_of_its_own_block(pace):
    fall_back(pace)
    pace.insert('backoff_state', {'consecutive_429s': 3, 'backoff_until': NOW + 785.0})
    look = Look()
    assert 'its next try 20:32' in look.screen()
    assert 'Estimate: 5-Hour 48%, 7-Day 21%' in look.screen()
    look.now += 785
    assert 'its next try' not in look.screen()


# --- Bad luck ---

def tear(pace, name='usage.db'):
    """Overwrite the second half of a database."""
    with open(pace.path(name), 'r+b') as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(size // 8)
        file.write(b'\xa5' * (size - size // 8))


def replace_by_folder(name):
    def damage(pace):
        os.remove(pace.path(name))
        os.mkdir(pace.path(name))
    return damage


def replace_by_link(pace):
    os.remove(pace.path('usage.db'))
    os.symlink('gone', pace.path('usage.db'))


def config(text):
    return lambda pace: pace.write('config.json', text)


DAMAGES = {
    'torn': (tear, 'usage.db: (database disk image is malformed|file is not a database)'),
    'cut off': (lambda pace: os.truncate(pace.path('usage.db'), 5000), 'usage.db: .*malformed'),
    'header only': (lambda pace: os.truncate(pace.path('usage.db'), 100), 'usage.db: '),
    'empty': (lambda pace: pace.write('usage.db', b''), 'usage.db: it is empty'),
    'text': (lambda pace: pace.write('usage.db', 'SQLite, they said\n' * 9),
             'usage.db: it is no database'),
    'few bytes': (lambda pace: pace.write('usage.db', b'SQLite format 3\0'),
                  'usage.db: it is no database'),
    'a directory': (replace_by_folder('usage.db'), 'usage.db: not a regular file'),
    'a link to nowhere': (replace_by_link, 'usage.db: No such file'),
    'a text for a number': (lambda pace: pace.insert('api_cache', dict(
        usage(*NUMBERS), five_hour_util='much')), 'usage.db: five_hour.* is no number'),
    'a text for a time': (lambda pace: pace.insert('api_cache', dict(
        usage(*NUMBERS), five_hour_resets_at='soon')), 'usage.db: five_hour.* is no time'),
    'config half-written': (config('{"enabled": tr'), 'config.json: not JSON'),
    'config a list': (config('[]'), 'config.json: no object'),
    'config not UTF-8': (config(b'\xff{}'), 'config.json: not JSON'),
    'config a directory': (replace_by_folder('config.json'), 'config.json: not a regular file'),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_bad_luck_is_told_and_what_was_known_stays_known(pace, damage):
    look = Look()
    assert look.state()['status'] == 'throttling'
    harm, reason = DAMAGES[damage]
    os.rename(pace.folder, pace.folder + '.good')
    shutil.copytree(pace.folder + '.good', pace.folder)
    harm(pace)
    before = os.listdir(pace.folder)
    for _ in range(3):
        assert look.state()['status'] == 'error' and look.once().value.usage
    assert look.told == 2, 'one error is told once'
    assert re.search('Pace Maker: ERROR .*' + reason, ' '.join(look.screen().split()))
    assert os.listdir(pace.folder) == before
    shutil.rmtree(pace.folder)
    os.rename(pace.folder + '.good', pace.folder)
    assert look.state()['status'] == 'throttling'


@pytest.mark.parametrize('harm', [
    lambda pace: pace.write('session_registry.db', 'no' * 99),
    lambda pace: tear(pace, 'session_registry.db')], ids=['text', 'torn'])
def test_a_bad_registry_is_told_beside_the_state(pace, harm):
    harm(pace)
    look = Look()
    assert look.state()['status'] == 'throttling'
    assert 'Failed to load session_registry.db: ' in look.screen()


@pytest.mark.slow
@pytest.mark.parametrize('name', ['usage.db', 'session_registry.db'])
def test_locked_by_a_writer(pace, name):
    pace.journal = 'delete'
    pace.closed(name)
    with pace.writer(name) as writer:
        writer.ask('do', 'BEGIN EXCLUSIVE')
        look = Look()
        assert 'Locked: %s: by its writer.' % name in look.screen()
        assert (look.state()['status'] == 'error') == (name == 'usage.db')


@not_root
@pytest.mark.parametrize('name', ['usage.db', 'config.json', '', 'listed'])
def test_what_cannot_be_read_is_not_taken_for_absent(pace, name):
    path = pace.path(name if name != 'listed' else '')
    os.chmod(path, 0o444 if name == 'listed' else 0)
    try:
        look = Look()
        assert look.state()['status'] == 'error'
        assert 'Permission denied' in ' '.join(look.screen().split())
    finally:
        os.chmod(path, 0o700)


# --- No trace ---

def live(pace, *orders):
    """A writer that has the database open, and its last row in no -wal that is checkpointed."""
    writer = pace.writer()
    table = 'usage_snapshots' if pace.release == '1.0' else 'api_cache'
    writer.ask('insert', table, [dict(usage(*OTHERS, end=pace.end), id=1, **(
        {'session_id': 's'} if table == 'usage_snapshots' else {}))])
    for order in orders:
        writer.ask('run', order)
    return writer


def died(pace, removed=''):
    """A writer that died; SQLite reads what it left, but for a -wal whose -shm is gone."""
    live(pace).die()
    if removed:
        os.remove(pace.path('usage.db' + removed))


def emptied(pace):
    """What a read beside a hook that is just closing can leave."""
    pace.use(*OTHERS)
    pace.write('usage.db-wal', b'')


STATES = {
    'rollback': ('1.0', lambda pace: pace.use(*OTHERS), ''),
    'rollback, open': ('1.0', live, ''),
    'rollback, being written': ('1.0', lambda pace: live(
        pace, 'BEGIN IMMEDIATE; UPDATE usage_snapshots SET five_hour_util = 1'), '-journal'),
    'WAL, closed': ('2.34', lambda pace: pace.use(*OTHERS), ''),
    'WAL, live': ('2.34', live, '-shm -wal'),
    'WAL, being written': ('2.34', lambda pace: live(
        pace, 'BEGIN IMMEDIATE; UPDATE api_cache SET five_hour_util = 1'), '-shm -wal'),
    'WAL, locked': ('2.34', lambda pace: live(pace, 'BEGIN EXCLUSIVE'), '-shm -wal'),
    'WAL, checkpointed': ('2.34', lambda pace: live(
        pace, 'PRAGMA wal_checkpoint(TRUNCATE)'), '-shm -wal'),
    'WAL, empty without -shm': ('2.34', emptied, '-wal'),
    'WAL, its writer dead': ('2.34', died, '-shm -wal'),
    'WAL, without -shm': ('2.34', lambda pace: died(pace, '-shm'), '-wal'),
}


@pytest.mark.slow
@pytest.mark.parametrize('is_writable', [True, pytest.param(False, marks=not_root)])
@pytest.mark.parametrize('state', STATES)
def test_reading_leaves_no_trace(home, state, is_writable):
    release, bring_about, ends = STATES[state]
    pace = Pace(home / FOLDER, release)
    pace.use(*NUMBERS, at=NOW - 60)
    writer = bring_about(pace)
    if not is_writable:
        for name in os.listdir(pace.folder):
            os.chmod(pace.path(name), 0o444)
        os.chmod(pace.folder, 0o555)
    try:
        before = pace.contents()
        assert sorted(name[8:] for name in before if name.startswith('usage.db')) == (
            [''] + ends.split())
        for _ in range(2):
            look, found = Look(), FEEDS[-1].read(None, {}, NOW)
            if state == 'WAL, without -shm':
                assert look.state()['status'] == 'error'
                assert 'a hook died while it wrote, the next one mends it' in (
                    ' '.join(look.screen().split()))
            else:
                assert look.state()['five_hour_percent'] == 50, 'the last committed row'
                assert release == '1.0' or found[0][0].limits[0].used == 50
            assert pace.contents() == before
    finally:
        os.chmod(pace.folder, 0o755)
        if writer:
            writer.end()


@pytest.mark.slow
def test_a_writer_that_died_in_its_transaction(home):
    """Its journal is left for the next writer; what it had not committed is never shown."""
    pace = Pace(home / FOLDER, '1.0')
    pace.insert('usage_snapshots', *(usage(*NUMBERS, at=NOW - age) for age in range(2000)))
    with pace.writer() as writer:
        for order in ('PRAGMA cache_size = 5', 'BEGIN',
                      'UPDATE usage_snapshots SET five_hour_util = 1'):
            writer.ask('do', order)
        writer.die()
    before = pace.contents()
    assert 'usage.db-journal' in before
    look = Look()
    assert look.state()['status'] == 'error' or look.state()['five_hour_percent'] == 77.2
    assert pace.contents() == before


HEADER = b'SQLite format 3\0' + b'\x10\0'
WAL, ROLLBACK = HEADER + b'\2\2' + bytes(80), HEADER + b'\1\1' + bytes(80)
FULL, EMPTY = (1, 4152, 5), (1, 0, 5)       # stamps


@pytest.mark.parametrize('header, wal, shm, how', [
    (ROLLBACK, None, None, 'mode=ro'), (ROLLBACK, FULL, FULL, 'mode=ro'),
    (WAL, None, None, 'mode=ro&immutable=1'), (WAL, None, FULL, 'mode=ro&immutable=1'),
    (WAL, EMPTY, None, 'mode=ro&immutable=1'), (WAL, FULL, FULL, 'mode=ro&readonly_shm=1'),
    (WAL, EMPTY, FULL, 'mode=ro&readonly_shm=1'), (WAL, FULL, None, None), (b'', None, None, None),
    (WAL[:99], None, None, None), (b'x' * 100, None, None, None),
    (WAL[1:] + b'0', None, None, None)])
def test_way_to_open(header, wal, shm, how):
    if how:
        assert way_to_open(header, wal, shm) == how
    else:
        with pytest.raises(SourceError, match='malformed'):
            way_to_open(header, wal, shm)


@pytest.mark.parametrize('name', ['a b', '100%', 'a?mode=rwc', 'a#b', 'caf\xe9', "it's"])
def test_the_name_of_the_directory_may_be_any(tmp_path, monkeypatch, name):
    monkeypatch.setenv('HOME', str(tmp_path / name))
    pace = Pace(tmp_path / name / FOLDER)
    pace.use(*NUMBERS)
    assert used() == 77.2 and os.listdir(str(tmp_path)) == [name]


def test_a_link_to_a_live_database(home, tmp_path):
    """Its journal stands beside the file that it leads to."""
    pace, linked = Pace(tmp_path / 'elsewhere'), Pace(home / FOLDER)
    pace.use(*NUMBERS)
    os.remove(linked.path('usage.db'))
    os.symlink(pace.path('usage.db'), linked.path('usage.db'))
    look = Look()
    assert look.state()['five_hour_percent'] == 77.2
    with pace.writer() as writer:
        writer.ask('insert', 'api_cache', [dict(usage(*OTHERS), id=1)])
        assert look.state()['five_hour_percent'] == 50.0


# --- Unchanged files ---

def hold(pace, name, change):
    """Change a file as nobody could tell by its size, inode or time."""
    before = os.stat(pace.path(name))
    change()
    os.utime(pace.path(name), ns=(before.st_atime_ns, before.st_mtime_ns))
    after = os.stat(pace.path(name))
    assert (after.st_size, after.st_ino) == (before.st_size, before.st_ino)


def test_unchanged_files_are_not_opened_again(pace):
    names = ['usage.db', 'session_registry.db', 'config.json']
    for name in names:
        os.utime(pace.path(name), (NOW - HOUR, NOW - HOUR))
    look = Look()
    look.once()
    for name in names:
        hold(pace, name, lambda: tear(pace, name))
    look.now += HOUR
    look.once()
    assert look.told == 1
    os.utime(pace.path('usage.db'), (NOW, NOW))
    assert look.once().failure and look.told == 2


def test_what_says_the_same_is_not_told_again(pace):
    look = Look()
    for _ in range(3):
        look.once()
        pace.use(*NUMBERS, at=NOW - 60)
    assert look.told == 1
    pace.use(*OTHERS)
    look.once()
    assert look.told == 2


@pytest.mark.parametrize('change', [
    lambda pace: pace.use(*OTHERS), lambda pace: pace.configure(enabled=False),
    lambda pace: pace.insert('agents', AGENT),
    lambda pace: pace.write('state.json', '{"tempo_session_enabled": false}')])
def test_a_change_of_any_file_is_seen(pace, change):
    look = Look()
    before = look.once()
    change(pace)
    assert look.once() != before


@pytest.mark.parametrize('name, table', [('usage.db', 'api_cache'),
                                         ('session_registry.db', 'agents')])
def test_a_change_in_a_live_wal_is_seen(pace, name, table):
    with pace.writer(name) as writer:
        look = Look()
        before = look.once()
        writer.ask('insert', table, [AGENT if table == 'agents' else dict(usage(*OTHERS), id=1)])
        assert look.once() != before


def test_a_change_in_the_tick_of_the_last_look_is_seen(pace):
    """The clock of a file system ticks every few milliseconds, and a look may fall between."""
    look = Look(os.stat(pace.path('usage.db')).st_mtime)
    look.once()
    hold(pace, 'usage.db', lambda: pace.use(*OTHERS))
    look.now += 2
    assert look.once().value.usage.limits[0].used == 50


# --- Secrets ---

@pytest.mark.slow
def test_the_whole_program_leaves_no_trace_and_tells_no_secret(home, run, server, tmp_path):
    """Not even where temporary files are; in either mode."""
    server.answer('/api/oauth/usage', Reply(body=captures.USAGE_2026))
    server.answer('/api/oauth/profile', Reply(body=captures.PROFILE))
    pace = Pace(home / FOLDER, config=dict(SECRETS, langfuse_enabled=True))
    pace.closed('usage.db', "CREATE TABLE secrets (value); INSERT INTO secrets VALUES ('SECRET')")
    pace.use(*NUMBERS, at=NOW - 60)
    pace.insert('agents', AGENT)
    (tmp_path / 'tmp').mkdir()
    (home / '.claude' / '.credentials.json').write_text(json.dumps(captures.CREDENTIALS))
    before = pace.contents()
    look = Look()
    assert 'SECRET' not in repr(look.once())
    for option in ('--json', '--once', '--doctor'):
        result = run([option, '--api-url', server.url], home=home,
                     env={'TMPDIR': str(tmp_path / 'tmp')})
        assert result.code == 0 and 'SECRET' not in result.out + result.err
        assert '"installed": true' in result.out or 'Pace Maker: ' in result.out
    assert pace.contents() == before and not list((tmp_path / 'tmp').iterdir())


# --- Its replies serve us too ---

class Neighbours(World):
    """A monitor beside Pace Maker, whose clocks only the tests move."""

    def __init__(self, server, home):
        super().__init__(server, home / '.claude')
        self.now, self.pace = NOW, Pace(home / FOLDER)
        self.log_in()
        self.reply(*NUMBERS)
        self.mine = self.monitor(CodePoller)

    def reply(self, *numbers):
        """What the service answers from now on, in the form of usage()."""
        self.answer(Reply(body=document(*numbers)))

    def lend(self, *numbers, age=0, **more):
        """Pace Maker's reply is so old; it stores it whole, beside its numbers."""
        row = dict(usage(*numbers, at=self.now - age), raw_response=json.dumps(document(*numbers)))
        self.pace.insert('api_cache', dict(row, **more))

    def block(self, seconds):
        """Pace Maker was told to wait so long."""
        self.pace.insert('backoff_state', {
            'consecutive_429s': 3, 'backoff_until': seconds and self.now + seconds})

    def wait(self, seconds):
        self.pass_time(seconds, self.mine)

    @property
    def told(self):
        """(percent of 5 hours, whose reply, seconds since NOW)."""
        first = self.mine.known().value.limits[0]
        return first.used, first.via, first.at - NOW

    @property
    def asked(self):
        """When the service was asked, seconds since NOW."""
        return [at - NOW for at in self.times]


def document(*numbers):
    row = usage(*numbers)
    return {key: {'utilization': row[key + '_util'], 'resets_at': row[key + '_resets_at']}
            for key in ('five_hour', 'seven_day')}


@pytest.fixture
def world(home, server):
    return Neighbours(server, home)


@pytest.mark.parametrize('whole', ['', 'x', 'null', '[]', '{"five_hour": 5}', None])
def test_a_reply_that_is_not_whole_serves_by_its_columns(world, whole):
    world.lend(*OTHERS, age=10, raw_response=whole)
    world.mine.once()
    assert world.asked == [] and world.told == (50.0, 'Pace Maker', -10)


def test_its_reply_counts_as_a_poll(world):
    world.lend(*OTHERS, age=10)
    world.wait(16)
    assert world.asked == [] and world.told == (50.0, 'Pace Maker', -10)
    world.wait(8)
    assert world.asked == [pytest.approx(20, abs=3)] and world.told[:2] == (77.2, '')


def test_its_replies_use_up_the_budget(world):
    for number in range(5):
        world.lend(*NUMBERS[:2], 34.0 + number, 4 * DAY)
        world.wait(20)
    world.wait(220)
    assert world.asked == [pytest.approx(300, abs=1)], 'five in the five minutes before'


def test_while_it_asks_we_do_not(world):
    for number in range(12):
        world.lend(*NUMBERS[:2], 34.0 + number, 4 * DAY)
        world.wait(20)
    assert world.asked == [] and world.told == (77.2, 'Pace Maker', 220)


@pytest.mark.parametrize('age, via', [(1, ''), (-1, 'Pace Maker'), (-3, ''), (3600, '')])
def test_the_younger_reply_is_shown(world, age, via):
    world.mine.once()
    world.now += 2
    world.lend(*OTHERS, age=2 + age)
    world.mine.once()
    assert world.told[1] == via and world.asked == [0]


@pytest.mark.parametrize('left, is_ours', [(0, True), (59, True), (61, False), (-61, False)])
def test_it_serves_while_its_windows_end_with_ours(world, left, is_ours):
    """Else it is another account's."""
    world.mine.once()
    world.now += 10
    world.lend(50.0, 1.9 * HOUR + left, 34.0, 4 * DAY)
    world.block(1200)
    world.mine.once()
    assert world.told == ((50.0, 'Pace Maker', 10) if is_ours else (77.2, '', 0))
    world.wait(100)
    assert (len(world.asked) == 1) == is_ours, 'nor does its block hold'


@pytest.mark.parametrize('raw, labels', [
    (None, ['5-Hour', '7-Day']),
    (json.dumps(captures.USAGE_2026), ['5-Hour', '7-Day', '7-Day Fable'])])
def test_the_whole_reply_is_used_where_there_is_one(world, raw, labels):
    world.lend(*OTHERS, raw_response=raw)
    world.mine.once()
    limits = world.mine.known().value.limits
    assert [limit.label for limit in limits] == labels
    assert {limit.via for limit in limits} == {'Pace Maker'}


def test_a_release_without_its_reply_lends_none(home, server):
    world = Neighbours(server, home)
    world.pace.closed('usage.db', 'DROP TABLE api_cache; DROP TABLE backoff_state')
    world.mine.once()
    assert world.asked == [0] and world.told == (77.2, '', 0)


@pytest.mark.parametrize('raw', [None, 'half {', '{"five_hour": 5}'])
def test_while_it_is_blocked_nobody_asks(world, raw):
    world.lend(*OTHERS, raw_response=raw)
    world.block(600)
    world.wait(300)
    world.mine.once(asked=True)
    world.wait(299)
    assert world.asked == [] and world.told == (50.0, 'Pace Maker', 0), 'what is known stays'
    known = world.mine.known()
    assert known.failure.code == 'rate_limited' and known.next_at == known.free_at == NOW + 600
    world.wait(5)
    assert world.asked == [pytest.approx(600, abs=1)] and world.mine.known().failure is None


@pytest.mark.parametrize('seconds, times', [(None, [0]), (-1, [0]), (30 * DAY, [HOUR])])
def test_a_block_that_is_over_is_none_and_none_is_longer_than_an_hour(world, seconds, times):
    world.block(seconds)
    world.mine.once()
    world.now = NOW + times[0]
    world.wait(6)
    assert world.asked == [pytest.approx(at, abs=5) for at in times]


# --- Beside a writer ---

@pytest.mark.slow
@pytest.mark.parametrize('journal', ['wal', 'delete'])
@pytest.mark.parametrize('reopening', [False, True])
def test_a_writer_in_a_hurry_loses_nothing(home, journal, reopening):
    pace = Pace(home / FOLDER)
    pace.journal = journal
    pace.closed('usage.db')
    look, seen, failures = Look(), [0], 0
    with Writer() as writer:
        writer.tell('hurry', pace.path('usage.db'), journal, reopening, 2)
        while not writer.has_answered():
            known = look.once()
            failures += bool(known.failure)
            limits = known.value.usage.limits if known.value and known.value.usage else ()
            seen += [limit.used for limit in limits[:1]]
        count, complaints = writer.answer()
        writer.ask('open', pace.path('usage.db'), journal)
        assert writer.ask('value', 'SELECT count(*) FROM usage_snapshots') == count > 20
    assert complaints == []
    assert seen == sorted(seen) and seen[-1] <= count, 'never an older state, never another'
    assert len(set(seen)) > 10 and failures < len(seen) / 2
    assert used() == count


@pytest.mark.slow
def test_two_readers_of_one_process_keep_their_locks(home):
    """POSIX takes all locks of a process from a file when it closes any descriptor of it."""
    pace = Pace(home / FOLDER, '1.0')
    with pace.writer() as writer:
        writer.ask('do', 'PRAGMA busy_timeout = 0')

        def read(connection, now):
            connection.execute('BEGIN')
            connection.execute('SELECT count(*) FROM usage_snapshots').fetchall()
            other = threading.Thread(target=read_only, args=(
                'usage.db', lambda connection, now: None, now))
            other.start()
            other.join(1)                       # or it waits for us
            writer.tell('do', 'BEGIN EXCLUSIVE')
            with pytest.raises(AssertionError, match='database is locked'):
                writer.answer()
            return other
        read_only('usage.db', read, time.time()).join()
