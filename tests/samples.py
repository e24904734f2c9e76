"""Snapshots that several test files use: one moment, one account, one of each situation."""
from claude_usage import (ASKING, DAY, HELD, HOUR, LIMITS, MINUTE, PLANNED, Account, Amount,
                          Credentials, Failure, Known, Limit, Login, Snapshot, Ui, Usage, clean)

NOW = 1795375158.0      # Sunday 2026-11-22 20:19:18, by the clock of the fixture `zone`
PLACE = '/home/user/.claude'
LOOKING = Ui(place=PLACE)               # before the credentials are known
UI = Ui(mode='code', place=PLACE)
ASCII = UI._replace(ascii=True, icons=False)


def limit(key, used, left, label=None, window=7 * DAY, **more):
    """A Limit that resets in `left` seconds, or None where it has not started."""
    label, short, window = LIMITS.get(key, (label, (label or '').replace('7-Day ', ''), window))
    resets_at = None if left is None else NOW + left
    return Limit(key, label, short, used, resets_at, window, **dict({'at': NOW}, **more))


def credits(used, amount, **more):
    """The Limit of paid use beyond the plan."""
    return limit('extra_usage', used, None, kind='spend', amount=amount, **more)


ACCOUNT = Account('u1', 'User', 'user@example.com', 'Company Name', ('ENTERPRISE',),
                  'default_claude_max_5x')
LOGIN = Login('sk-ant-oat01-SECRET', NOW + DAY, Account())
NO_KEY = Failure('no_credentials')
FIVE_HOUR = limit('five_hour', 78.0, 3 * HOUR + 45 * MINUTE)
SEVEN_DAY = limit('seven_day', 34.0, 4 * DAY + HOUR + 12 * MINUTE)
TWO = (FIVE_HOUR, SEVEN_DAY)
EXTRA = credits(38.15, Amount(763, 2000, 2, 'EUR'))
UNCAPPED = credits(None, Amount(763, None, 0, 'JPY'))
MANY = (FIVE_HOUR, SEVEN_DAY,
        limit('seven_day_opus', 100.0, 6 * DAY + 23 * HOUR),
        limit('seven_day_sonnet', 0.0, None),
        limit('weekly_scoped_fable', 99.9, 59, '7-Day Fable'),
        limit('weekly_scoped_fable_mythos_preview', 50.4, -1, '7-Day Fable Mythos Preview'),
        limit('seven_day_cowork', 104.6, 7 * DAY - 1, '7-Day Cowork'),
        limit('amber_ladder', 80.6, 12 * MINUTE, 'Amber Ladder', None))
# The letter of each role in golden pictures.
LETTERS = {'': '.', 'soft': 's', 'dim': 'd', 'strong': 'S', 'border': 'b', 'title': 't',
           'badge': 'B', 'alert': 'a', 'blue': 'u', 'target': 'T', 'green': 'g', 'yellow': 'y',
           'orange': 'o', 'red': 'r'}
RATE_LIMITED = Failure('rate_limited', '', 720.0)


def snapshot(limits=(), age=0, account=ACCOUNT, login=LOGIN, **usage):
    """What is known when a reply came `age` seconds ago; further arguments are of its Known."""
    at = NOW - age
    report = Usage(tuple(limit._replace(at=at) for limit in limits), at)
    known = Known(report, at, None, PLANNED, at + 30, 0.0)
    return Snapshot({
        (PLACE, 'credentials'): Known(Credentials(login, NO_KEY, 'code'), 0.0, None, PLANNED),
        (PLACE, 'identity'): Known(account, 0.0, None, PLANNED),
        (PLACE, 'usage'): known._replace(**usage)})


def changed(known, source, place=PLACE, **fields):
    """A Snapshot with other fields of what is Known of one source."""
    told = Snapshot(known)
    told[place, source] = known[place, source]._replace(**fields)
    return told


NORMAL = snapshot(TWO)
NO_LOGIN = snapshot(value=None, at=None, failure=NO_KEY, next_at=None, free_at=None,
                    account=None, login=NO_KEY)
HOSTILE = ('\x1b[31m\x1b]0;title\x07' + '\u202e' + 'Zo\u0308\u0301\u0316\u0301e \u7530\u4e2d' * 20
           + '\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea\r\n\x9b2J'
           + 'x' * 9000)

SITUATIONS = {
    'looking': Snapshot(),
    'waiting': snapshot(value=None, at=None, phase=ASKING, next_at=None, free_at=None),
    'no login': NO_LOGIN,
    'normal': NORMAL,
    'asking': changed(NORMAL, 'usage', phase=ASKING),
    'rate limited': snapshot(TWO, 14 * MINUTE, failure=RATE_LIMITED, phase=HELD,
                             next_at=NOW + 12 * MINUTE, free_at=NOW + 12 * MINUTE),
    'token expired': snapshot(TWO, 3 * HOUR, failure=Failure('token_expired'), next_at=None,
                              free_at=None),
    'stale': snapshot(TWO, 90),
    'fed': snapshot([item._replace(via='Claude Code') for item in TWO], 20, next_at=NOW + 280),
    'not shared': changed(
        NORMAL, 'store', '', at=0.0, phase=PLANNED,
        value='Not shared with other monitors: /home/jane/.claude-usage: Permission denied.'),
    'not started, reset due': snapshot((limit('five_hour', 0.0, None),
                                        limit('seven_day', 99.0, -40))),
    'many limits': snapshot(MANY + (EXTRA,)),
    'only credits': snapshot((EXTRA,)),
    'credits without a cap': snapshot((UNCAPPED,)),
    'out of credits': snapshot(TWO + (credits(100.0, Amount(763, None, 2, 'USD'),
                                              note='Out of credits.'),)),
    'credits that expire': snapshot(TWO + tuple(
        limit(key, 40.0, left, 'Spring gift', None, kind='credit',
              amount=Amount(400, 1000, 2, 'USD'))
        for key, left in (('cinder_cove', 3 * DAY), ('promo_spring', -5)))),
    'nothing': snapshot(),
    'hostile': snapshot(
        [limit('x', 12.0, 99 * DAY, clean(HOSTILE)), limit('y', 12.0, HOUR, ''),
         credits(38.15, Amount(1e14, 2000, 2, '\u7530' * 8))],
        account=Account('u', clean(HOSTILE), clean(HOSTILE), clean(HOSTILE), ('MAX', 'PRO'),
                        clean(HOSTILE), clean(HOSTILE)[:40]),
        failure=Failure('network', clean(HOSTILE))),
}


def ui_of(name, ui=UI):
    """The Ui of a situation: as long as it is looking there is no mode."""
    return ui._replace(mode=ui.mode if SITUATIONS[name] else '')
