"""Snapshots beside a Pace Maker, whose numbers are as old as its last look."""
import json

from claude_usage import (PACE_DEFAULTS, PACE_SETTINGS, PLANNED, DAY, Failure, Known, Moment,
                          PaceEvent, PaceMaker, Usage, as_json)
from pacemaker import HOUR, MINUTE, NOW
from samples import PLACE, TWO, limit, snapshot

LEFT = 1.9 * HOUR               # of 5 hours: 62 % may be used by now


def windows(five_hour=77.2, left=LEFT, seven_day=34.0, seven_day_left=4 * DAY, age=60, **more):
    """A whole report of both windows, so many seconds old."""
    ends = {'five_hour': (five_hour, left), 'seven_day': (seven_day, seven_day_left)}
    limits = [limit(key, used, None, at=NOW - age, **more)._replace(
        resets_at=None if left is None else NOW + left) for key, (used, left) in ends.items()]
    return Usage(tuple(limits), NOW - age)


THEIRS = windows(via='Pace Maker')
OFF = {'five_hour_limit_enabled': False, 'weekly_limit_enabled': False}


def maker(config=(), usage=THEIRS, **fields):
    """A PaceMaker, in its defaults but for this config."""
    return PaceMaker(dict(PACE_DEFAULTS, **dict(config)), list(PACE_SETTINGS), usage, **fields)


def decided(age, delay):
    """What it has decided itself so many seconds ago."""
    return {'at': NOW - age, 'delay': delay}


def beside(pace, ours=None, failure=None):
    """The Snapshot of an account beside a Pace Maker, or what kept us from reading its files."""
    found = snapshot(TWO)
    usage = ours or windows(age=65)
    found[PLACE, 'usage'] = Known(usage, usage.at, None, PLANNED, NOW + 25, 0.0)
    found['', 'pace_maker'] = Known(pace, 0.0, failure, PLANNED)
    return found


def told(snapshot, now=NOW, mode='code'):
    """What --json tells of Pace Maker."""
    return json.loads(as_json(snapshot, (PLACE,), Moment(now), mode))['pace_maker']


def agent(workspace, name, is_root=True, quiet=0, gone=0, actions=()):
    """A row of an agent that is quiet, and gone, so many seconds from now on."""
    return {'agent_id': name, 'workspace': workspace, 'name': name, 'is_root': is_root,
            'quiet_at': NOW + quiet, 'gone_at': NOW + gone,
            'actions': [dict(zip(('tool', 'target'), action)) for action in actions]}


FULL = maker(
    {'hook_model': 'sonnet+opus->haiku', 'langfuse_enabled': True, 'log_level': 3},
    decided=decided(20, 45), tempo='on', version='2.34.2',
    blockages=[{'category': name, 'count': count} for name, count in (
        ('pacing_quota', 3), ('intent_validation_tdd', 2), ('other', 1), ('a_later_one', 1))],
    langfuse=[{'sessions': 4, 'traces': 50, 'spans': 400}], secrets=[{'count': 7}],
    activity=[{'code': code, 'role': role, 'gone_at': NOW + left} for code, role, left in (
        ('IV', 'green', 1), ('TD', 'red', 7), ('CC', 'blue', 9), ('DG', 'yellow', 9))],
    events=[
        PaceEvent(NOW - 65, 'IV engine', ['The edit does what was announced, and nothing else.']),
        PaceEvent(NOW - 700, 'TD engine [RegEx]', [
            'No failing test was seen before the change to mill.py:', '- write one first,',
            '- see it fail for the right reason,', '- then change the code.']),
        PaceEvent(NOW - 1900, 'CC notes', ['The function reads a file and prints a table.'])],
    agents=[
        agent('/home/ada/engine', 'a1b2c3d4', True, 175, 1195, [
            ('Edit', '/home/ada/engine/mill.py'), ('Read', 'cards.md'), ('Bash', 'pytest -q')]),
        agent('/home/ada/engine', 'test-runner', False, 178, 1198, [('Bash', '-')]),
        agent('/home/ada/engine', 'code-reviewer', False, -1e9, 30, [('Grep', 'steam')]),
        agent('/home/ada/engine', 'e5f6a7b8', True, -220, 800, [('Write', 'notes.txt')]),
        agent('/home/ada/notes', '01234567', True, -1000, MINUTE)])
TORN = Failure('malformed', 'usage.db: database disk image is malformed')
