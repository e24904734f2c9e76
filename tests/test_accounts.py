"""Several accounts: a box each, one of two with one account, and what scripts get of them."""
import json
import os
import re
import shutil
import subprocess

import pytest
from samples import FIVE_HOUR, NOW, SEVEN_DAY, UI

import captures
from claude_usage import (Account, Credentials, Failure, Known, Login, Moment, Reading, Snapshot,
                          Turn, Ui, Usage, absorb, account_names, accounts_of, as_json,
                          as_metrics, cells, compose, env_of, press)
from server import Reply
from terminal import COMMAND, QUICK, ROOT, Terminal, command, environment

PLACES = ('/a', '/b', '/c', '/d')
PLACED = UI._replace(place='/a', places=PLACES)


def known(**uuids):
    """What is known of four directories: three accounts, and one without a login."""
    snapshot = Snapshot()
    for index, place in enumerate(PLACES[:3]):
        uuid = uuids.get(place[1:], place)
        account = Account(uuid, 'User', 'user%s@example.com' % place[1:])
        usage = Usage((FIVE_HOUR._replace(used=10.0 + index, at=NOW), SEVEN_DAY), NOW)
        for source, value in (('identity', account), ('usage', usage)):
            snapshot = absorb(snapshot, Reading(place, source, Known(value, NOW,
                                                                     phase='planned')))
    failed = Known(failure=Failure('no_credentials'), phase='planned')
    return absorb(snapshot, Reading('/d', 'usage', failed))


def shown(snapshot, size, ui=PLACED):
    """The text of a screen."""
    frame = compose(snapshot, ui, size, Moment(NOW))
    return '\n'.join(''.join(span.text for span in line) for line in frame.lines)


def test_a_box_each():
    text = shown(known(), (160, 45))
    for words in ('┌ usera@example.com ─', '┌ userb@example.com ─', '┌ userc@example.com ─',
                  '┌ /d ─', 'No Claude Code login found.', '  10%', '  11%', '  12%'):
        assert words in text
    assert [line.count('┌') for line in text.split('\n')].count(2) == 2, 'in two columns'
    text = shown(known(), (80, 24))
    assert re.findall('┌ (\\S+)', text) == ['usera@example.com', 'userb@example.com',
                                            'userc@example.com', '/d']


def test_every_size():
    for panel in range(5):
        for width in (1, 12, 16, 28, 47, 80, 94, 131):
            for height in (1, 2, 3, 5, 9, 11, 16, 24, 30, 45):
                lines = shown(known(), (width, height), PLACED._replace(panel=panel)).split('\n')
                assert len(lines) == height and {cells(line) for line in lines} == {width}


def test_two_directories_with_one_account_are_one_box():
    assert accounts_of(known(b='/a'), PLACED) == ['/a', '/c', '/d']
    assert 'userb' not in shown(known(b='/a'), (160, 45))
    assert accounts_of(Snapshot(), UI) == [UI.place]
    assert accounts_of(known(), PLACED._replace(mode='console')) == ['/a']


def test_the_one_with_a_login_counts():
    both = known(b='/a')
    logins = {'/a': Failure('token_expired'), '/b': Login('token', None, Account())}
    for place, login in logins.items():
        both[place, 'credentials'] = Known(Credentials(login, Failure('x'), 'code'))
    assert accounts_of(both, PLACED) == ['/b', '/c', '/d']


def test_names_that_are_the_same_are_told_apart():
    same = known()
    same['/b', 'identity'] = Known(same['/a', 'identity'].value._replace(uuid='/b'))
    assert account_names(same, 'code', PLACES[:3]) == {
        '/a': 'usera@example.com /a', '/b': 'usera@example.com /b', '/c': 'userc@example.com'}


def test_tab_goes_through_them():
    ui, seen = PLACED, []
    for _ in range(4):
        text = shown(known(), (80, 12), ui)
        seen.append(re.search('┌ (\\S+)', text).group(1))
        ui = press(ui, 'tab', known(), None, NOW)
    assert seen == ['usera@example.com', 'userb@example.com', 'userc@example.com', '/d']
    assert ui.panel == 0


def test_documents():
    document = json.loads(as_json(known(), PLACES, Moment(NOW), 'code'))
    assert document['schema'] == 1 and len(document['accounts']) == 4
    assert [each['account']['email'] for each in document['accounts']][:2] == [
        'usera@example.com', 'userb@example.com']
    text = as_metrics(known(), PLACES, Moment(NOW), 'code')
    assert 'used_ratio{account="userb@example.com",limit="five_hour"} 0.11' in text
    assert 'claude_usage_up{account="/d"} 0' in text
    assert text.count('# TYPE claude_usage_up gauge') == 1
    assert 'account=' not in as_metrics(known(), ('/a',), Moment(NOW), 'code')


def test_requests_for_two_accounts_are_a_second_apart():
    turn = Turn()
    assert turn.is_ours('a', 100) and turn.is_ours('a', 100.1)
    assert not turn.is_ours('b', 100.5) and turn.is_ours('b', 101.2)


def test_the_default_directory(monkeypatch):
    monkeypatch.setenv('HOME', '/home/jane')
    env = {'CLAUDE_CONFIG_DIR': '/x', 'CLAUDE_SECURESTORAGE_CONFIG_DIR': '/y', 'A': 'b'}
    assert env_of('/home/jane/.claude', env) == {'A': 'b'}
    assert env_of('/work', env) == {'A': 'b', 'CLAUDE_CONFIG_DIR': '/work'}


def test_one_account_as_before():
    assert Ui().places == () and shown(known(), (80, 24), UI._replace(place='/a')).startswith(
        '┌ Claude Code Usage ─')


def make_folder(path, name):
    """A config directory with a login and an identity of that name."""
    path.mkdir()
    token = dict(captures.CREDENTIALS['claudeAiOauth'], accessToken='sk-ant-oat01-' + name)
    (path / '.credentials.json').write_text(json.dumps({'claudeAiOauth': token}))
    account = dict(captures.CLAUDE_JSON['oauthAccount'], accountUuid=name,
                   emailAddress=name + '@example.com')
    (path / '.claude.json').write_text(json.dumps({'oauthAccount': account}))
    return str(path)


@pytest.mark.slow
def test_as_a_process(server, tmp_path):
    folders = [make_folder(tmp_path / name, name) for name in ('one', 'two')]

    def usage(request):
        used = 20 if request.headers['authorization'].endswith('one') else 60
        return Reply(body={'five_hour': {'utilization': used, 'resets_at': None}})
    server.answer('/api/oauth/usage', usage)
    server.answer('/api/oauth/profile', Reply(body=captures.PROFILE))
    env = environment(tmp_path, CLAUDE_USAGE_API_URL=server.url,
                      CLAUDE_USAGE_CONFIG_DIRS=os.pathsep.join(folders))

    def run(*args):
        return subprocess.run(COMMAND + list(args), cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='utf-8',
                              timeout=60)
    assert run('--best').stdout == folders[0] + '\n'
    assert (run('--check', '50').returncode, run('--check', '90').returncode) == (3, 0)
    accounts = json.loads(run('--json').stdout)['accounts']
    assert [each['limits'][0]['used_percent'] for each in accounts] == [20, 60]
    assert [request.path for request in server.requests].count('/api/oauth/usage') == 2


# Files in a directory of that name do not answer, as on a mount whose server is gone.
DEAD = """
import os, time
def slow(real):
    def call(path, *args, **more):
        while '/dead' in str(path):
            time.sleep(9)
        return real(path, *args, **more)
    return call
os.stat, os.lstat, os.open = slow(os.stat), slow(os.lstat), slow(os.open)
"""


@pytest.mark.slow
def test_bad_luck_of_some_does_not_hold_up_the_others(server, tmp_path):
    """A dead mount, an unreadable directory, one without a login, and an account at 429."""
    folders = [make_folder(tmp_path / ('good%d' % n), 'good%d' % n) for n in range(8)]
    limited, file, empty, dead = (tmp_path / name for name in ('limited', 'file', 'empty', 'dead'))
    folders[:0] = [str(dead), make_folder(limited, 'limited'), str(file), str(empty)]
    file.write_text('no directory')
    empty.mkdir()

    def usage(request):
        if request.headers['authorization'].endswith('limited'):
            return Reply(429, captures.ERROR_429)
        return Reply(body={'five_hour': {'utilization': 37, 'resets_at': None}})
    server.answer('/api/oauth/usage', usage)
    server.answer('/api/oauth/profile', Reply(500))
    argv = command(DEAD, ACCOUNT_SECONDS=0.1, **QUICK) + [
        '--api-url', server.url]
    env = environment(tmp_path, CLAUDE_USAGE_CONFIG_DIRS=os.pathsep.join(folders))
    with Terminal(argv, (200, 90), env=env) as terminal:
        terminal.wait_for(lambda it: it.text().count('37%') == 8)
        terminal.shows('~/dead', 'Rate limited', 'No Claude Code login found')
        # One of them logs in as somebody else while it runs.
        shutil.rmtree(folders[-1])
        make_folder(tmp_path / 'good7', 'other')
        terminal.shows('other@example.com', gone=['good7@example.com'])
    done = subprocess.run(argv + ['--json'], cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, encoding='utf-8', timeout=60)
    accounts = json.loads(done.stdout)['accounts']
    assert [account['sources']['usage']['error'] for account in accounts] == [
        'timeout', 'rate_limited', 'no_credentials', 'no_credentials'] + [None] * 8
