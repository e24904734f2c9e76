"""What is known, and how it changes with each reading."""
import pytest

from claude_usage import (Account, Failure, Known, Reading, Snapshot, Usage, absorb, account_of,
                          has_numbers, usage_of)
from samples import EXTRA, FIVE_HOUR, NORMAL, NOW, SITUATIONS

OLD, NEW = Usage((FIVE_HOUR,), None), Usage((), EXTRA)
KNOWN = Snapshot(identity=Known(Account('u1', 'Ann'), 1.0), login=Known(Account(tier='x'), 2.0),
                 profile=Known(Account('u1', 'Ann A'), 3.0),
                 usage=Known(OLD, 4.0, None, 34.0, 5.0), store=Known('Not shared.', 6.0))
FAILURE = Failure('network', 'unknown host')


@pytest.mark.parametrize('source', Snapshot._fields)
@pytest.mark.parametrize('before', [Snapshot(), KNOWN, SITUATIONS['no login']])
def test_a_value_replaces_all_that_was_known_of_its_source(source, before):
    value = Account('u1') if source != 'usage' else NEW
    after = absorb(before, Reading(source, NOW, value, None, NOW + 30, NOW + 9))
    assert getattr(after, source) == Known(value, NOW, None, NOW + 30, NOW + 9)
    assert after == before._replace(**{source: getattr(after, source)})


@pytest.mark.parametrize('source', Snapshot._fields)
def test_a_failure_keeps_the_last_good_value_and_its_time(source):
    after = absorb(KNOWN, Reading(source, 50.0, None, FAILURE, 80.0, 60.0))
    before = getattr(KNOWN, source)
    assert getattr(after, source) == Known(before.value, before.at, FAILURE, 80.0, 60.0)
    assert after == KNOWN._replace(**{source: getattr(after, source)})


def test_a_failure_when_nothing_is_known_yet():
    after = absorb(Snapshot(), Reading('usage', 50.0, None, FAILURE))
    assert after == Snapshot(usage=Known(None, None, FAILURE))


def test_a_value_ends_a_failure_and_a_failure_another():
    failing = absorb(KNOWN, Reading('usage', 50.0, None, FAILURE, 80.0, 60.0))
    other = absorb(failing, Reading('usage', 60.0, None, Failure('timeout')))
    assert other.usage == Known(OLD, 4.0, Failure('timeout'))
    assert absorb(other, Reading('usage', 70.0, NEW, None, 99.0, 71.0)).usage == Known(
        NEW, 70.0, None, 99.0, 71.0)


def test_another_account_keeps_nothing_but_the_login_and_the_store():
    after = absorb(KNOWN, Reading('identity', 50.0, Account('u2', 'Bob')))
    assert after == Snapshot(identity=Known(Account('u2', 'Bob'), 50.0), login=KNOWN.login,
                             store=KNOWN.store)


@pytest.mark.parametrize('source, value', [
    ('identity', Account('u1', 'Ann, renamed')),        # the same account
    ('identity', None),                                 # the file is gone
    ('login', Account('u2')), ('profile', Account('u2'))])      # only identity tells who it is
def test_the_same_account_keeps_all(source, value):
    after = absorb(KNOWN, Reading(source, 50.0, value))
    assert after == KNOWN._replace(**{source: Known(value, 50.0)})


def test_the_first_identity_keeps_all():
    before = KNOWN._replace(identity=Known())
    assert absorb(before, Reading('identity', 1.0, Account('u1', 'Ann'))) == KNOWN


def account(identity=None, login=None, profile=None):
    return account_of(Snapshot(Known(identity), Known(login), Known(profile)))


@pytest.mark.parametrize('sources, merged', [
    ({}, Account()),
    ({'identity': Account('i', 'In', 'Ie', 'Io', ('MAX',), 'It')},
     Account('i', 'In', 'Ie', 'Io', ('MAX',), 'It')),
    # The profile first, then the identity, then the login, for each field by itself.
    ({'profile': Account('p', 'Pn'), 'identity': Account('i', 'In', 'Ie'),
      'login': Account('', '', '', '', ('PRO',), 'Lt')},
     Account('p', 'Pn', 'Ie', '', ('PRO',), 'Lt')),
    ({'profile': Account(badges=('TEAM', 'PRO')), 'login': Account(badges=('MAX',))},
     Account(badges=('TEAM', 'PRO'))),
    ({'profile': Account(), 'identity': Account(name='In')}, Account(name='In')),
    ({'login': Account(tier='Lt')}, Account(tier='Lt')),
])
def test_account_of(sources, merged):
    assert account(**sources) == merged


def test_usage_of_is_what_is_known_of_usage():
    assert usage_of(KNOWN) == KNOWN.usage
    failing = absorb(KNOWN, Reading('usage', 50.0, None, FAILURE, 80.0, 60.0))
    assert usage_of(failing) == Known(OLD, 4.0, FAILURE, 80.0, 60.0)


@pytest.mark.parametrize('failure', [None, FAILURE])
def test_a_failing_login_comes_before_failing_usage(failure):
    expired = Failure('token_expired')
    snapshot = KNOWN._replace(login=Known(None, None, expired),
                              usage=KNOWN.usage._replace(failure=failure))
    assert usage_of(snapshot) == Known(OLD, 4.0, expired, None, None)


@pytest.mark.parametrize('snapshot, numbers', [
    (Snapshot(), False), (SITUATIONS['waiting'], False), (SITUATIONS['no login'], False),
    (SITUATIONS['nothing'], False), (NORMAL, True), (SITUATIONS['only extra usage'], True),
    (SITUATIONS['token expired'], True), (SITUATIONS['rate limited'], True)])
def test_has_numbers(snapshot, numbers):
    assert has_numbers(snapshot) is numbers
