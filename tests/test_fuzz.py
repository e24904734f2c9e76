"""Whatever comes from outside: nothing but SourceError, frames exact, no control character, no
secret, and no case that takes long.

A few examples of each law, always the same ones; `pytest --fuzz 2500` for so many at random.
"""
import contextlib
import copy
import io
import json
import re
import sqlite3
import sys
import time
import unicodedata
from decimal import Decimal

import pytest

import captures
import claude_usage
import pacemaker
import pacesamples
import samples
import test_console_view
import test_pace_view
from admin import KEY, Organization
from claude_usage import (KINDS, NAMES, PACE_FILES, PLANNED, ROLES, SECRET, Account, Admin,
                          Credentials, Failure, History, Known, Logins, Moment, Setup, Snapshot,
                          Ui, as_findings, as_json, as_metrics, cells, check, check_limits, clean,
                          compose, find_logins, judged_usage, main, month_parts, outlook_from,
                          pace_past, parse_arguments, parse_json, parse_part, parse_profile,
                          parse_usage, read_cached, read_day, read_pace_maker, read_pace_reply,
                          reckon_console, show_config, summaries, tried, width_of, with_budgets)
from samples import LOGIN, NO_KEY, NOW, PLACE

hypothesis = pytest.importorskip('hypothesis')
st = hypothesis.strategies

pytestmark = [pytest.mark.fuzz, pytest.mark.usefixtures('zone')]

FEW = 25                        # examples of a law in the quick tests
SECONDS = 0.1                   # of the processor, for one case
UNSEEN = {'Cc', 'Cf', 'Cs', 'Co', 'Cn', 'Zl', 'Zp'}
CACHES = [each for each in vars(claude_usage).values() if hasattr(each, 'cache_clear')]
clock = getattr(time, 'thread_time', time.process_time)     # Python 3.6 has only the latter


# --- what comes ---

WORDS = st.one_of(
    st.text(st.characters(), max_size=20),
    st.sampled_from(['', captures.TOKEN, 'x' + KEY, samples.HOSTILE, 'https://u:p@h/', 'root',
                     'USD', '2026-11-22T20:00:00Z', '9999-12-31T23:59:59-23:59', '1e400', '-0']),
    st.builds(str.__mul__, st.text(st.characters(), max_size=9), st.integers(2, 999)))
NUMBERS = st.one_of(
    st.integers(-3, 120), st.floats(-1, 110), st.floats(), st.integers(),
    st.integers(int(NOW) - 10 ** 6, int(NOW) + 10 ** 6),
    st.sampled_from([10 ** 15 - 1, 10 ** 400, 5e-324, 1e14, 253402300799, NOW * 1000]))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS)
ANYTHING = st.recursive(SCALARS, lambda inner: st.one_of(
    st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)), max_leaves=8)
SIZES = st.tuples(st.integers(0, 200), st.integers(0, 80))
UIS = st.fixed_dictionaries(dict(
    dict.fromkeys(('icons', 'ascii', 'hint', 'help'), st.booleans()),
    mode=st.sampled_from(['code', 'console']), panel=st.integers(0, 6),
    scroll=st.integers(0, 99))).map(lambda chosen: Ui(place=PLACE, **chosen))


def paths_in(document, path=()):
    """The path of each value in a document, and one more in each object."""
    yield path
    if isinstance(document, dict):
        yield path + ('more',)
        document = list(document.items())
    elif isinstance(document, list):
        document = list(enumerate(document))
    else:
        document = ()
    for key, value in document:
        yield from paths_in(value, path + (key,))


def replaced(document, path, value):
    """A document with another value at a path."""
    if not path:
        return value
    document = copy.copy(document)
    with contextlib.suppress(LookupError, TypeError):       # what was there has been replaced
        old = document.get(path[0]) if isinstance(document, dict) else document[path[0]]
        document[path[0]] = replaced(old, path[1:], value)
    return document


def like(*documents):
    """Strategy of the text of documents with some values replaced, or of anything else."""
    def changed(changes):
        index, *changes = changes
        document = documents[index]
        for path, value in changes:
            document = replaced(document, path, value)
        return json.dumps(document).encode()
    similar = st.one_of([
        st.lists(st.tuples(st.sampled_from(list(paths_in(document))), ANYTHING), max_size=5).map(
            lambda changes, index=index: changed([index] + changes))
        for index, document in enumerate(documents)])
    return st.one_of(similar, similar, similar, ANYTHING.map(lambda any: json.dumps(any).encode()),
                     st.binary(max_size=40))


# --- what has to hold ---

@pytest.fixture
def fuzz(request):
    """A function that calls a law with values of strategies, so many times as --fuzz says.

    It is called again where it took long, for the machine has other work too.
    """
    count = request.config.getoption('--fuzz')

    def run(law, *strategies):
        def timed(values):
            took = []
            while len(took) < 4 and min(took, default=1) > SECONDS:
                for cached in CACHES:
                    cached.cache_clear()
                start = clock()
                law(*values)
                took.append(clock() - start)
            assert min(took) <= SECONDS, took
        settings = hypothesis.settings(
            max_examples=count or FEW, derandomize=not count, database=None, deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck))
        settings(hypothesis.given(st.tuples(*strategies))(timed))()
    return run


def lawful(text):
    """See that a text is fit for a terminal, and tells no secret."""
    assert not re.search(r'(?<!\[)SECRET', text), text     # "[secret]", a currency too, is fine
    assert not UNSEEN.intersection(map(unicodedata.category, set(text))), text


def lawful_frame(snapshot, ui, size, now=NOW):
    """See that a Snapshot is shown in exactly so many lines of so many cells."""
    width, height = size
    frame = compose(snapshot, ui, size, Moment(now))
    assert len(frame.lines) == height
    assert set(map(width_of, frame.lines)) <= {width}
    assert {span.role for line in frame.lines for span in line} <= set(ROLES)
    text = ''.join(span.text for line in frame.lines for span in line)
    lawful(text)
    assert not ui.ascii or max(text, default='') < '\x7f'


def refuse(word):
    raise AssertionError('%s is no JSON' % word)


def lawful_outputs(snapshot, ui, size):
    """See that all that shows a Snapshot keeps the laws."""
    lawful_frame(snapshot, ui, size)
    places = ui.places or (ui.place,)
    document = json.loads(as_json(snapshot, places, Moment(NOW), ui.mode), parse_constant=refuse)
    lawful(json.dumps(document, ensure_ascii=False))
    for line in as_metrics(snapshot, places, Moment(NOW), ui.mode).splitlines():
        lawful(line)
        assert re.match(r'# |claude_usage_\w+(\{.*\})? [-+.\de]+$', line), line
    check_limits(judged_usage(snapshot, PLACE), 90, Moment(NOW))


def known(reading):
    """What is Known after (value, failure)."""
    value, failure = reading
    return Known(value, value and NOW, failure, PLANNED, NOW + 30, NOW)


CODE = Snapshot({(PLACE, 'credentials'): Known(Credentials(LOGIN, NO_KEY, 'code'), 0.0)})
ERRORS = (captures.ERROR_401, captures.ERROR_429)


def parsed(body, status, fields, parse):
    """What the network and a parser make of a reply."""
    check(status, fields, body, NOW)
    document = parse_json(body)
    value = parse(document, NOW)
    parse(json.loads(SECRET.sub('[secret]', json.dumps(document))), NOW)
    return value


def test_replies_of_claude_code(fuzz):
    replies = st.tuples(st.one_of(st.just(200), st.integers(100, 599)), st.dictionaries(
        st.sampled_from(['Retry-After', 'Location']), WORDS))

    def law(usage, profile, reply, ui, size):
        snapshot = Snapshot(CODE)
        snapshot[PLACE, 'usage'] = known(tried(parsed, usage, *reply, parse_usage))
        snapshot[PLACE, 'profile'] = known(tried(parsed, profile, 200, {}, parse_profile))
        lawful_outputs(snapshot, ui, size)
    fuzz(law, like(captures.USAGE_2026, captures.USAGE_SPEND, captures.USAGE_ENTERPRISE,
                   samples_of_credits(), *ERRORS),
         like(captures.PROFILE, captures.PROFILE_MAX), replies, UIS, SIZES)


def samples_of_credits():
    """A reply with credits and amounts of dollars."""
    window = dict(captures.USAGE_2026['five_hour'], used_dollars=3.5, limit_dollars=20)
    return {'cinder_cove': dict(window, label='Gift'), 'amber_ladder': window,
            'promo_credits': [dict(window, label='Spring', program_id='spring')]}


def test_replies_of_the_admin_api(fuzz, tmp_path):
    organization = Organization(days=2)
    organization.charge('2026-11-02', 9, 'EUR')
    pages = {
        'me': {'name': 'Acme'}, 'users': {'data': [{'email': 'a@b.c'}], 'has_more': True,
                                          'last_id': 'u1'},
        'workspaces': {'data': [{'id': 'wrkspc_01', 'name': 'One'}]},
        'bill': {'data': [organization.bucket('2026-11-01'), organization.bucket('2026-11-02')]},
        'day': {'data': organization.rows['2026-11-02'], 'has_more': False, 'next_page': None}}
    parts = list(NAMES) + month_parts(NOW)
    bodies = st.fixed_dictionaries({kind: like(pages[kind], captures.ERROR_401)
                                    for kind in KINDS})

    def law(bodies, you, ui, size):
        bodies = {part: bodies[part.split(' ')[0]] for part in parts}
        known_parts, problems, admin = {}, {}, Admin('http://127.0.0.1', KEY)
        for part in list(NAMES) + month_parts(NOW)[:3]:
            admin.api.get = lambda path, headers, secret, read, body=bodies[part]: parse_json(
                body, read)
            admin.read(part, NOW)
        while not admin.results.empty():
            part, body, failure = admin.results.get()
            if failure:
                problems[part] = failure
            elif body is not None:
                known_parts[part] = parse_part(json.loads(body), NOW)
        emails = known_parts.get('users') or ()
        console = reckon_console(known_parts, problems, emails[0] if emails else you, NOW)
        console = with_budgets(console, (50.0, 900.0), NOW)
        failure = problems.get('me')
        snapshot = Snapshot({('', 'console'): known((console, failure))})
        lawful_outputs(snapshot, ui._replace(mode='console'), size)
    fuzz(law, bodies, WORDS.map(clean), UIS, SIZES)


def test_files_of_claude_code(fuzz, tmp_path):
    env = {'CLAUDE_CONFIG_DIR': str(tmp_path)}
    cached = dict(captures.CLAUDE_JSON, cachedUsageUtilization={
        'accountUuid': captures.PROFILE['account']['uuid'], 'fetchedAtMs': NOW * 1000 - 5000,
        'utilization': captures.USAGE_2026})
    console = dict(captures.CREDENTIALS, mode='console', anthropicConsole={'adminApiKey': KEY})

    def law(credentials, identity, ui, size):
        (tmp_path / '.credentials.json').write_bytes(credentials)
        (tmp_path / '.claude.json').write_bytes(identity)
        logins = Logins(env)
        snapshot = Snapshot({
            (PLACE, 'credentials'): Known(logins.look(NOW), 0.0),
            (PLACE, 'identity'): Known(logins.identity(), 0.0)})
        setup = Setup(None, env, None, None, None, logins, PLACE)
        reports, _ = read_cached(setup, (), NOW)
        snapshot[PLACE, 'usage'] = known((reports[0], None) if reports else (None, NO_KEY))
        lawful(repr(snapshot[PLACE, 'credentials']))
        lawful_outputs(snapshot, ui, size)
        for line in as_findings(find_logins(setup, snapshot, Moment(NOW))):
            lawful(''.join(span.text for span in line))
    documents = [captures.CREDENTIALS, captures.LOGGED_OUT, console]
    fuzz(law, like(*documents), st.one_of(
        like(cached), like(cached).map(lambda body: b'{\n  "' + body[2:].replace(
            b', "cached', b',\n  "cached'))), UIS, SIZES)


@pytest.fixture
def output(monkeypatch):
    """What the program prints: a stream of stdout and one of stderr."""
    def begin():
        streams = [io.TextIOWrapper(io.BytesIO(), encoding='utf-8') for _ in range(2)]
        monkeypatch.setattr(sys, 'stdout', streams[0])
        monkeypatch.setattr(sys, 'stderr', streams[1])
        return [stream.buffer for stream in streams]
    return begin


def test_our_config(fuzz, output, tmp_path, monkeypatch):
    monkeypatch.setenv('CLAUDE_USAGE_DIR', str(tmp_path))
    path = tmp_path / 'config.json'
    path.touch(0o600)

    def law(config, words):
        path.write_bytes(config)
        out, err = output()
        try:
            show_config(parse_arguments(words))
        except SystemExit as end:
            assert end.code == 2 and err.getvalue()
        for line in (out.getvalue() + err.getvalue()).decode().splitlines():
            lawful(line)
    fuzz(law, like(dict(interval=60, mode='code', config_dir=['/a'], budget=5, user='a@b.c',
                        api_url='https://h', alert=['90'], on_alert='true', check=90, json=True,
                        color='never', ascii=True, history=3)),
         st.lists(st.sampled_from(['--json', '--once', '--mode=code', '--no-check']), max_size=2))


def test_the_status_line(fuzz, output, tmp_path, monkeypatch):
    for name in ('HOME', 'CLAUDE_CONFIG_DIR', 'CLAUDE_USAGE_DIR'):
        monkeypatch.setenv(name, str(tmp_path))
    window = {'used_percentage': 41.5, 'resets_at': time.time() + 3600}
    told = {'session_id': 's', 'cost': {'total_api_duration_ms': 5},
            'model': {'display_name': 'Opus'}, 'rate_limits': {
                'five_hour': window, 'seven_day': window,
                'spend_limit': dict(window, used_usd=3, limit_usd=9)}}

    def law(document, settings, columns, color):
        (tmp_path / 'stdin').write_bytes(document)
        (tmp_path / 'settings.json').write_bytes(settings)
        monkeypatch.setenv('COLUMNS', str(columns))
        out, err = output()
        with (tmp_path / 'stdin').open(encoding='utf-8') as stdin:
            monkeypatch.setattr(sys, 'stdin', stdin)
            assert main(['--statusline', '--color', color]) == 0
        assert not err.getvalue()
        line, end, rest = out.getvalue().decode().partition('\n')
        line = re.sub('\x1b\\[[0-9;]*m', '', line)
        lawful(line)
        assert (end, rest) == ('\n', '') and cells(line) <= max(1, columns - 4)
    fuzz(law, like(told), like({'statusLine': {'padding': 2}}), st.integers(1, 200),
         st.sampled_from(['auto', 'always', 'never']))


# --- Pace Maker ---

def bare(schema):
    """table -> its columns; in tables like these they take values of any type."""
    with contextlib.closing(sqlite3.connect(':memory:')) as db:
        db.executescript(schema)
        tables = [name for name, in db.execute("SELECT name FROM sqlite_master WHERE type = "
                                               "'table' AND name NOT LIKE 'sqlite%'")]
        return {table: [row[1] for row in db.execute('PRAGMA table_info(%s)' % table)]
                for table in tables}


TABLES = {'usage.db': bare(pacemaker.schema('2.34')),
          'session_registry.db': bare(pacemaker.REGISTRY)}
TIMES = st.one_of(st.floats(NOW - 7200, NOW + 60), st.integers(int(NOW) - 7200, int(NOW) + 60))
VALUES = st.one_of(
    TIMES, TIMES, st.floats(0, 110), st.none(), st.integers(-2 ** 63, 2 ** 63 - 1), st.floats(),
    WORDS, st.binary(max_size=20), TIMES.map(pacemaker.iso),
    st.sampled_from(['fallback', 'root', '20x', 'green', json.dumps(captures.USAGE_2026)]))


def rows_of(tables):
    """Strategy of [(table, row)]."""
    return st.lists(st.one_of([
        st.tuples(st.just(table), st.tuples(*[VALUES for _ in columns]))
        for table, columns in sorted(tables.items())]), max_size=8)


def fill(path, tables, rows):
    """Make a database of these rows; a text may be of any bytes."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with contextlib.closing(sqlite3.connect(str(path), isolation_level=None)) as db:
        db.execute('PRAGMA journal_mode = OFF')
        db.execute('PRAGMA synchronous = OFF')
        for table, columns in tables.items():
            db.execute('CREATE TABLE %s (%s)' % (table, ', '.join(columns)))
        for table, row in rows:
            values = [value.encode('utf-8', 'surrogatepass') if isinstance(value, str) else value
                      for value in row]
            marks = ['CAST(? AS TEXT)' if isinstance(value, str) else '?' for value in row]
            db.execute('INSERT INTO %s VALUES (%s)' % (table, ', '.join(marks)), values)


def test_files_of_pace_maker(fuzz, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    folder = tmp_path / '.claude-pace-maker'
    folder.mkdir()
    config = dict(claude_usage.PACE_DEFAULTS, **pacemaker.SECRETS)

    def law(config, state, usage, registry, ui, size):
        for name, body in zip(PACE_FILES, (config, state)):
            (folder / name).write_bytes(body)
        for name, rows in zip(PACE_FILES[2:], (usage, registry)):
            fill(folder / name, TABLES[name], rows)
        snapshot = samples.snapshot(samples.TWO)
        snapshot['', 'pace_maker'] = known(tried(read_pace_maker, NOW))
        reports, blocked = read_pace_reply({}, (), NOW)
        histories = {}
        for name, window, past in pace_past(NOW):
            past_windows = summaries(past, window, NOW)
            resets_at = past[-1][2]
            histories[name] = History(
                window=window, samples=past, past=past_windows, full_left=None,
                outlook=outlook_from(past, past_windows, resets_at, window, NOW))
        snapshot[PLACE, 'outlook'] = Known(histories, NOW, None, PLANNED)
        if reports:
            snapshot[PLACE, 'usage'] = known((reports[0], None))
        assert blocked < NOW + 3601
        lawful_outputs(snapshot, ui, size)
    fuzz(law, like(config), like({'tempo_session_enabled': True}), rows_of(TABLES['usage.db']),
         rows_of(TABLES['session_registry.db']), UIS, SIZES)


# --- names and sizes ---

def named(document, name):
    """A document with a name for each of its texts."""
    if isinstance(document, dict):
        return {key: named(value, name) for key, value in document.items()}
    if isinstance(document, list):
        return [named(value, name) for value in document]
    is_time = isinstance(document, str) and document[:2] == '20'
    return name if isinstance(document, str) and not is_time else document


def test_any_name_at_any_size(fuzz):
    names = st.one_of(WORDS, st.text(st.characters(), min_size=1, max_size=60))
    rows = json.loads(json.dumps(Organization(days=1).rows['2026-11-01']), parse_float=Decimal)

    def law(name, ui, size):
        snapshot = Snapshot(CODE)
        usage = dict(named(captures.USAGE_SPEND, name), **named(samples_of_credits(), name))
        usage[name] = samples_of_credits()['amber_ladder']
        shown = clean(name)
        snapshot[PLACE, 'usage'] = known(tried(parse_usage, usage, NOW))
        snapshot[PLACE, 'profile'] = known(tried(parse_profile, named(captures.PROFILE, name)))
        snapshot[PLACE, 'identity'] = Known(Account('u', *[shown] * 3), 0.0)
        snapshot['', 'alerts'] = Known([(NOW - 9, shown)])
        snapshot['', 'console'] = known((reckon_console(
            {'me': shown, 'day 2026-11-01': read_day([{'data': named(rows, name)}])},
            {'bill 2026-11': Failure('server_error', shown)}, shown, NOW), None))
        snapshot['', 'pace_maker'] = Known(test_pace_view.HOSTILE._replace(
            version=shown, agents=[pacesamples.agent(shown, shown)]), 0.0)
        lawful_outputs(snapshot, ui, size)
    fuzz(law, names, UIS, SIZES)


def test_any_size_at_any_time(fuzz):
    situations = [
        (known, mode, now)
        for found, mode, now in ((samples.SITUATIONS, 'code', NOW),
                                 (test_console_view.SITUATIONS, 'console', test_console_view.NOW),
                                 (test_pace_view.STATES, 'code', pacemaker.NOW),
                                 (test_pace_view.STATES, 'console', pacemaker.NOW))
        for _, known in sorted(found.items())]

    def law(situation, ui, size, seconds, several):
        known, mode, now = situation
        if several:
            ui = ui._replace(places=(PLACE, '/b', '/c')[:several])
        lawful_frame(known, ui._replace(mode=mode), size, now + seconds)
    fuzz(law, st.sampled_from(situations), UIS, SIZES, st.one_of(
        st.floats(-1e5, 1e6), st.floats(-1e9, 1e10)), st.sampled_from([0, 0, 2, 3]))
