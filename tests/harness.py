"""Pollers in a world that only tests move: its clock, its server, its files, its monitors.

    world = World(server, tmp_path)
    mine, other = world.monitor(), world.monitor()      # of one user, on one store
    mine.once()
    world.pass_time(5 * MINUTE, mine, other)
    assert len(world.times) == 2 and other.five_hour == 11
"""
import argparse
import contextlib
import json
import os
import queue
import sqlite3
import stat

import captures
from captures import CLAUDE_JSON, CREDENTIALS, TOKEN
from claude_usage import (DAY, WATCH_SECONDS, CodePoller, Logins, Setup, Snapshot, Store, absorb,
                          parse_status, take_status)
from server import Reply

USAGE, PROFILE = '/api/oauth/usage', '/api/oauth/profile'
GOOD, BAD = Reply(body=captures.USAGE_2026), Reply(500)
REFUSED = Reply(401, captures.ERROR_401)
EXPIRES_AT = CREDENTIALS['claudeAiOauth']['expiresAt'] / 1000
STORE = 'store2.db'


def limited(retry_after=None):
    """A 429."""
    headers = {} if retry_after is None else {'Retry-After': str(retry_after)}
    return Reply(429, captures.ERROR_429, headers)


def moving(used, resets_at=None):
    """A reply with another percent of the first limit."""
    return Reply(body=dict(captures.USAGE_2026, five_hour={
        'utilization': float(used), 'resets_at': resets_at}, limits=[]))


class QuickStore(Store):
    """One that does not wait for the disk: no test pulls the plug."""

    def transact(self, sqlite3, work, writes, synchronous):
        return super().transact(sqlite3, work, writes, 'OFF')


class World:
    """What monitors have in common: `now`, the server, the files of an account, the store."""

    def __init__(self, server, folder):
        self.server, self.folder, self.now = server, folder, EXPIRES_AT - 30 * DAY
        self.store_folder, self.more_folders = folder / 'store', ()
        del server.requests[:]
        self.times = []             # of the requests for usage, by that clock
        self.answer(GOOD)
        server.answer(PROFILE, Reply(body=captures.PROFILE))
        self.log_in()

    def monitor(self, poller=CodePoller, **more):
        """Another Monitor of this user, see there."""
        return Monitor(self, poller, **more)

    def answer(self, *replies, seconds=0):
        """Give these replies to the next requests for usage; each takes so many seconds.

        One that is a function is called while the request is under way.
        """
        def noted(reply):
            def take(request):
                self.times.append(self.now)
                self.now += seconds
                return reply(request) if callable(reply) else reply
            return take
        self.server.answer(USAGE, *map(noted, replies))

    def profiles(self):
        """How many requests for the profile came."""
        return len([request for request in self.server.requests if request.path == PROFILE])

    def write(self, name, document, folder=None):
        """Replace a file as Claude Code does, at once; its stamp goes by this clock."""
        path = str((folder or self.folder) / name)
        with open(path + '.new', 'w', encoding='utf-8') as file:
            file.write(document if isinstance(document, str) else json.dumps(document))
        os.utime(path + '.new', (self.now, self.now))
        os.replace(path + '.new', path)

    def log_in(self, token=TOKEN, expires_at=EXPIRES_AT, folder=None, **account):
        """Have a login, and the identity of Claude Code's account with these changes to it."""
        self.write('.credentials.json', {'claudeAiOauth': dict(
            CREDENTIALS['claudeAiOauth'], accessToken=token, expiresAt=expires_at * 1000)}, folder)
        self.identify(folder, **account)

    def identify(self, folder=None, cached=None, **account):
        """Write `.claude.json`, perhaps with `cachedUsageUtilization`."""
        document = {'oauthAccount': dict(CLAUDE_JSON['oauthAccount'], **account)}
        if cached:
            document['cachedUsageUtilization'] = cached
        self.write('.claude.json', document, folder)

    def log_out(self):
        """Leave what `/logout` leaves."""
        self.write('.credentials.json', captures.LOGGED_OUT)
        self.write('.claude.json', {})

    def pass_time(self, seconds, *monitors, asked=False, step=0.0):
        """Let so many seconds pass, the monitors doing what is due, but for looks at nothing."""
        end, standing = self.now + seconds, 0
        while self.now < end:
            before = self.now
            wait = min([monitor.once(asked) for monitor in monitors])
            plans = [known.next_at - self.now for monitor in monitors
                     for known in monitor.snapshot.values() if known.next_at]
            if wait == WATCH_SECONDS and plans:
                wait = max(wait, min(plans))
            if self.now == before:      # requests may take time, too
                self.now = min(end, self.now + max(wait, step))
            standing = standing + 1 if self.now == before else 0
            assert standing < 50, 'it goes round and round'
        self.now = max(end, self.now)

    def gaps(self):
        """Whole seconds between the requests for usage."""
        return [round(later - earlier) for earlier, later in zip(self.times, self.times[1:])]

    def rows(self, statement, *values, name=STORE):
        """The rows of a query in the store, without the help of the program."""
        with contextlib.closing(sqlite3.connect(str(self.store_folder / name))) as db:
            found = db.execute(statement, values).fetchall()
            db.commit()
        return found


class Monitor:
    """One of the monitors in a World: a poller, and what it has told.

    Its config directory is `folder`, its Store in `store` or in further folders of the World;
    `asks_alone` is of its Setup; further arguments are options of the command line, and `env` what
    it has beside CLAUDE_CONFIG_DIR.
    """

    def __init__(self, world, poller, folder=None, store=None, env=None, asks_alone=True,
                 **options):
        self.world, self.inbox = world, queue.Queue()
        self.snapshot, self.told = Snapshot(), []
        self.place = str(folder or world.folder)
        self.store = QuickStore(str(store or world.store_folder), *map(str, world.more_folders))
        self.env = dict({'CLAUDE_CONFIG_DIR': self.place}, **env or {})
        options = argparse.Namespace(**dict(
            {'interval': None, 'api_url': world.server.url, 'user': '', 'demo': False,
             'budget': None, 'budget_org': None}, **options))
        self.setup = Setup(options, self.env, self.inbox, lambda: world.now, self.store,
                           Logins(self.env), self.place, asks_alone=asks_alone)
        self.poller = poller(self.setup)

    def once(self, asked=False):
        """Let the poller do what is due. It always looks again within 5 s."""
        if asked:
            self.poller.ask_now(self.world.now)
        try:
            wait = self.poller.once()
        finally:
            self.hear()
        assert 0 <= wait <= 5
        # The files go by the test's clock, so that no change is hidden by a tick of the real one.
        for name in os.listdir(self.store.folder) if os.path.isdir(self.store.folder) else ():
            path = os.path.join(self.store.folder, name)
            found = os.lstat(path)
            if stat.S_ISREG(found.st_mode) and found.st_mtime < EXPIRES_AT - DAY * 60:
                os.utime(path, (self.world.now, self.world.now))
        return wait

    def hear(self):
        """Take what the poller has told."""
        while not self.inbox.empty():
            self.told.append(self.inbox.get())
            self.snapshot = absorb(self.snapshot, self.told[-1])

    def known(self, source='usage', place=None):
        """What is Known of a source."""
        return self.snapshot[self.place if place is None else place, source]

    def tell_status(self, session, duration, cached=None, resets_at=None, **used):
        """Tell the status line percents, as Claude Code does -> the Usage that it shows."""
        told = {'session_id': session, 'cost': {'total_api_duration_ms': duration},
                'rate_limits': {key: {'used_percentage': percent, 'resets_at': resets_at}
                                for key, percent in used.items()}}
        now, account = self.world.now, self.poller.account
        usage, _ = take_status(self.store, account, parse_status(told, now), cached, now)
        os.utime(self.store.path, (now, now))
        return usage

    @property
    def failure(self):
        """The code of the failure of usage."""
        failure = self.known().failure
        return failure and failure.code

    @property
    def five_hour(self):
        """The percent that is shown of the first limit; None if no numbers are."""
        usage = self.known().value
        return usage and usage.limits[0].used

    @property
    def trouble(self):
        """What is said of the store."""
        return self.known('store', '').value or ''

    def attempts(self, source='usage'):
        """The codes of the attempts that the store has of our account, oldest first."""
        ledger = self.store.recall(self.poller.account, self.poller.token, self.world.now).ledger
        return [attempt.code for attempt in sorted(ledger.values(), key=lambda told: told.at)
                if attempt.source == source]


def kill_in_request(monitor):
    """Let a monitor make the request that is due, and be killed before the reply."""
    def request(source, attempt):
        raise KeyboardInterrupt
    monitor.poller.request = request
    with contextlib.suppress(KeyboardInterrupt):
        monitor.once()


def within_budget(times):
    """Whether no six of these times are within 300 seconds."""
    return all(later - earlier >= 300 for earlier, later in zip(times, times[5:]))
