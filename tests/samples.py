"""Snapshots that several test files use: one moment, one account, one of each situation."""
from claude_usage import (DAY, HOUR, LIMITS, MINUTE, Account, Failure, Known, Limit, Snapshot,
                          Spend, Usage, clean)

NOW = 1795375158.0      # Sunday 2026-11-22 20:19:18, by the clock of the fixture `zone`


def limit(key, used, left, label=None, window=7 * DAY):
    """A Limit that resets in `left` seconds, or None where it has not started."""
    label, short, window = LIMITS.get(key, (label, (label or '').replace('7-Day ', ''), window))
    return Limit(key, label, short, used, None if left is None else NOW + left, window)


ACCOUNT = Account('u1', 'User', 'user@example.com', 'Company Name', ('ENTERPRISE',),
                  'default_claude_max_5x')
FIVE_HOUR = limit('five_hour', 78.0, 3 * HOUR + 45 * MINUTE)
SEVEN_DAY = limit('seven_day', 34.0, 4 * DAY + HOUR + 12 * MINUTE)
MANY = (FIVE_HOUR, SEVEN_DAY,
        limit('seven_day_opus', 100.0, 6 * DAY + 23 * HOUR),
        limit('seven_day_sonnet', 0.0, None),
        limit('weekly_scoped_fable', 99.9, 59, '7-Day Fable'),
        limit('weekly_scoped_fable_mythos_preview', 50.4, -1, '7-Day Fable Mythos Preview'),
        limit('seven_day_cowork', 104.6, 7 * DAY - 1, '7-Day Cowork'),
        limit('amber_ladder', 80.6, 12 * MINUTE, 'Amber Ladder', None))
EXTRA = Spend(763, 2000, 2, 'EUR', 38.15)
UNCAPPED = Spend(763, None, 0, 'JPY', None)
RATE_LIMITED = Failure('rate_limited', '', 720.0)


def snapshot(limits=(), spend=None, age=0, account=ACCOUNT, **usage):
    """What is known when a reply came `age` seconds ago."""
    times = {'next_at': NOW - age + 30, 'free_at': 0.0}
    return Snapshot(identity=Known(account, NOW - age), login=Known(Account(), NOW - age),
                    usage=Known(Usage(tuple(limits), spend), NOW - age)._replace(
                        **dict(times, **usage)))


NORMAL = snapshot((FIVE_HOUR, SEVEN_DAY))
NO_LOGIN = Snapshot(login=Known(None, None, Failure('no_credentials')))

HOSTILE = ('\x1b[31m\x1b]0;title\x07' + '\u202e' + 'Zo\u0308\u0301\u0316\u0301e \u7530\u4e2d' * 20
           + '\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea\r\n\x9b2J'
           + 'x' * 9000)

SITUATIONS = {
    'waiting': Snapshot(identity=Known(ACCOUNT, NOW), login=Known(Account(), NOW)),
    'no login': NO_LOGIN,
    'normal': NORMAL,
    'rate limited': snapshot((FIVE_HOUR, SEVEN_DAY), age=14 * MINUTE, failure=RATE_LIMITED,
                             next_at=NOW + 12 * MINUTE, free_at=NOW + 12 * MINUTE),
    'token expired': snapshot((FIVE_HOUR, SEVEN_DAY), age=3 * HOUR)._replace(
        login=Known(Account(), NOW - 3 * HOUR, Failure('token_expired'))),
    'stale': snapshot((FIVE_HOUR, SEVEN_DAY), age=90),
    'fed': snapshot((FIVE_HOUR, SEVEN_DAY), age=20, next_at=NOW + 280,
                    value=Usage((FIVE_HOUR, SEVEN_DAY), None, 'Claude Code')),
    'not shared': NORMAL._replace(store=Known(
        'Not shared with other monitors: /home/jane/.claude-usage: Permission denied.', NOW)),
    'not started, reset due': snapshot((limit('five_hour', 0.0, None),
                                        limit('seven_day', 99.0, -40))),
    'many limits': snapshot(MANY, EXTRA),
    'only extra usage': snapshot((), EXTRA),
    'extra usage without a cap': snapshot((), UNCAPPED),
    'nothing': snapshot(),
    'hostile': snapshot(
        [limit('x', 12.0, 99 * DAY, clean(HOSTILE)), limit('y', 12.0, HOUR, '')],
        EXTRA._replace(currency='\u7530' * 8, used=1e14),
        account=Account('u', clean(HOSTILE), clean(HOSTILE), clean(HOSTILE), ('MAX', 'PRO'),
                        clean(HOSTILE)), failure=Failure('network', clean(HOSTILE))),
}
