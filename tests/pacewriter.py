"""The process that writes Pace Maker's databases; see the class Writer in pacemaker.py.

Each line on stdin is a JSON list, a method of Hand and its arguments, and gets one JSON line on
stdout: what it returned, or {"error": ...} with SQLite's words.
"""
import json
import os
import signal
import sqlite3
import sys
import time

TIMEOUT = 5                     # seconds that Pace Maker's own hooks wait for a lock


class Hand:
    """One connection, and the process around it."""
    connection = None

    def open(self, path, journal='wal', timeout=TIMEOUT):
        """Open, or create, a database; it stays open."""
        self.connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)
        self.connection.execute('PRAGMA synchronous = OFF')
        return self.connection.execute('PRAGMA journal_mode = ' + journal).fetchone()[0]

    def run(self, script):
        """Run statements, one transaction after another."""
        self.connection.executescript(script)

    def do(self, statement):
        """Run one statement, in the transaction that there is."""
        self.connection.execute(statement)

    def insert(self, table, rows):
        """Insert rows, {column: value}, in one transaction; of a row's id the last one stays."""
        self.connection.execute('BEGIN')
        for row in rows:
            self.connection.execute('INSERT OR REPLACE INTO %s (%s) VALUES (%s)' % (
                table, ', '.join(row), ', '.join('?' * len(row))), list(row.values()))
        self.connection.execute('COMMIT')

    def value(self, query):
        """The first column of the first row of a query."""
        return self.connection.execute(query).fetchone()[0]

    def hurry(self, path, journal, reopening, seconds):
        """Insert numbered snapshots, each in a transaction of its own, as fast as it goes.

        `reopening`: each on a connection of its own, as the hooks do. Returns how many were
        inserted and what SQLite complained of.
        """
        count, errors, end = 0, set(), time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if reopening or not self.connection:
                    self.open(path, journal)
                self.connection.execute(
                    'INSERT INTO usage_snapshots (timestamp, five_hour_util, seven_day_util, '
                    "session_id) VALUES (?, ?, 0, 's')", (count + 1, count + 1))
                count += 1
                if reopening:
                    self.close()
            except sqlite3.OperationalError as error:
                errors.add(str(error))
        return count, sorted(errors)

    def close(self):
        """Close the connection; a WAL database is then one file again."""
        self.connection.close()
        self.connection = None

    def die(self):
        """Leave everything as it is at this moment."""
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == '__main__':
    hand = Hand()
    for line in iter(sys.stdin.readline, ''):
        name, *arguments = json.loads(line)
        try:
            answer = getattr(hand, name)(*arguments)
        except sqlite3.Error as failure:
            answer = {'error': str(failure)}
        print(json.dumps(answer), flush=True)
