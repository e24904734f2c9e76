"""What is known, and how it changes with each reading."""
import pytest

from claude_usage import (ASKING, HELD, MODES, PLANNED, Account, Credentials, Failure, Known,
                          Reading, Snapshot, Usage, absorb, account_of, has_numbers)
from samples import EXTRA, LOGIN, NO_KEY, PLACE, SITUATIONS, TWO

OLD, NEW = Usage(TWO, 4.0), Usage((EXTRA,), 50.0)
FAILURE = Failure('network', 'unknown host')
IDENTITY, USAGE, PROFILE = (PLACE, 'identity'), (PLACE, 'usage'), (PLACE, 'profile')
KNOWN = Snapshot({
    (PLACE, 'credentials'): Known(Credentials(LOGIN, NO_KEY, 'code'), 0.0, None, PLANNED),
    ('', 'store'): Known('Not shared.', 6.0), ('/other', 'usage'): Known(NEW, 9.0),
    IDENTITY: Known(Account('u1', 'Ann'), 1.0), PROFILE: Known(Account('u1', 'Ann A'), 3.0),
    USAGE: Known(OLD, 4.0, None, PLANNED, 34.0, 5.0)})
SOURCES = list(KNOWN) + [(PLACE, 'something new')]


def told(key, known, before=KNOWN):
    """The Snapshot after a Reading; that before stays as it was."""
    copy = dict(before)
    after = absorb(before, Reading(key[0], key[1], known))
    assert before == copy and isinstance(after, Snapshot)
    return after


@pytest.mark.parametrize('key', SOURCES)
def test_a_value_replaces_all_that_was_known_of_its_source(key):
    value = Account('u1') if key == IDENTITY else NEW
    known = Known(value, 50.0, None, HELD, 80.0, 59.0)
    for before in (Snapshot(), KNOWN, SITUATIONS['no login']):
        assert told(key, known, before) == {**before, key: known}
    assert Snapshot()[key] == Known()           # of what nobody has told nothing is known


@pytest.mark.parametrize('key', SOURCES)
def test_a_failure_or_a_request_keeps_the_last_value_and_its_time(key):
    for known in (Known(None, None, FAILURE, PLANNED, 80.0, 60.0),
                  Known(None, None, None, ASKING, 80.0, 60.0)):
        last = KNOWN[key]
        assert told(key, known) == {**KNOWN, key: known._replace(value=last.value, at=last.at)}


def test_a_value_ends_a_failure_and_a_failure_another():
    other = told(USAGE, Known(failure=Failure('timeout')), told(USAGE, Known(failure=FAILURE)))
    assert other[USAGE] == Known(OLD, 4.0, Failure('timeout'))
    assert told(USAGE, Known(NEW, 70.0), other)[USAGE] == Known(NEW, 70.0)


def test_another_account_keeps_nothing_of_the_place():
    bob = Known(Account('u2', 'Bob'), 50.0)
    rest = {key: known for key, known in KNOWN.items() if key not in (USAGE, PROFILE)}
    assert told(IDENTITY, bob) == {**rest, IDENTITY: bob}


@pytest.mark.parametrize('key, value', [
    (IDENTITY, Account('u1', 'Ann, renamed')),              # the same account
    (IDENTITY, None),                                       # the file is gone
    (PROFILE, Account('u2'))])                              # only identity tells who it is
def test_the_same_account_keeps_all(key, value):
    known = Known(value, 50.0, None, PLANNED)
    assert told(key, known) == {**KNOWN, key: known}
    before = Snapshot({key: known for key, known in KNOWN.items() if key != IDENTITY})
    assert told(IDENTITY, KNOWN[IDENTITY], before) == KNOWN


def test_what_is_settled():
    for phase, is_settled in (('', False), (ASKING, False), (PLANNED, True), (HELD, True)):
        for known in (Known(), Known(OLD, 4.0), Known(None, None, FAILURE)):
            assert known._replace(phase=phase).is_settled is is_settled


@pytest.mark.parametrize('sources, account', [
    ({}, Account()),
    ({'identity': Account('i', 'In', 'Ie', 'Io', ('MAX',), 'It')},
     Account('i', 'In', 'Ie', 'Io', ('MAX',), 'It')),
    # The profile first, then the identity, then the login; name and tier are one's own.
    ({'profile': Account('p', 'Pn', '', '', (), 'Pt', 'Max Plan'),
      'identity': Account('i', '', 'Ie'), 'login': Account('', '', '', '', ('PRO',), 'Lt')},
     Account('p', 'Pn', 'Ie', '', ('PRO',), 'Pt', 'Max Plan')),
    ({'profile': Account('p', 'Pn', tier='Pt'), 'identity': Account('i', 'In', tier='It')},
     Account('p', 'In', tier='It')),
    ({'profile': Account(badges=('TEAM', 'PRO')), 'login': Account(badges=('MAX',))},
     Account(badges=('TEAM', 'PRO'))),
    ({'login': Account(tier='Lt')}, Account(tier='Lt')),
])
def test_account_of(sources, account):
    login = LOGIN._replace(account=sources.get('login', Account()))
    known = {(PLACE, source): Known(value) for source, value in sources.items()}
    known[PLACE, 'credentials'] = Known(Credentials(login, NO_KEY, 'code'))
    assert account_of(Snapshot(known), PLACE) == account
    known[PLACE, 'credentials'] = Known(Credentials(NO_KEY, NO_KEY, 'code'))
    assert account_of(Snapshot(known), PLACE).uuid == account.uuid


@pytest.mark.parametrize('name', SITUATIONS)
def test_has_numbers(name):
    known, numbers = SITUATIONS[name], name not in ('looking', 'waiting', 'no login', 'nothing')
    assert has_numbers(known, PLACE, 'code') is numbers and not has_numbers(known, '/x', 'code')
    assert not any(has_numbers(known, PLACE, mode) for mode in MODES if mode != 'code')
