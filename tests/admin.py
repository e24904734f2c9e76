"""An Admin API on tests/server.py that answers as API.md, section 2, says, and knows its sums.

    organization = Organization(days=18)
    api = AdminApi(server, organization, page=7)        # pages of 7 rows at most
    api.faults['2026-11-07'] = Reply(500)               # one day's report fails
    ...
    assert known.total == organization.total(days)

What it serves comes from a seed; `add` and `charge` put more there, `rows` whatever is badly
shaped. Sums are exact: Decimals of cents by currency.
"""
import calendar
import random
import re
import threading
import time
from decimal import Decimal
from email.utils import formatdate
from typing import NamedTuple, Optional

from server import Reply

PATH = '/v1/organizations/'
KEY = 'sk-ant-admin01-SECRET-that-must-appear-nowhere'
JOHN = 'john@company.com'
MODELS = ('claude-opus-4-5', 'claude-sonnet-4-5', 'claude-haiku-4-5')
TERMINALS = ('vscode', 'iTerm.app', 'tmux')
KINDS = {400: 'invalid_request_error', 401: 'authentication_error', 403: 'permission_error',
         404: 'not_found_error', 429: 'rate_limit_error', 500: 'api_error',
         529: 'overloaded_error'}


class Spent(NamedTuple):
    """A model's cost in a row of the Claude Code report."""
    day: str
    who: str                    # an address in lower case, or the name of an API key
    model: str
    currency: str
    cents: Decimal


class Charge(NamedTuple):
    """A line of the bill."""
    day: str
    workspace: Optional[str]    # an id; None is the default one
    currency: str
    cents: Decimal


def seconds_of(day):
    """Epoch seconds of the start of a day, 'YYYY-MM-DD'."""
    return calendar.timegm(time.strptime(day, '%Y-%m-%d'))


def days_from(first, count):
    """The names of so many days."""
    return [time.strftime('%Y-%m-%d', time.gmtime(seconds_of(first) + 86400 * n))
            for n in range(count)]


def number(cents):
    """A Decimal as JSON has it; of so few digits a float tells exactly."""
    return int(cents) if cents == int(cents) else float(cents)


class Organization:
    """An organization and what it spent in some days: the same for the same arguments."""

    def __init__(self, first='2026-11-01', days=18, users=5, rows=4, busy=None, seed=4,
                 euros=False):
        self.euros = euros              # whether some of it is spent in euros
        self.name = 'Acme Corporation'
        self.users = [JOHN] + ['user%d@company.com' % n for n in range(1, users)]
        self.archived = set()           # ids among the workspaces
        self.workspaces = {'wrkspc_%02d' % n: 'Workspace %d' % n for n in range(1, 4)}
        self.days = days_from(first, days)
        self.spent, self.charges = [], []
        self.rows = {}          # day -> rows of the Claude Code report
        chance = random.Random(seed)
        for day in self.days:
            for n in range((busy or {}).get(day, rows)):
                self.add(day, self._anybody(chance, n), *self._amount(chance),
                         model=chance.choice(MODELS), terminal=TERMINALS[n % 3])
            for workspace in [None] + sorted(self.workspaces):
                if rows and chance.random() < 0.7:
                    self.charge(day, *self._amount(chance), workspace=workspace)

    def _anybody(self, chance, n):
        """A user, in some letter case, or an API key."""
        who = chance.choice(self.users + ['ci-key']) if n else JOHN
        return who.title() if chance.random() < 0.2 else who

    def _amount(self, chance):
        """Cents with thousandths, now and then a credit; the currency, rarely euros."""
        sign = -1 if chance.random() < 0.1 else 1
        cents = sign * Decimal(chance.randrange(900000)) / 1000
        return cents, 'EUR' if chance.random() < 0.1 and self.euros else 'USD'

    def add(self, day, who, cents, currency='USD', model=MODELS[0], terminal=TERMINALS[0]):
        """Spend on Claude Code: a row more."""
        cents = Decimal(cents)
        actor = {'type': 'user_actor', 'email_address': who} if '@' in who else {
            'type': 'api_actor', 'api_key_name': who}
        name = who.lower() if '@' in who else who
        self.spent.append(Spent(day, name, model, currency, cents))
        self.rows.setdefault(day, []).append({
            'date': day + 'T00:00:00Z', 'actor': actor, 'customer_type': 'api',
            'terminal_type': terminal, 'is_remote': terminal == 'tmux',
            'core_metrics': {'num_sessions': 2, 'lines_of_code': {'added': 90, 'removed': 7},
                             'commits_by_claude_code': 1, 'pull_requests_by_claude_code': 0},
            'tool_actions': {'edit_tool': {'accepted': 5, 'rejected': 1}},
            'model_breakdown': [{
                'model': model, 'estimated_cost': {'amount': number(cents), 'currency': currency},
                'tokens': {'input': 81, 'output': 420, 'cache_read': 9001,
                           'cache_creation': 77}}]})

    def charge(self, day, cents, currency='USD', workspace=None):
        """Put a line on the bill."""
        self.charges.append(Charge(day, workspace, currency, Decimal(cents)))

    def bucket(self, day, grouped=True):
        """A day's bucket in the cost report."""
        sums = summed(self.charges, (day,), 'workspace') if grouped else {
            (None, currency): cents for currency, cents in self.total((day,)).items()}
        nothing = dict.fromkeys(('description', 'model', 'cost_type', 'token_type',
                                 'service_tier', 'context_window'))
        return {'starting_at': day + 'T00:00:00Z',
                'ending_at': days_from(day, 2)[1] + 'T00:00:00Z',
                'results': [
                    dict(nothing, amount=str(cents), currency=currency, workspace_id=workspace)
                    for (workspace, currency), cents in sums.items()]}

    def claude_code(self, by, days=None):
        """{(value of the field `by`, currency): cents} of some days, or of all."""
        return summed(self.spent, days, by)

    def own(self, email, days=None):
        """currency -> cents of one user."""
        return summed((spent for spent in self.spent if spent.who == email), days)

    def total(self, days=None):
        """currency -> cents of the bill."""
        return summed(self.charges, days)

    def by_workspace(self, days=None):
        """{(name of the workspace, currency): cents}."""
        return {(self.workspaces.get(workspace, 'Default'), currency): cents for
                (workspace, currency), cents in summed(self.charges, days, 'workspace').items()}


def summed(entries, days=None, by=None):
    """Sums of cents by currency, or by a field and currency."""
    sums = {}
    for entry in entries:
        if days is None or entry.day in days:
            key = (getattr(entry, by), entry.currency) if by else entry.currency
            sums[key] = sums.get(key, 0) + entry.cents
    return sums


class Refused(Exception):
    """A request that the API answers with an error."""


def error(status, message, **headers):
    """The Reply of an error in the API's form."""
    return Reply(status, {'type': 'error', 'request_id': 'req_011CSHoEeqs5C35K2UUqR7Fy',
                          'error': {'type': KINDS[status], 'message': message}}, headers)


class AdminApi:
    """Answers at a server for an organization, in pages of at most so many rows.

    `faults` maps a day, or the last word of a path, to what is answered there instead: a Reply,
    or a function of the Request that returns one, or None for the usual answer. `date` is the
    time that its Date header tells. `most_at_once` is how many requests it had at a time.
    """

    def __init__(self, server, organization, key=KEY, page=1000, date=None):
        self.server, self.organization = server, organization
        self.key, self.page, self.date = key, page, date
        self.faults = {}
        self.most_at_once = self._at_once = 0
        self._gate = None
        self._changed = threading.Condition()
        for path, (answer, names) in self.ENDPOINTS.items():
            server.answer(PATH + path, self._answer(answer, names))

    def requests(self, word=''):
        """The requests of the API so far, or of a report or list of it."""
        return [request for request in self.server.requests
                if request.path.startswith(PATH) and request.path.endswith(word)]

    def hold_until(self, count, seconds):
        """Hold the next reports until so many requests are there, or the seconds have passed."""
        self._gate = count, seconds

    def _answer(self, answer, names):
        """The function that the server calls with a Request of one endpoint."""
        def reply(request):
            with self._changed:
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
                self._changed.notify_all()
                if self._gate and 'starting_at' in request.query:
                    self._wait_at_gate()
            try:
                made = self._reply(request, answer, names)
            finally:
                with self._changed:
                    self._at_once -= 1
            dated = {'Date': formatdate(self.date, usegmt=True)} if self.date else {}
            return made._replace(headers=dict(dated, **made.headers))
        return reply

    def _wait_at_gate(self):
        count, seconds = self._gate
        self._changed.wait_for(lambda: not self._gate or self._at_once >= count, seconds)
        self._gate = None
        self._changed.notify_all()

    def _reply(self, request, answer, names):
        query = request.query
        fault = self.faults.get(query.get('starting_at', [''])[0],
                                self.faults.get(request.path.split('/')[-1]))
        fault = fault(request) if callable(fault) else fault
        if fault:
            return fault
        try:
            self._check(request, names)
            return Reply(body=answer(self, {name: values[0] for name, values in query.items()}))
        except Refused as refused:
            return error(*refused.args)

    def _check(self, request, names):
        if request.headers.get('x-api-key') != self.key:
            raise Refused(401, 'invalid x-api-key')
        if request.headers.get('anthropic-version') != '2023-06-01':
            raise Refused(400, 'anthropic-version: header is required')
        for name, values in request.query.items():
            if name not in names.split():
                raise Refused(400, name + ': Extra inputs are not permitted')
            if len(values) > 1:
                raise Refused(400, name + ': Input should be one value')

    def me(self, query):
        """The organization."""
        return {'id': '5e0f7f7a-95b4-44f8-8a3c-1f6fb22bb002', 'type': 'organization',
                'name': self.organization.name}

    def users(self, query):
        """A page of the users."""
        return self._listing(query, [
            {'id': 'user_%06d' % n, 'type': 'user', 'email': email, 'role': 'developer',
             'name': email.split('@')[0].title(), 'added_at': '2025-02-14T09:30:00Z'}
            for n, email in enumerate(self.organization.users)])

    def workspaces(self, query):
        """A page of the workspaces."""
        return self._listing(query, [
            {'id': key, 'type': 'workspace', 'name': name, 'display_color': '#6C5BB9',
             'created_at': '2025-02-14T09:30:00Z',
             'archived_at': '2026-11-02T10:00:00Z' if key in self.organization.archived else None}
            for key, name in sorted(self.organization.workspaces.items())
            if key not in self.organization.archived or query.get('include_archived') == 'true'])

    def _listing(self, query, items):
        """A page of a list, of which the next is named by its last id."""
        ids = [''] + [item['id'] for item in items]
        after = query.get('after_id', '')
        if after not in ids:
            raise Refused(400, 'after_id: no such object')
        start, size = ids.index(after), self._size(query, 20, 1000)
        data = items[start:start + size]
        return {'data': data, 'has_more': start + size < len(items),
                'first_id': data[0]['id'] if data else None,
                'last_id': data[-1]['id'] if data else None}

    def cost_report(self, query):
        """A page of the bill: a bucket a day, quiet ones too."""
        if query.get('bucket_width', '1d') != '1d':
            raise Refused(400, "bucket_width: Input should be '1d'")
        if query.get('group_by[]') not in (None, 'workspace_id', 'description'):
            raise Refused(400, "group_by: Input should be 'workspace_id' or 'description'")
        start, end = (self._moment(query, name) for name in ('starting_at', 'ending_at'))
        if end <= start:
            raise Refused(400, 'ending_at: must be after starting_at')
        grouped = query.get('group_by[]') == 'workspace_id'
        days = days_from(query['starting_at'][:10], int(end - start) // 86400)
        return self._paged(query, [self.organization.bucket(day, grouped) for day in days],
                           7, 31)

    def _moment(self, query, name):
        """Epoch seconds of midnight in RFC 3339."""
        if not re.match(r'\d{4}-\d\d-\d\dT00:00:00Z$', query.get(name, '')):
            raise Refused(400, name + ': Input should be a valid datetime')
        return seconds_of(query[name][:10])

    def claude_code(self, query):
        """A page of one day's rows."""
        day = query.get('starting_at', '')
        if not re.match(r'\d{4}-\d\d-\d\d$', day):
            raise Refused(400, 'starting_at: Input should be a date, YYYY-MM-DD')
        return self._paged(query, self.organization.rows.get(day, []), 20, 1000)

    def _paged(self, query, rows, usual, most):
        """A page of a report, of which the next is named by a token for this query only."""
        size = self._size(query, usual, most)
        mark = 'page_%s_' % query['starting_at'][:10]
        token = query.get('page', mark + '0')
        if not re.match(re.escape(mark) + r'\d+$', token):
            raise Refused(400, 'page: invalid page token')
        end = int(token[len(mark):]) + size
        more = end < len(rows)
        return {'data': rows[end - size:end], 'has_more': more,
                'next_page': mark + str(end) if more else None}

    def _size(self, query, usual, most):
        """How many rows a page has: as many as wanted, if this server lets it."""
        limit = query.get('limit', str(usual))
        if not limit.isdigit() or not 1 <= int(limit) <= most:
            raise Refused(400, 'limit: Input should be from 1 to %d' % most)
        return min(int(limit), self.page)

    ENDPOINTS = {
        'me': (me, ''), 'users': (users, 'limit after_id before_id'),
        'workspaces': (workspaces, 'limit after_id before_id include_archived'),
        'cost_report': (cost_report, 'starting_at ending_at bucket_width group_by[] limit page'),
        'usage_report/claude_code': (claude_code, 'starting_at limit page'),
    }
