"""Claude Pace Maker's directory as its releases left it, and the process that writes there.

    pace = Pace(tmp_path / '.claude-pace-maker', '2.34')    # empty tables, all files closed
    pace.insert('api_cache', api_cache(78.0, HOUR, 34.0, DAY))
    with pace.writer() as writer:                           # has usage.db open: a live WAL
        writer.ask('insert', 'pacing_decisions', [...])

SQLite shares what it knows of a file inside one process, so all writing is done in another.
"""
import functools
import json
import os
import select
import subprocess
import sys
import time

NOW = 1795634358.0      # Wednesday 2026-11-25 19:19:18 UTC, 20:19:18 by the fixture `zone`
MINUTE, HOUR, DAY = 60, 3600, 86400
WRITER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'pacewriter.py')

USAGE_COLUMNS = ('five_hour_util REAL NOT NULL, five_hour_resets_at TEXT, '
                 'seven_day_util REAL NOT NULL, seven_day_resets_at TEXT')
TABLES = {
    'usage_snapshots': 'id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp INTEGER NOT NULL, ' +
                       USAGE_COLUMNS + ", session_id TEXT NOT NULL, created_at INTEGER NOT NULL "
                       "DEFAULT (strftime('%s', 'now'))",
    'pacing_decisions': 'id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp INTEGER NOT NULL, '
                        'should_throttle INTEGER NOT NULL, delay_seconds INTEGER NOT NULL, '
                        'session_id TEXT NOT NULL',
    'blockage_events': 'id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp INTEGER NOT NULL, '
                       'category TEXT NOT NULL, reason TEXT NOT NULL, hook_type TEXT NOT NULL, '
                       'session_id TEXT NOT NULL, details TEXT',
    'langfuse_metrics': 'bucket_timestamp INTEGER PRIMARY KEY, sessions_count INTEGER DEFAULT 0, '
                        'traces_count INTEGER DEFAULT 0, spans_count INTEGER DEFAULT 0',
    'api_cache': 'id INTEGER PRIMARY KEY CHECK (id = 1), timestamp REAL NOT NULL, ' +
                 USAGE_COLUMNS + ', raw_response TEXT',
    'backoff_state': 'id INTEGER PRIMARY KEY CHECK (id = 1), consecutive_429s INTEGER NOT NULL '
                     'DEFAULT 0, backoff_until REAL, last_success_time REAL',
    'secrets_metrics': 'bucket_timestamp INTEGER PRIMARY KEY, '
                       'secrets_masked_count INTEGER DEFAULT 0',
    'global_poll_state': 'id INTEGER PRIMARY KEY CHECK (id = 1), last_poll_time REAL NOT NULL '
                         'DEFAULT 0, last_poll_session TEXT',
    'fallback_state_v2': "id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL DEFAULT "
                         "'normal', baseline_5h REAL DEFAULT 0.0, baseline_7d REAL DEFAULT 0.0, "
                         "resets_at_5h TEXT, resets_at_7d TEXT, tier TEXT DEFAULT '5x', "
                         "entered_at REAL, rollover_cost_5h REAL, rollover_cost_7d REAL, "
                         "last_rollover_resets_5h TEXT, last_rollover_resets_7d TEXT",
    'accumulated_costs': 'id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp REAL NOT NULL, '
                         'session_id TEXT NOT NULL, cost_dollars REAL NOT NULL, '
                         'input_tokens INTEGER, output_tokens INTEGER, model_family TEXT',
    'calibrated_coefficients': 'tier TEXT PRIMARY KEY, coefficient_5h REAL NOT NULL, '
                               'coefficient_7d REAL NOT NULL, sample_count INTEGER NOT NULL '
                               'DEFAULT 0, last_calibrated REAL',
    'activity_events': 'id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp REAL NOT NULL, '
                       'event_code TEXT NOT NULL, status TEXT NOT NULL, session_id TEXT NOT NULL',
    'governance_events': 'id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp REAL NOT NULL, '
                         'event_type TEXT NOT NULL, project_name TEXT NOT NULL, '
                         'session_id TEXT NOT NULL, feedback_text TEXT NOT NULL',
    'codex_usage': 'id INTEGER PRIMARY KEY CHECK (id = 1), primary_used_pct REAL NOT NULL, '
                   'secondary_used_pct REAL NOT NULL, primary_resets_at INTEGER, '
                   'secondary_resets_at INTEGER, plan_type TEXT, limit_id TEXT, '
                   'timestamp REAL NOT NULL',
    'profile_cache': 'id INTEGER PRIMARY KEY CHECK (id = 1), timestamp REAL NOT NULL, '
                     'profile_json TEXT NOT NULL',
}
INDEXES = ('usage_snapshots(timestamp DESC)', 'pacing_decisions(timestamp DESC)',
           'blockage_events(timestamp DESC)', 'blockage_events(category)',
           'accumulated_costs(timestamp)', 'activity_events(timestamp DESC)',
           'governance_events(timestamp DESC)')
REGISTRY = '''
    CREATE TABLE sessions (session_id TEXT PRIMARY KEY, workspace_root TEXT NOT NULL, pid INTEGER,
        start_time REAL, last_seen REAL NOT NULL);
    CREATE INDEX idx_workspace ON sessions (workspace_root);
    CREATE TABLE agents (agent_id TEXT PRIMARY KEY, session_id TEXT NOT NULL, role TEXT NOT NULL,
        subagent_type TEXT, workspace_root TEXT NOT NULL, start_time REAL NOT NULL,
        last_seen REAL NOT NULL, ended_at REAL);
    CREATE TABLE agent_actions (id INTEGER PRIMARY KEY AUTOINCREMENT, agent_id TEXT NOT NULL,
        tool_name TEXT NOT NULL, target TEXT NOT NULL DEFAULT '-', ts REAL NOT NULL);
'''
# release -> (journal mode, its tables, the end of its texts of time)
RELEASES = {
    '1.0': ('delete', list(TABLES)[:1], ''),
    '2.0': ('wal', list(TABLES)[:6], '+00:00'),
    '2.34': ('wal', list(TABLES), '+00:00'),
}
REGISTRY_TABLES = ('sessions', 'agents', 'agent_actions')
SECRETS = {'langfuse_public_key': 'pk-lf-SECRET', 'langfuse_secret_key': 'sk-lf-SECRET',
           'langfuse_base_url': 'https://user:SECRET@langfuse.example.com'}


def iso(at, end='+00:00'):
    """The text that Pace Maker stores for a time, None for None."""
    return None if at is None else time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at)) + end


def usage(five_hour, five_hour_left, seven_day, seven_day_left, at=NOW, end='+00:00'):
    """The columns of a usage row; a window resets so many seconds after NOW, or None."""
    ends = [None if left is None else iso(NOW + left, end)
            for left in (five_hour_left, seven_day_left)]
    return {'timestamp': at, 'five_hour_util': five_hour, 'five_hour_resets_at': ends[0],
            'seven_day_util': seven_day, 'seven_day_resets_at': ends[1]}


def schema(release):
    """The statements that make usage.db."""
    _, tables, _ = RELEASES[release]
    statements = ['CREATE TABLE %s (%s);' % (name, TABLES[name]) for name in tables]
    statements += ['CREATE INDEX i%d ON %s;' % (number, index)
                   for number, index in enumerate(INDEXES) if index.split('(')[0] in tables]
    return '\n'.join(statements)


class Pace:
    """The directory of a release, with empty tables; `config` is the whole of config.json."""

    def __init__(self, folder, release='2.34', config=None):
        self.folder, self.release = str(folder), release
        self.journal, self.tables, self.end = RELEASES[release]
        os.makedirs(self.folder)
        self.configure(**config or {})
        self.closed('usage.db', schema(release))
        if release != '1.0':
            self.closed('session_registry.db', REGISTRY)

    def path(self, name):
        """The path of a file in it."""
        return os.path.join(self.folder, name)

    def write(self, name, data):
        """Replace a file, or add one."""
        with open(self.path(name), 'wb') as file:
            file.write(data if isinstance(data, bytes) else data.encode())

    def configure(self, **config):
        """Write config.json."""
        self.write('config.json', json.dumps(config, indent=2))

    def closed(self, name, script='', inserts=()):
        """Open a database, change it, close it again."""
        writer = shared_writer()
        writer.ask('open', self.path(name), self.journal)
        writer.ask('run', script)
        for table, rows in inserts:
            writer.ask('insert', table, rows)
        writer.ask('close')

    def insert(self, table, *rows):
        """Add rows to a table; id and session, where it has such, are added to them."""
        name = 'session_registry.db' if table in REGISTRY_TABLES else 'usage.db'
        self.closed(name, '', [(table, [complete(table, row) for row in rows])])

    def use(self, *numbers, at=NOW):
        """Add a reply, as `usage` has it, where this release stores its latest."""
        self.insert('api_cache' if 'api_cache' in self.tables else 'usage_snapshots',
                    usage(*numbers, at=at, end=self.end))

    def log(self, at, level, words='[hook] words'):
        """Add a line to the log of its day, in local time."""
        name = time.strftime('pace-maker-%Y-%m-%d.log', time.localtime(at))
        with open(self.path(name), 'a') as file:
            file.write(time.strftime('[%Y-%m-%d %H:%M:%S] ', time.localtime(at)) +
                       '[%s] %s\n' % (level, words))

    def writer(self, name='usage.db'):
        """A Writer that has a database open; a WAL one is live, its last rows not in the file."""
        writer = Writer()
        writer.ask('open', self.path(name), self.journal)
        writer.ask('run', 'CREATE TABLE opened (id); DROP TABLE opened;')
        return writer

    def contents(self):
        """name -> (bytes, time of change) of everything in the directory."""
        found = {}
        for name in os.listdir(self.folder):
            with open(self.path(name), 'rb') as file:
                found[name] = file.read(), os.stat(self.path(name)).st_mtime_ns
        return found


def complete(table, row):
    """A row with the columns that say nothing but must not be null."""
    columns = (TABLES.get(table) or '').replace(',', ' ').split()
    filled = {'id': 1} if 'CHECK' in columns else {}
    filled.update((name, 'x') for name in ('session_id', 'reason', 'hook_type')
                  if name in columns)
    return dict(filled, **row)


class Writer:
    """The process of pacewriter.py; it ends where its `with` does, or with the tests."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, '-I', '-S', WRITER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            encoding='utf-8', bufsize=1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def tell(self, *words):
        """Give an order without waiting for its answer."""
        self._process.stdin.write(json.dumps(words) + '\n')
        self._process.stdin.flush()

    def has_answered(self, timeout=0):
        """Whether there is an answer to the last order."""
        return bool(select.select([self._process.stdout], [], [], timeout)[0])

    def answer(self):
        """The answer to the last order; an AssertionError if SQLite complained."""
        assert self.has_answered(120), 'the writer is stuck'
        answer = json.loads(self._process.stdout.readline())
        assert not isinstance(answer, dict), answer['error']
        return answer

    def ask(self, *words):
        """Give an order and wait for its answer."""
        self.tell(*words)
        return self.answer()

    def die(self):
        """Let it die without closing anything."""
        self.tell('die')
        self.end()

    def end(self):
        """Wait for its end."""
        if self._process.poll() is None:
            self._process.communicate()
        self._process.stdin.close()
        self._process.stdout.close()


@functools.lru_cache(maxsize=None)
def shared_writer():
    """The one that makes all closed databases; a process costs more than what it writes."""
    return Writer()
