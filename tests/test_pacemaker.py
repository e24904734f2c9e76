"""Reading Pace Maker's files: of every release, in every state, without a trace."""
import json
import os
import queue
import re
import shutil
import threading
import time

import pytest

import captures
from claude_usage import (DECISION_TABLES, EVENT_TABLES, MINUTE, PACE_DEFAULTS, Api, CodePoller,
                          PacePoller, Snapshot, SourceError, Store, Ui, compose, drain, is_live,
                          pace_logs, pace_status, read_only, way_to_open)
from pacemaker import (DAY, HOUR, NOW, REGISTRY, RELEASES, SECRETS, TABLES, Pace, Writer, iso,
                       usage)
from server import Reply

pytestmark = pytest.mark.usefixtures('zone')

USAGE, PROFILE = '/api/oauth/usage', '/api/oauth/profile'
NUMBERS = 77.2, 1.9 * HOUR, 34.0, 4 * DAY       # as usage() has them: 15.2 above a target of 62 %
OTHERS = 50.0, 1.9 * HOUR, 34.0, 4 * DAY
not_root = pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0,
                              reason='root may read and write everything')


class Look:
    """A PacePoller, and what it has told, by a clock that only the tests move."""

    def __init__(self, folder, now=NOW):
        self.now, self.inbox, self.snapshot, self.told = now, queue.Queue(), Snapshot(), 0
        self.poller = PacePoller(self.inbox, lambda: self.now, str(folder))

    def once(self):
        """Look once more; return the Snapshot then."""
        self.wait = self.poller.once()
        self.told += self.inbox.qsize()
        self.snapshot = drain(self.inbox, self.snapshot)
        return self.snapshot

    def status(self):
        """Look once more; return the PaceStatus then."""
        return pace_status(self.once(), self.now)

    def value(self):
        """Look once more, successfully; return the PaceMaker then."""
        known = self.once().pace_maker
        assert known.failure is None
        return known.value


def used(look):
    return look.value().usage.five_hour_used


def screen(snapshot, now=NOW, size=(120, 60), **ui):
    frame = compose(snapshot, Ui(**ui), size, now)
    return '\n'.join(''.join(span.text for span in line).rstrip() for line in frame.lines)


@pytest.fixture
def pace(tmp_path):
    """A directory of the latest release, with a reply in it that is too old to be borrowed."""
    made = Pace(tmp_path / 'pace')
    made.use(*NUMBERS, at=NOW - 60)
    return made


# --- Every release ---

@pytest.mark.parametrize('release', RELEASES)
def test_every_release_is_read(tmp_path, release):
    pace = Pace(tmp_path / 'pace', release)
    assert Look(pace.folder).status().status == 'no_data'
    pace.use(*NUMBERS, at=NOW - 20)
    look = Look(pace.folder)
    told = look.status()
    assert (told.status, told.window, told.at, told.stale, told.estimated) == (
        'throttling', '5-hour', NOW - 20, False, False)
    assert (told.target, told.deviation) == pytest.approx((62, 15.2))
    read = look.value()
    assert read.is_modern is (release != '1.0')
    assert (read.blockages, read.langfuse) == ((None, None) if release == '1.0' else ((), ()))
    assert read.secrets == (() if release == '2.34' else None)


def test_what_the_first_release_did_not_have_is_not_shown(tmp_path):
    pace = Pace(tmp_path / 'pace', '1.0')
    pace.use(*NUMBERS)
    text = screen(Look(pace.folder).once())
    assert 'Pace Maker: ⚠ THROTTLING' in text and 'Tempo' in text
    assert not re.search('Blockages|Langfuse|Secrets|Log errors|Agents|Governance|TDD', text)


def test_a_directory_without_databases(tmp_path):
    pace = Pace(tmp_path / 'pace')
    for name in ('usage.db', 'session_registry.db'):
        os.remove(pace.path(name))
    assert Look(pace.folder).status().status == 'no_data'
    pace.configure(enabled=False)
    assert Look(pace.folder).status().status == 'inactive'


@pytest.mark.parametrize('name', ['missing', 'empty', 'file'])
def test_where_it_is_not_installed(tmp_path, name):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'file').write_text('')
    look = Look(tmp_path / name)
    assert look.status() is None and look.wait == 60
    assert look.snapshot.pace_maker.at == NOW and 'Pace' not in screen(look.snapshot)


def test_it_may_be_installed_and_removed_meanwhile(tmp_path, pace):
    look = Look(pace.folder)
    assert look.status().status == 'throttling' and look.wait == 2
    os.rename(pace.folder, str(tmp_path / 'away'))
    assert look.status() is None
    os.rename(str(tmp_path / 'away'), pace.folder)
    assert look.status().status == 'throttling'


def test_everything_that_it_tells(pace):
    pace.insert('pacing_decisions', {'timestamp': NOW - 99, 'should_throttle': 0,
                                     'delay_seconds': 0},
                {'timestamp': NOW - 20, 'should_throttle': 1, 'delay_seconds': 45})
    pace.insert('blockage_events', *({'timestamp': at, 'category': category} for at, category in (
        (NOW - 3601, 'other'), (NOW - 3599, 'pacing_quota'), (NOW - 5, 'other'))))
    pace.insert('langfuse_metrics', *({
        'bucket_timestamp': at, 'sessions_count': 1, 'traces_count': 20, 'spans_count': 300}
        for at in (NOW - DAY - 1, NOW - DAY + 1, NOW - 60)))
    pace.insert('secrets_metrics', *({'bucket_timestamp': at, 'secrets_masked_count': 7}
                                     for at in (NOW - DAY - 1, NOW - DAY + 1)))
    pace.insert('activity_events', *(
        {'timestamp': at, 'event_code': code, 'status': colour} for at, code, colour in (
            (NOW - 11, 'LF', 'blue'), (NOW - 2.5, 'TD', 'red'), (NOW - 9, 'IV', 'green'))))
    pace.insert('governance_events', *(
        {'timestamp': at, 'event_type': 'IV', 'project_name': 'p', 'feedback_text': words}
        for at, words in ((NOW - 3601, 'late'), (NOW - 3000, 'old'), (NOW - 5, 'new'))))
    read = Look(pace.folder).value()
    assert read.decided == (NOW - 20, True, 45)
    assert set(read.blockages) == {(NOW - 3599, 'pacing_quota'), (NOW - 5, 'other')}
    assert read.langfuse == ((int(NOW - DAY + 1), 1, 20, 300), (NOW - 60, 1, 20, 300))
    assert read.secrets == ((int(NOW - DAY + 1), 7),)
    assert read.activity == ((NOW - 9, 'IV', 'green'), (NOW - 2.5, 'TD', 'red'))
    assert read.governance == ((NOW - 5, 'IV', 'p', 'new'), (NOW - 3000, 'IV', 'p', 'old'))


def test_the_agents(pace):
    pace.insert('agents', *(dict(
        agent_id=name, session_id='s' + workspace[-1], role='subagent' if kind else 'root',
        subagent_type=kind, workspace_root=workspace, start_time=start, last_seen=NOW - seen,
        ended_at=ended and NOW - ended) for name, workspace, kind, start, seen, ended in (
            ('sub', '/w/b', 'tester', 2, 5, None), ('root-b', '/w/b', None, 3, 9, None),
            ('root-a', '/w/a', None, 1, 1300, None), ('gone', '/w/c', None, 0, 1300, 55),
            ('late', '/w/d', None, 0, 9999, None))))
    pace.insert('agent_actions', *({'agent_id': name, 'tool_name': tool, 'ts': NOW}
                                   for name, tool in (('sub', 'Read'), ('root-b', 'Grep'), (
                                       'sub', 'Edit'), ('sub', 'Bash'), ('sub', 'Write'))))
    agents = [agent for agent in Look(pace.folder).value().agents if is_live(agent, NOW)]
    assert [(agent.workspace, agent.name, agent.is_root) for agent in agents] == [
        ('/w/b', 'root-b', True), ('/w/b', 'tester', False), ('/w/c', 'gone', True)]
    assert agents[1].tools == ('Write', 'Bash', 'Edit') and agents[0].tools == ('Grep',)
    assert (agents[1].seen, agents[1].ended, agents[2].ended) == (NOW - 5, None, NOW - 55)


def test_an_agent_keeps_its_tools_while_others_are_busy(pace):
    """Its own were long ago, by their number."""
    def act(name, *tools):
        pace.insert('agent_actions', *({'agent_id': name, 'tool_name': tool, 'ts': NOW}
                                       for tool in tools))

    def tools(look):
        return {agent.workspace: agent.tools for agent in look.value().agents}
    pace.insert('agents', *(dict(AGENT, agent_id=name, workspace_root=name, last_seen=NOW)
                            for name in ('waiting', 'busy')))
    act('waiting', 'Read', 'Task')
    look = Look(pace.folder)
    assert tools(look) == {'waiting': ('Task', 'Read'), 'busy': ()}
    act('busy', *(['Bash'] * 6000 + ['Edit']))
    assert tools(look) == {'waiting': ('Task', 'Read'), 'busy': ('Edit', 'Bash', 'Bash')}
    act('waiting', 'Write')
    assert tools(look)['waiting'] == ('Write', 'Task', 'Read')
    os.remove(pace.path('session_registry.db'))     # it begins anew
    pace.closed('session_registry.db', REGISTRY)
    pace.insert('agents', dict(AGENT, agent_id='waiting', workspace_root='new', last_seen=NOW))
    act('waiting', 'Grep')
    assert tools(look) == {'new': ('Grep',)}
    act('waiting', 'Glob')
    assert tools(look) == {'new': ('Glob', 'Grep')}


def test_actions_whose_ids_are_no_numbers_are_none(pace):
    os.remove(pace.path('session_registry.db'))
    pace.closed('session_registry.db', REGISTRY + OTHER_COLUMNS.format(
        'agent_actions', 'id, agent_id, tool_name'), [('agent_actions', [
            {'id': number, 'agent_id': 'a', 'tool_name': tool}
            for number, tool in ((1, 'Read'), ('x', 'Odd'), (2, 'Edit'), (None, 'Odd'))])])
    pace.insert('agents', AGENT)
    look = Look(pace.folder)
    for _ in range(2):
        assert look.value().agents[0].tools == ('Edit', 'Read')
        os.utime(pace.path('config.json'), (NOW, NOW))


def test_of_one_second_the_last_row_counts(pace):
    """Times of whole seconds are equal now and then."""
    for delay in (0, 45):
        pace.insert('pacing_decisions', {
            'timestamp': int(NOW - 5), 'should_throttle': bool(delay), 'delay_seconds': delay,
            'session_id': 's'})
    assert Look(pace.folder).value().decided == (int(NOW - 5), True, 45)


def test_a_negative_delay_is_none(pace):
    pace.insert('pacing_decisions', {'timestamp': int(NOW - 5), 'should_throttle': 1,
                                     'delay_seconds': -5, 'session_id': 's'})
    told = Look(pace.folder).status()
    assert (told.throttling, told.delay_seconds, told.status) == (False, 0, 'on_pace')


# --- Missing tables and columns ---

NEEDED = dict.fromkeys(TABLES, 'timestamp')     # what makes a table that table
NEEDED.update(langfuse_metrics='bucket_timestamp', secrets_metrics='bucket_timestamp',
              fallback_state_v2='state', calibrated_coefficients='tier')
READ = sorted(set(TABLES) - {'global_poll_state', 'codex_usage', 'profile_cache'})
OTHER_COLUMNS = 'DROP TABLE {0}; CREATE TABLE {0} ({1});'


def columns(definition):
    return [part.split()[0] for part in re.sub(r'\([^()]*\)+', '', definition).split(',')]


@pytest.mark.parametrize('table', READ)
def test_a_table_or_column_may_be_missing(tmp_path, table):
    pace = Pace(tmp_path / 'pace')
    pace.insert('usage_snapshots', usage(*NUMBERS))
    if table in ('accumulated_costs', 'calibrated_coefficients'):
        pace.insert('fallback_state_v2', {'state': 'fallback', 'entered_at': NOW - 9})
    for missing in [None] + columns(TABLES[table]):
        if missing == NEEDED[table] or (table == 'backoff_state' and missing == 'backoff_until'):
            continue
        there = [name for name in columns(TABLES[table]) if missing and name != missing]
        script = OTHER_COLUMNS.format(table, ', '.join(there)) if there else 'DROP TABLE ' + table
        shutil.copy(pace.path('usage.db'), pace.path('spare.db'))
        pace.closed('usage.db', script)
        known = Look(pace.folder).once().pace_maker
        assert known.failure is None, missing
        os.rename(pace.path('spare.db'), pace.path('usage.db'))


AGENT = {'agent_id': 'a', 'session_id': 's', 'role': 'root', 'workspace_root': '/w',
         'start_time': 1, 'last_seen': NOW}


@pytest.mark.parametrize('table, needed', [('agents', 'last_seen'), ('agent_actions', 'id')])
def test_a_table_or_column_of_the_registry_may_be_missing(pace, table, needed):
    definition = re.search(r'CREATE TABLE %s \((.*?)\);' % table, REGISTRY, re.DOTALL).group(1)
    for missing in [None] + columns(definition):
        if missing == needed:
            continue
        there = [name for name in columns(definition) if missing and name != missing]
        script = OTHER_COLUMNS.format(table, ', '.join(there)) if there else 'DROP TABLE ' + table
        os.remove(pace.path('session_registry.db'))
        pace.closed('session_registry.db', REGISTRY + script)
        known = Look(pace.folder).once().pace_maker
        assert known.failure is None, missing


@pytest.mark.parametrize('missing', ['should_throttle', 'delay_seconds'])
def test_a_decision_without_its_columns_is_none(pace, missing):
    there = {'timestamp': NOW - 9, 'should_throttle': 1, 'delay_seconds': 45}
    del there[missing]
    pace.closed('usage.db', OTHER_COLUMNS.format('pacing_decisions', ', '.join(there)),
                [('pacing_decisions', [there])])
    assert Look(pace.folder).status().delay_seconds == 331, 'the computed one'


@pytest.mark.parametrize('table', sorted(DECISION_TABLES))
def test_a_table_with_other_columns_is_an_error(tmp_path, table):
    pace = Pace(tmp_path / 'pace')
    pace.closed('usage.db', OTHER_COLUMNS.format(table, 'a, b'))
    told = Look(pace.folder).status()
    assert told.status == 'error' and table in told.reason and 'columns' in told.reason


@pytest.mark.parametrize('table', sorted(EVENT_TABLES))
def test_a_side_table_with_other_columns_is_told_beside_the_state(tmp_path, table):
    pace = Pace(tmp_path / 'pace')
    pace.closed('usage.db', OTHER_COLUMNS.format(table, 'a, b'))
    look = Look(pace.folder)
    assert look.status().status == 'no_data'
    assert look.value().problems == ('table %s has other columns' % table,)
    assert 'table %s' % table in screen(look.snapshot)


@pytest.mark.parametrize('table, row, words', [
    ('activity_events', ('soon', 'IV', 'red', 's'), 'usage.db: a time in activity_events is no'),
    ('governance_events', ('soon', 'IV', 'p', 's', 'words'), 'a time in governance_events is no'),
    ('blockage_events', ('soon', 'other', 'r', 'h', 's', ''), 'a time in blockage_events is no'),
    ('secrets_metrics', (int(NOW) - 9, 'many'), 'Failed to load usage.db: a count is no number'),
    ('agents', dict(AGENT, last_seen='odd'), 'session_registry.db: last_seen is no time')])
def test_an_odd_value_that_it_does_not_decide_by_is_told_beside_the_state(
        pace, table, row, words):
    pace.insert(table, row if table == 'agents' else dict(zip(
        [name for name in columns(TABLES[table]) if name != 'id'], row)))
    look = Look(pace.folder)
    assert look.status().status == 'throttling'
    assert len(look.value().problems) == 1 and words in look.value().problems[0]
    assert words in ' '.join(re.findall('│ (.*?) *│', screen(look.snapshot, size=(90, 60))))


@pytest.mark.parametrize('table', ['api_cache', 'usage_snapshots'])
@pytest.mark.parametrize('missing', ['five_hour_util', 'seven_day_util'])
def test_a_row_without_a_percent_is_passed_over(tmp_path, table, missing):
    pace = Pace(tmp_path / 'pace')
    rows = {name: usage(*NUMBERS, at=NOW - 60) for name in ('api_cache', 'usage_snapshots')}
    rows['usage_snapshots'].update(session_id='s')
    del rows[table][missing]
    pace.closed('usage.db', OTHER_COLUMNS.format(table, ', '.join(rows[table])), list(
        (name, [row]) for name, row in rows.items()))
    assert Look(pace.folder).value().usage.five_hour_used == 77.2


def test_a_release_is_known_by_any_of_its_tables(tmp_path):
    """By them the defaults are chosen, such as how long its decision holds."""
    pace = Pace(tmp_path / 'pace', '2.0')
    pace.closed('usage.db', 'DROP TABLE api_cache; DROP TABLE backoff_state')
    pace.insert('usage_snapshots', dict(usage(*NUMBERS, at=int(NOW - 100)), session_id='s'))
    pace.insert('pacing_decisions', {'timestamp': int(NOW - 100), 'should_throttle': 1,
                                     'delay_seconds': 45, 'session_id': 's'})
    assert Look(pace.folder).status().delay_seconds == 45


@pytest.mark.parametrize('text, left', [
    ('2026-11-25T21:13:18', 6840), ('2026-11-25T21:13:18+00:00', 6840),
    ('2026-11-25T21:13:18Z', 6840), ('2026-11-25 21:13:18', 6840),
    ('2026-11-25T22:13:18+01:00', 6840), ('2026-11-25T21:13:18.500000+00:00', 6840.5),
    (None, None)])
def test_times_are_naive_or_aware(pace, text, left):
    pace.insert('api_cache', dict(usage(*NUMBERS), five_hour_resets_at=text))
    resets_at = Look(pace.folder).value().usage.five_hour_resets_at
    assert (resets_at and resets_at - NOW) == left


# --- The usage it works from ---

def fall_back(pace, **state):
    pace.insert('fallback_state_v2', dict({
        'state': 'fallback', 'baseline_5h': 40.0, 'baseline_7d': 20.0, 'tier': '5x',
        'resets_at_5h': iso(NOW + HOUR), 'resets_at_7d': iso(NOW + DAY),
        'entered_at': NOW - 2 * HOUR}, **state))
    pace.insert('accumulated_costs', *({'timestamp': NOW - age, 'cost_dollars': dollars}
                                       for age, dollars in ((9999, 50.0), (3600, 6.0), (30, 4.0))))


def test_the_latest_source_that_there_is(pace):
    pace.insert('usage_snapshots', usage(11.0, HOUR, 1.0, DAY, at=NOW - 30),
                usage(12.0, HOUR, 1.0, DAY, at=NOW - 10), usage(13.0, HOUR, 1.0, DAY, at=NOW - 20))
    assert used(Look(pace.folder)) == 77.2
    pace.closed('usage.db', 'DELETE FROM api_cache')
    assert used(Look(pace.folder)) == 12
    pace.insert('fallback_state_v2', {'state': 'normal', 'baseline_5h': 40.0})
    assert used(Look(pace.folder)) == 12
    fall_back(pace)
    assert Look(pace.folder).value().usage[:4] == pytest.approx(
        (47.5, NOW + HOUR, 21.1, NOW + DAY))


def test_an_estimate_is_marked(pace):
    fall_back(pace)
    pace.insert('calibrated_coefficients', {'tier': '5x', 'coefficient_5h': 0.01,
                                            'coefficient_7d': 0.001})
    look = Look(pace.folder)
    assert used(look) == pytest.approx(50)
    assert look.status().estimated is True
    for size in ((120, 40), (80, 24), (47, 24)):
        assert re.search('Pace.*estimated', screen(look.snapshot, size=size))


def test_an_estimate_goes_on_into_the_next_window_by_the_clock_alone(pace):
    fall_back(pace)
    look = Look(pace.folder)
    for later, percent, end in ((0, 47.5, 1), (3599, 47.5, 1), (3600, 0, 6), (5 * 3600, 0, 6),
                                (6 * 3600, 0, 11)):
        look.now = NOW + later
        read = look.value().usage
        assert (read.five_hour_used, read.five_hour_resets_at) == (percent, NOW + end * HOUR)


# --- Bad luck ---

def beside(pace, home, server):
    """What both pollers know after a look at the same directory."""
    server.answer(USAGE, Reply(body=captures.USAGE_2026))
    server.answer(PROFILE, Reply(body=captures.PROFILE))
    look = Look(pace.folder)
    look.once()
    CodePoller(look.inbox, lambda: NOW, Api(server.url), {'CLAUDE_CONFIG_DIR': str(
        home / '.claude')}, Store(str(home / 'store')), pace_folder=pace.folder).once()
    return drain(look.inbox, look.snapshot)


def check_error(snapshot, reason):
    """The panel says ERROR and why; the rest runs on."""
    told = pace_status(snapshot, NOW)
    assert told.status == 'error' and re.search(reason, told.reason), told
    assert snapshot.usage.failure is None and snapshot.profile.value.name == 'Jane Doe'
    text = screen(snapshot)
    assert re.search(r'Pace Maker: ERROR', text) and ' 11%' in text
    assert re.search(reason, ' '.join(re.findall('│ (.*?) +│', text)))


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
    'a text for a number': (lambda pace: pace.insert('api_cache', dict(
        usage(*NUMBERS), five_hour_util='much')), 'usage.db: five_hour_util is no number'),
    'a text for a time': (lambda pace: pace.insert('api_cache', dict(
        usage(*NUMBERS), five_hour_resets_at='soon')), 'usage.db: five_hour_resets_at is no time'),
    'config half-written': (config('{"enabled": tr'), 'config.json: not JSON'),
    'config empty': (config(''), 'config.json: not JSON'),
    'config a list': (config('[]'), 'config.json: no object'),
    'config not UTF-8': (config(b'\xff{}'), 'config.json: not JSON'),
    'config a directory': (replace_by_folder('config.json'), 'config.json: not a regular file'),
    'config, a text for a number': (config('{"max_delay": "350"}'), 'max_delay is no fit'),
    'config, a bool for a number': (config('{"base_delay": true}'), 'base_delay is no fit'),
    'config, a number for a bool': (config('{"enabled": 1}'), 'enabled is no fit value'),
    'config, a number for a text': (config('{"hook_model": 5}'), 'hook_model is no fit value'),
    'config, a list for a text': (config('{"tempo_mode": []}'), 'tempo_mode is no fit value'),
    'config, no number': (config('{"base_delay": NaN}'), 'base_delay'),
    'config, no finite number': (config('{"preload_hours": Infinity}'), 'preload_hours'),
    'config, an endless number': (config('{"preload_hours": 1%s}' % ('0' * 400)), 'preload_hours'),
    'config, a negative number': (config('{"max_delay": -1}'), 'max_delay'),
    'config, too large a number': (config('{"safety_buffer_pct": 1e999}'), 'safety_buffer_pct'),
}


@pytest.mark.parametrize('harm', [
    lambda pace: pace.write('session_registry.db', 'no' * 99),
    lambda pace: tear(pace, 'session_registry.db')], ids=['text', 'torn'])
def test_a_bad_registry_is_told_beside_the_state(pace, home, server, harm):
    harm(pace)
    snapshot = beside(pace, home, server)
    assert pace_status(snapshot, NOW).status in ('throttling', 'on_pace')
    assert 'session_registry.db: ' in screen(snapshot)


@pytest.mark.parametrize('damage', DAMAGES)
def test_bad_luck_is_told_and_the_rest_runs_on(pace, home, server, damage):
    harm, reason = DAMAGES[damage]
    harm(pace)
    before = os.listdir(pace.folder)
    check_error(beside(pace, home, server), reason)
    assert os.listdir(pace.folder) == before


def test_locked_by_a_writer(tmp_path, home, server):
    pace = Pace(tmp_path / 'pace', '1.0')
    pace.use(*NUMBERS)
    with pace.writer() as writer:
        writer.ask('do', 'BEGIN EXCLUSIVE')
        check_error(beside(pace, home, server), 'Locked: .*usage.db')


@not_root
@pytest.mark.parametrize('name', ['usage.db', 'config.json'])
def test_an_unreadable_file(pace, home, server, name):
    os.chmod(pace.path(name), 0)
    check_error(beside(pace, home, server), name + ': Permission denied')


@not_root
@pytest.mark.parametrize('mode', [0, 0o444])
def test_a_folder_that_cannot_be_read_is_not_taken_for_absent(pace, home, server, mode):
    os.chmod(pace.folder, mode)
    try:
        check_error(beside(pace, home, server), 'config.json: Permission denied')
    finally:
        os.chmod(pace.folder, 0o700)


def test_a_link_that_leads_nowhere_is_an_error(pace, home, server):
    os.remove(pace.path('usage.db'))
    os.symlink('gone', pace.path('usage.db'))
    check_error(beside(pace, home, server), 'usage.db: No such file')


def test_a_link_to_a_live_database(tmp_path, pace):
    """Its journal stands beside the file that it leads to."""
    linked = Pace(tmp_path / 'linked')
    os.remove(linked.path('usage.db'))
    os.symlink(pace.path('usage.db'), linked.path('usage.db'))
    look = Look(linked.folder)
    assert used(look) == 77.2
    with pace.writer() as writer:
        writer.ask('insert', 'api_cache', [dict(usage(*OTHERS), id=1)])
        assert used(look) == 50.0


def test_a_locked_registry_is_told_as_that(pace):
    pace.journal = 'delete'
    pace.closed('session_registry.db')
    with pace.writer('session_registry.db') as writer:
        writer.ask('do', 'BEGIN EXCLUSIVE')
        problems = Look(pace.folder).value().problems
    assert problems == ('Locked: session_registry.db: by its writer.',)


@pytest.mark.parametrize('damage', ['empty', 'a directory', 'config half-written'])
def test_an_error_ends_with_its_cause_and_what_was_known_stays_known(pace, damage):
    look = Look(pace.folder)
    assert look.status().status == 'throttling'
    os.rename(pace.folder, pace.folder + '.good')
    shutil.copytree(pace.folder + '.good', pace.folder)
    DAMAGES[damage][0](pace)
    for _ in range(3):
        assert look.status().status == 'error'
        assert look.snapshot.pace_maker.value.usage.five_hour_used == 77.2
    assert look.told == 2, 'one error is told once'
    shutil.rmtree(pace.folder)
    os.rename(pace.folder + '.good', pace.folder)
    assert look.status().status == 'throttling'


@pytest.mark.parametrize('key', sorted(PACE_DEFAULTS))
def test_null_in_the_config_is_as_good_as_nothing(pace, key):
    pace.configure(**{key: None, 'of a later release': {'nested': []}})
    assert Look(pace.folder).status().status == 'throttling'


# --- No trace ---

def one_file(pace):
    """Everything in usage.db, the last writer gone."""
    pace.use(*OTHERS)


def live(pace, *orders):
    """A writer that has the database open, and its last row in no -wal that is checkpointed."""
    writer = pace.writer()
    table = 'usage_snapshots' if pace.release == '1.0' else 'api_cache'
    writer.ask('insert', table, [dict(usage(*OTHERS, end=pace.end), id=1, **(
        {'session_id': 's'} if table == 'usage_snapshots' else {}))])
    for order in orders:
        writer.ask('run', order)
    return writer


def died(pace, *removed):
    """A writer that died meanwhile, and of the files it left some were removed."""
    live(pace).die()
    for end in removed:
        os.remove(pace.path('usage.db' + end))


STATES = {
    'rollback': ('1.0', one_file, ''),
    'rollback, open': ('1.0', live, ''),
    'rollback, being written': ('1.0', lambda pace: live(
        pace, 'BEGIN IMMEDIATE; UPDATE usage_snapshots SET five_hour_util = 1'), '-journal'),
    'WAL, closed': ('2.34', one_file, ''),
    'WAL, live': ('2.34', live, '-shm -wal'),
    'WAL, being written': ('2.34', lambda pace: live(
        pace, 'BEGIN IMMEDIATE; UPDATE api_cache SET five_hour_util = 1'), '-shm -wal'),
    'WAL, locked': ('2.34', lambda pace: live(pace, 'BEGIN EXCLUSIVE'), '-shm -wal'),
    'WAL, checkpointed': ('2.34', lambda pace: live(
        pace, 'PRAGMA wal_checkpoint(TRUNCATE)'), '-shm -wal'),
    'WAL, its writer dead': ('2.34', died, '-shm -wal'),
    'WAL, without -shm': ('2.34', lambda pace: died(pace, '-shm'), '-wal'),
}


@pytest.mark.parametrize('state', STATES)
def test_reading_leaves_no_trace(tmp_path, home, server, state):
    release, bring_about, ends = STATES[state]
    pace = Pace(tmp_path / 'pace', release)
    pace.use(*NUMBERS, at=NOW - 60)
    writer = bring_about(pace)
    try:
        before = pace.contents()
        assert sorted(name[8:] for name in before if name.startswith('usage.db')) == (
            [''] + ends.split())
        for _ in range(2):
            snapshot = beside(pace, home, server)
            assert pace_status(snapshot, NOW).reason == ''
            assert snapshot.pace_maker.value.usage.five_hour_used == 50, 'the last committed row'
            assert pace.contents() == before
    finally:
        if writer:
            writer.end()


def test_a_writer_that_died_in_its_transaction(tmp_path):
    """Its journal is left for the next writer; what it had not committed is never shown."""
    pace = Pace(tmp_path / 'pace', '1.0')
    pace.insert('usage_snapshots', *(usage(*NUMBERS, at=NOW - age) for age in range(2000)))
    with pace.writer() as writer:
        for order in ('PRAGMA cache_size = 5', 'BEGIN',
                      'UPDATE usage_snapshots SET five_hour_util = 1'):
            writer.ask('do', order)
        writer.die()
    before = pace.contents()
    assert 'usage.db-journal' in before
    known = Look(pace.folder).once().pace_maker
    assert known.failure or known.value.usage.five_hour_used == 77.2
    assert pace.contents() == before


@not_root
@pytest.mark.parametrize('state', STATES)
def test_reading_in_a_read_only_directory(tmp_path, state):
    release, bring_about, _ = STATES[state]
    pace = Pace(tmp_path / 'pace', release)
    pace.use(*NUMBERS, at=NOW - 60)
    writer = bring_about(pace)
    for name in os.listdir(pace.folder):
        os.chmod(pace.path(name), 0o444)
    os.chmod(pace.folder, 0o555)
    try:
        before = pace.contents()
        assert used(Look(pace.folder)) == 50
        assert pace.contents() == before
    finally:
        os.chmod(pace.folder, 0o755)
        if writer:
            writer.end()


def test_the_whole_program_leaves_no_trace(home, run, server, tmp_path):
    """Not even where temporary files are."""
    server.answer(USAGE, Reply(body=captures.USAGE_2026))
    server.answer(PROFILE, Reply(body=captures.PROFILE))
    pace = Pace(home / '.claude-pace-maker')
    died(pace, '-shm')
    (tmp_path / 'tmp').mkdir()
    before = pace.contents()
    result = run(['--json', '--api-url', server.url], env={'TMPDIR': str(tmp_path / 'tmp')})
    assert json.loads(result.out)['pace_maker']['installed'] is True
    assert pace.contents() == before and not list((tmp_path / 'tmp').iterdir())


HEADER = b'SQLite format 3\0' + b'\x10\0'
WAL, ROLLBACK = HEADER + b'\2\2' + bytes(80), HEADER + b'\1\1' + bytes(80)


@pytest.mark.parametrize('header, has_wal, has_shm, how', [
    (ROLLBACK, False, False, 'mode=ro'), (ROLLBACK, True, True, 'mode=ro'),
    (WAL, False, False, 'mode=ro&immutable=1'), (WAL, False, True, 'mode=ro&immutable=1'),
    (WAL, True, True, 'mode=ro&readonly_shm=1'), (WAL, True, False, 'copy'),
])
def test_way_to_open(header, has_wal, has_shm, how):
    assert way_to_open(header, has_wal, has_shm) == how


@pytest.mark.parametrize('header', [b'', b'S', WAL[:99], b'x' * 100, b'\0' * 100, WAL[1:] + b'0'])
def test_what_is_no_database_is_not_opened(header):
    with pytest.raises(SourceError) as caught:
        way_to_open(header, False, False)
    assert caught.value.failure.code == 'malformed'


@pytest.mark.parametrize('name', ['a b', '100%', 'a?mode=rwc', 'a#b', 'caf\xe9', "it's"])
def test_the_name_of_the_directory_may_be_any(tmp_path, name):
    pace = Pace(tmp_path / name)
    pace.use(*NUMBERS)
    assert used(Look(pace.folder)) == 77.2
    assert os.listdir(str(tmp_path)) == [name]


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
    look = Look(pace.folder)
    look.once()
    for name in names:
        hold(pace, name, lambda: tear(pace, name))
    look.now += HOUR
    look.once()
    assert look.told == 1
    os.utime(pace.path('usage.db'), (NOW, NOW))
    look.once()
    assert look.told == 2 and look.snapshot.pace_maker.failure


def test_what_says_the_same_is_not_told_again(pace):
    look = Look(pace.folder)
    for _ in range(3):
        look.once()
        pace.use(*NUMBERS, at=NOW - 60)
    assert look.told == 1
    pace.use(*OTHERS)
    look.once()
    assert look.told == 2


@pytest.mark.parametrize('change', [
    lambda pace: pace.use(*OTHERS), lambda pace: pace.configure(enabled=False),
    lambda pace: pace.insert('agents', AGENT), lambda pace: pace.log(NOW - 1, 'ERROR'),
])
def test_a_change_of_any_file_is_seen(pace, change):
    look = Look(pace.folder)
    before = look.value()
    change(pace)
    assert look.value() != before


@pytest.mark.parametrize('name, table', [('usage.db', 'api_cache'),
                                         ('session_registry.db', 'agents')])
def test_a_change_in_a_live_wal_is_seen(pace, name, table):
    with pace.writer(name) as writer:
        look = Look(pace.folder)
        before = look.value()
        writer.ask('insert', table, [AGENT if table == 'agents' else dict(
            usage(*OTHERS), id=1)])
        assert look.value() != before


def test_a_change_in_the_tick_of_the_last_look_is_seen(pace):
    """The clock of a file system ticks every few milliseconds, and a look may fall between."""
    look = Look(pace.folder, os.stat(pace.path('usage.db')).st_mtime)
    assert used(look) == 77.2
    hold(pace, 'usage.db', lambda: pace.use(*OTHERS))
    look.now += 2
    assert used(look) == 50


# --- Logs ---

def log_errors(look):
    """The number of a day's errors on the screen."""
    return int(re.search(r'Log errors \(24h\) +(\d+)', screen(look.once(), look.now)).group(1))


def test_errors_of_a_day(pace):
    look = Look(pace.folder)
    assert 'Log errors' not in screen(look.once())
    for age, level in ((DAY + 1, 'ERROR'), (DAY - 1, 'ERROR'), (HOUR, 'WARNING'), (HOUR, 'INFO'),
                       (HOUR, 'ERROR'), (60, 'ERROR'), (2 * DAY, 'ERROR')):
        pace.log(NOW - age, level, 'says [ERROR], and so what')
    assert log_errors(look) == 3
    look.now += 2
    assert log_errors(look) == 2, 'the clock alone lets them go by'
    look.now = NOW + 5 * HOUR           # tomorrow, in another file
    pace.log(look.now, 'ERROR')
    assert log_errors(look) == 3


def test_a_log_is_read_on_from_where_it_ended(pace):
    look = Look(pace.folder)
    for _ in range(3):
        pace.log(NOW - 60, 'ERROR')
    assert log_errors(look) == 3
    path = pace.path('pace-maker-2026-11-25.log')
    with open(path, 'r+b') as file:
        file.write(b' ' * (os.path.getsize(path) - 1))      # what was read is not read again
    pace.log(NOW - 30, 'ERROR')
    assert log_errors(look) == 4
    with open(path, 'a') as file:
        file.write('[2026-11-25 20:19:00] [ERR')            # a line is counted when it is whole
    assert log_errors(look) == 4
    with open(path, 'a') as file:
        file.write('OR] words\n')
    assert log_errors(look) == 5
    os.truncate(path, 0)
    pace.log(NOW - 20, 'ERROR')
    assert log_errors(look) == 1


@pytest.mark.parametrize('line', [
    b'[2026-13-45 99:99:99] [ERROR] an impossible time', b'[2026-11-25 20:00:00] [ERROR',
    b'\xff\xfe[2026-11-25 20:00:00] [ERROR] x', b'\0' * 5000, b'[ERROR] [ERROR]',
    b'  [2026-11-25 20:00:00] [ERROR] the second line of a message',
])
def test_lines_that_are_no_errors(pace, line):
    pace.log(NOW - 60, 'ERROR')
    pace.write('pace-maker-2026-11-24.log', line + b'\n')
    assert log_errors(Look(pace.folder)) == 1


def test_a_log_of_many_errors(pace):
    lines = b''.join(b'[2026-11-25 %02d:%02d:%02d] [ERROR] x\n' % (hour, minute, second)
                     for hour in range(9) for minute in range(60) for second in range(60))
    pace.write('pace-maker-2026-11-25.log', lines)
    assert log_errors(Look(pace.folder)) == 9 * 3600


def test_the_log_of_a_short_day_is_yesterdays(zone):
    """In the night after the clocks went forward, a day ago is the day before yesterday."""
    now = time.mktime((2027, 3, 29, 0, 30, 0, 0, 0, -1))
    assert [os.path.basename(path)[11:21] for path in pace_logs('', now)] == [
        '2027-03-29', '2027-03-28', '2027-03-27']


def test_a_log_that_cannot_be_read_is_no_error(pace):
    os.mkdir(pace.path('pace-maker-2026-11-25.log'))
    assert Look(pace.folder).status().reason == ''


# --- Secrets ---

def test_secrets_of_the_config_get_nowhere(home, run, server):
    server.answer(USAGE, Reply(body=captures.USAGE_2026))
    server.answer(PROFILE, Reply(body=captures.PROFILE))
    pace = Pace(home / '.claude-pace-maker', config=dict(SECRETS, langfuse_enabled=True))
    pace.use(*NUMBERS)
    pace.insert('agents', AGENT)
    pace.log(NOW, 'ERROR', 'SECRET')
    snapshot = Look(pace.folder).once()
    assert snapshot.pace_maker.value.config == {'langfuse_enabled': True}
    assert 'SECRET' not in repr(snapshot)
    for panel in range(4):
        assert 'SECRET' not in screen(snapshot, panel=panel)
    for option in ('--json', '--once'):
        result = run([option, '--api-url', server.url])
        assert result.code == 0 and 'SECRET' not in result.out + result.err
        assert 'pace_maker' in result.out or 'Pace Maker' in result.out


# --- Its replies serve us too ---

class World:
    """A CodePoller beside Pace Maker's directory, by a clock that only the tests move."""

    def __init__(self, pace, home, server):
        self.pace, self.server, self.now = pace, server, NOW
        self.inbox, self.snapshot, self.times = queue.Queue(), Snapshot(), []
        self.home = home / '.claude'
        self.log_in('a')
        self.answer(*NUMBERS)
        server.answer(PROFILE, Reply(body=captures.PROFILE))
        self.poller = CodePoller(self.inbox, lambda: self.now, Api(server.url),
                                 {'CLAUDE_CONFIG_DIR': str(self.home)},
                                 Store(str(home / 'store')), pace_folder=pace.folder)

    def log_in(self, uuid):
        """As another account, by a token of its own, if `uuid` is another."""
        login = dict(captures.CREDENTIALS['claudeAiOauth'], accessToken='token-of-' + uuid)
        (self.home / '.credentials.json').write_text(json.dumps({'claudeAiOauth': login}))
        account = dict(captures.CLAUDE_JSON['oauthAccount'], accountUuid=uuid)
        (self.home / '.claude.json').write_text(json.dumps({'oauthAccount': account}))

    def answer(self, *numbers):
        """What the service answers from now on, in the form of usage()."""
        def reply(request):
            self.times.append(self.now - NOW)
            return Reply(body=document(*numbers))
        self.server.answer(USAGE, reply)

    def lend(self, *numbers, age=0, **more):
        """Pace Maker's reply is so old; it stores it whole, beside its numbers."""
        self.pace.insert('api_cache', dict(usage(*numbers, at=self.now - age), **dict(
            {'raw_response': json.dumps(document(*numbers))}, **more)))

    def block(self, seconds):
        """Pace Maker was told to wait so long."""
        self.pace.insert('backoff_state', {
            'consecutive_429s': 3, 'backoff_until': seconds and self.now + seconds})

    def once(self, asked=False):
        if asked:
            self.poller.ask_now(self.now)
        wait = self.poller.once()
        self.snapshot = drain(self.inbox, self.snapshot)
        return wait

    def pass_time(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + max(0.1, self.once()))

    @property
    def usage(self):
        """(percent of 5 hours, whose reply, seconds since NOW)."""
        known = self.snapshot.usage
        return known.value and (known.value.limits[0].used, known.value.via, known.at - NOW)


def document(*numbers):
    row = usage(*numbers)
    return {key: {'utilization': row[key + '_util'], 'resets_at': row[key + '_resets_at']}
            for key in ('five_hour', 'seven_day')}


@pytest.fixture
def world(tmp_path, home, server):
    return World(Pace(tmp_path / 'pace'), home, server)


@pytest.mark.parametrize('left', [-60, None])
def test_its_block_holds_also_when_a_window_has_begun_anew(world, left):
    """Which makes its reply differ from ours, but of no other account."""
    world.answer(5.0, 5 * HOUR - MINUTE, 34.0, 4 * DAY)
    world.lend(77.0, left, 34.0, 4 * DAY, age=400)
    world.once()
    world.now += 10
    world.block(1200)
    world.pass_time(600)
    assert len(world.times) == 1
    world.block(None)
    world.pass_time(40)
    assert len(world.times) == 2


def test_the_block_of_another_account_does_not_hold(world):
    world.answer(5.0, 4 * HOUR, 34.0, 4 * DAY)
    world.lend(77.0, 3 * HOUR, 34.0, 4 * DAY, age=400)
    world.once()
    world.now += 10
    world.block(1200)
    world.pass_time(100)
    assert len(world.times) > 1


@pytest.mark.parametrize('whole', ['', 'x', 'null', '[]', '{"five_hour": 5}', None])
def test_a_reply_that_is_not_whole_serves_by_its_columns(world, whole):
    world.lend(*OTHERS, age=10, raw_response=whole)
    world.once()
    assert world.times == [] and world.usage == (50.0, 'Pace Maker', -10)


def test_its_reply_counts_as_a_poll(world):
    world.lend(*OTHERS, age=10)
    world.once()
    assert world.times == [] and world.usage == (50.0, 'Pace Maker', -10)
    assert re.search('Updated: 20:19:08.* via Pace Maker', screen(world.snapshot))
    world.pass_time(16.9)
    assert world.times == []
    world.pass_time(8)
    assert world.times == [pytest.approx(20, abs=3)] and world.usage == (77.2, '', world.times[0])
    assert 'via' not in screen(world.snapshot)


def test_its_replies_use_up_the_budget(world):
    for _ in range(5):
        world.lend(*NUMBERS)
        world.pass_time(20)
    world.pass_time(220)
    assert world.times == [300], 'five in the five minutes before'


def test_while_it_asks_we_do_not(world):
    for _ in range(30):
        world.lend(*NUMBERS)
        world.pass_time(20)
    assert world.times == [] and world.usage == (77.2, 'Pace Maker', 580)


@pytest.mark.parametrize('age, via', [(1, ''), (-1, 'Pace Maker'), (-3, ''), (3600, '')])
def test_the_younger_reply_is_shown(world, age, via):
    world.once()
    world.now += 2
    world.lend(*OTHERS, age=2 + age)
    world.once()
    assert world.usage[1] == via and world.times == [0]


@pytest.mark.parametrize('left, seven_day_left, is_ours', [
    (0, 0, True), (60, -60, True), (61, 0, False), (-61, 0, False), (0, 61, False),
    (None, 0, False), (0, None, False)])
def test_once_we_have_a_reply_it_serves_only_while_its_resets_agree(world, left, seven_day_left,
                                                                    is_ours):
    world.once()
    world.now += 10
    world.lend(50.0, left if left is None else 1.9 * HOUR + left, 34.0,
               seven_day_left if seven_day_left is None else 4 * DAY + seven_day_left)
    world.once()
    assert world.usage == ((50.0, 'Pace Maker', 10) if is_ours else (77.2, '', 0))
    world.pass_time(50)
    assert world.times == [0, pytest.approx(40 if is_ours else 30, abs=3)]


@pytest.mark.parametrize('raw, labels', [
    (None, ['5-Hour', '7-Day']),
    (json.dumps(captures.USAGE_2026), ['5-Hour', '7-Day', '7-Day Fable'])])
def test_the_whole_reply_is_used_where_there_is_one(world, raw, labels):
    world.lend(*OTHERS, raw_response=raw)
    world.once()
    assert [limit.label for limit in world.snapshot.usage.value.limits] == labels
    assert world.snapshot.usage.value.via == 'Pace Maker'


def test_a_release_without_its_reply_lends_none(tmp_path, home, server):
    pace = Pace(tmp_path / 'pace', '1.0')
    pace.use(*OTHERS)
    world = World(pace, home, server)
    world.once()
    assert world.times == [0] and world.usage == (77.2, '', 0)


def test_while_it_is_blocked_nobody_asks(world):
    world.block(600)
    world.once()
    world.pass_time(300)
    world.once(asked=True)
    world.pass_time(299.9)
    assert world.server.requests == []
    usage = world.snapshot.usage
    assert usage.failure.code == 'rate_limited' and usage.next_at == usage.free_at == NOW + 600
    assert 'Rate limited. Next try 20:29.' in screen(world.snapshot)
    world.pass_time(4)
    assert world.times == [600] and world.snapshot.usage.failure is None


@pytest.mark.parametrize('seconds', [None, -1])
def test_a_block_that_is_over_is_none(world, seconds):
    world.block(seconds)
    world.once()
    assert world.times == [0]


def test_its_block_lasts_an_hour_at_most(world):
    world.block(30 * DAY)
    world.once()
    world.pass_time(HOUR + 5)
    assert world.times == [HOUR]


@pytest.mark.parametrize('raw', [None, 'half {', '[]', '{"five_hour": 5}'])
def test_a_block_holds_whatever_its_reply_looks_like(world, raw):
    world.lend(*OTHERS, raw_response=raw)
    world.block(600)
    world.pass_time(500)
    assert world.server.requests == []


def test_a_block_keeps_what_is_known(world):
    world.lend(*OTHERS)
    world.block(600)
    world.pass_time(60)
    assert world.server.requests == [] and world.usage == (50.0, 'Pace Maker', 0)
    assert world.snapshot.usage.failure.code == 'rate_limited'


def test_what_was_locked_is_read_later(tmp_path, home, server):
    pace = Pace(tmp_path / 'pace')
    pace.journal = 'delete'
    pace.closed('usage.db')
    world = World(pace, home, server)
    world.block(600)
    with pace.writer() as writer:
        writer.ask('do', 'BEGIN EXCLUSIVE')
        world.once()
        asked = len(world.times)
        writer.ask('do', 'ROLLBACK')
    world.pass_time(500)
    assert len(world.times) == asked, 'although the file did not change'


def test_another_accounts_old_reply_is_not_borrowed(world):
    world.once()
    world.lend(*OTHERS, age=-5)
    world.now += 20
    world.log_in('b')
    world.once()
    assert world.times == [0, 20] and world.usage == (77.2, '', 20)


# --- Beside a writer ---

@pytest.mark.parametrize('journal', ['wal', 'delete'])
@pytest.mark.parametrize('reopening', [False, True])
def test_a_writer_in_a_hurry_loses_nothing(tmp_path, journal, reopening):
    pace = Pace(tmp_path / 'pace')
    pace.journal = journal
    pace.closed('usage.db')
    look, seen, failures = Look(pace.folder), [0], 0
    with Writer() as writer:
        writer.tell('hurry', pace.path('usage.db'), journal, reopening, 2)
        while not writer.has_answered():
            known = look.once().pace_maker
            failures += bool(known.failure)
            seen.append(known.value.usage.five_hour_used if known.value.usage else 0)
        count, complaints = writer.answer()
        writer.ask('open', pace.path('usage.db'), journal)
        assert writer.ask('value', 'SELECT count(*) FROM usage_snapshots') == count > 20
    assert complaints == []
    assert seen == sorted(seen) and seen[-1] <= count, 'never an older state, never another'
    assert len(set(seen)) > 10 and failures < len(seen) / 2
    assert used(Look(pace.folder)) == count


def test_two_readers_of_one_process_keep_their_locks(tmp_path):
    """POSIX takes all locks of a process from a file when it closes any descriptor of it."""
    pace = Pace(tmp_path / 'pace', '1.0')
    path = pace.path('usage.db')
    with pace.writer() as writer:
        writer.ask('do', 'PRAGMA busy_timeout = 0')

        def read(connection):
            connection.execute('BEGIN')
            connection.execute('SELECT count(*) FROM usage_snapshots').fetchall()
            other = threading.Thread(target=read_only, args=(path, lambda connection: None))
            other.start()
            other.join(1)                       # or it waits for us
            writer.tell('do', 'BEGIN EXCLUSIVE')
            with pytest.raises(AssertionError, match='database is locked'):
                writer.answer()
            return other
        read_only(path, read).join()
