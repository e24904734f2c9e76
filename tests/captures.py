"""Replies and files as they were captured in the wild, as Python values. Names are invented.

They are shared by all tests: one that needs a variation makes a copy, `dict(USAGE_2025, ...)`.
"""

TOKEN = 'sk-ant-oat01-SECRET-that-must-appear-nowhere'
"""The access token of every capture: a test looks for SECRET in whatever the program emits."""

REFRESH_TOKEN = 'sk-ant-ort01-SECRET-that-must-never-be-sent'


# --- GET /api/oauth/usage ---

QUIET = {'five_hour': {'utilization': 78.0, 'resets_at': None},
         'seven_day': {'utilization': 34.0, 'resets_at': None}}
"""A reply whose picture does not change while time passes."""

USAGE_2025 = {
    'five_hour': {'utilization': 78.0, 'resets_at': '2025-11-13T04:00:00+00:00'},
    'seven_day': None, 'seven_day_oauth_apps': None, 'seven_day_opus': None}
"""The first shape, of November 2025."""

USAGE_NOT_STARTED = {
    'five_hour': {'utilization': 0.0, 'resets_at': None},
    'seven_day': {'utilization': 99.0, 'resets_at': '2026-03-11T19:00:00.536264+00:00'},
    'seven_day_oauth_apps': None, 'seven_day_opus': None,
    'seven_day_sonnet': {'utilization': 2.0, 'resets_at': '2026-03-12T11:00:00.536285+00:00'},
    'seven_day_cowork': None, 'iguana_necktie': None,
    'extra_usage': {'is_enabled': False, 'monthly_limit': None, 'used_credits': None,
                    'utilization': None}}
"""March 2026, no five-hour session under way."""


def _window(utilization, resets_at):
    """A window with the nullable keys that it has since July 2026."""
    return {'utilization': utilization, 'resets_at': resets_at, 'limit_dollars': None,
            'used_dollars': None, 'remaining_dollars': None, 'locked_reason': None}


USAGE_2026 = {
    'five_hour': _window(11.0, '2026-07-03T00:30:00.282668+00:00'),
    'seven_day': _window(9.0, '2026-07-08T09:00:00.282694+00:00'),
    'seven_day_oauth_apps': None, 'seven_day_opus': None, 'seven_day_sonnet': None,
    'seven_day_cowork': None, 'iguana_necktie': None,
    'seven_day_omelette': _window(0.0, None),
    'tangelo': None, 'nimbus_quill': None, 'cinder_cove': None, 'amber_ladder': None,
    'extra_usage': {'is_enabled': False, 'monthly_limit': None, 'used_credits': None,
                    'utilization': None, 'currency': None, 'decimal_places': None,
                    'disabled_reason': None},
    'limits': [
        {'kind': 'session', 'group': 'session', 'percent': 11, 'severity': 'normal',
         'resets_at': '2026-07-03T00:30:00.282668+00:00', 'scope': None, 'is_active': True},
        {'kind': 'weekly_all', 'group': 'weekly', 'percent': 9, 'severity': 'normal',
         'resets_at': '2026-07-08T09:00:00.282694+00:00', 'scope': None, 'is_active': False},
        {'kind': 'weekly_scoped', 'group': 'weekly', 'percent': 5, 'severity': 'normal',
         'resets_at': '2026-07-08T09:00:00.283070+00:00',
         'scope': {'model': {'id': None, 'display_name': 'Fable'}, 'surface': None},
         'is_active': False}]}
"""July 2026: code-named windows, and `limits`, where the limit of a single model now lives."""

USAGE_ENTERPRISE = {
    'extra_usage': {'is_enabled': True, 'monthly_limit': 2000, 'used_credits': 763,
                    'utilization': 38.15, 'currency': 'EUR'}}
"""An enterprise account without any window: EUR 7.63 of 20.00."""

USAGE_SPEND = dict(USAGE_2026, extra_usage={
    'is_enabled': True, 'monthly_limit': 5000, 'used_credits': 1234, 'utilization': 24.68,
    'currency': 'USD', 'decimal_places': 2, 'disabled_reason': None, 'user_disabled': False,
    'spend_limit_reached': False,
}, spend={
    'used': {'amount_minor': 1234, 'currency': 'USD', 'exponent': 2},
    'limit': {'amount_minor': 5000, 'currency': 'USD', 'exponent': 2},
    'percent': 24.68, 'severity': 'normal', 'enabled': True, 'disabled_reason': None})
"""The newer `spend` beside `extra_usage`, both saying $12.34 of $50.00."""


# --- GET /api/oauth/profile ---

PROFILE = {
    'account': {
        'uuid': '0b9f6f0e-3c55-4a55-9d39-5c1ac9f0a001', 'full_name': 'Jane Doe',
        'display_name': 'Jane', 'email': 'jane@example.com', 'has_claude_max': False,
        'has_claude_pro': False, 'created_at': '2025-02-14T09:30:00.123456+00:00'},
    'organization': {
        'uuid': '5e0f7f7a-95b4-44f8-8a3c-1f6fb22bb002', 'name': 'Example Corp',
        'organization_type': 'claude_enterprise', 'billing_type': 'stripe_subscription',
        'rate_limit_tier': 'default_raven_enterprise', 'seat_tier': None,
        'has_extra_usage_enabled': True, 'subscription_status': 'active',
        'subscription_created_at': '2025-03-01T00:00:00+00:00'},
    'application': {
        'uuid': '9d1c250a-0000-4000-8000-00000000c003', 'name': 'Claude Code',
        'slug': 'claude-code'}}

PROFILE_MAX = {
    'account': dict(PROFILE['account'], has_claude_max=True),
    'organization': dict(
        PROFILE['organization'], name="jane@example.com's Organization",
        organization_type='claude_max', rate_limit_tier='default_claude_max_20x',
        has_extra_usage_enabled=False),
    'application': PROFILE['application']}


# --- Errors ---

ERROR_401 = {
    'type': 'error', 'error': {
        'type': 'authentication_error',
        'message': 'OAuth token has expired. Please obtain a new token or refresh your existing '
                   'token.',
        'details': {'error_visibility': 'user_facing', 'error_code': 'token_expired'}},
    'request_id': 'req_011CSHoEeqs5C35K2UUqR7Fy'}

ERROR_403_SCOPE = {
    'type': 'error', 'error': {
        'type': 'permission_error',
        'message': 'OAuth token does not meet scope requirement user:profile',
        'details': {'error_visibility': 'user_facing'}},
    'request_id': 'req_011CSHoEeqs5C35K2UUqR7Fz'}

ERROR_429 = {
    'error': {'type': 'rate_limit_error', 'message': 'Rate limited. Please try again later.'}}

ERROR_529 = {
    'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'Overloaded'},
    'request_id': 'req_011CSHoEeqs5C35K2UUqR7G1'}

EDGE_HTML = '''<html>
<head><title>502 Bad Gateway</title></head>
<body>
<center><h1>502 Bad Gateway</h1></center>
<hr><center>cloudflare</center>
</body>
</html>
'''
"""What the network in front of the API answers when the API does not."""


# --- Files of Claude Code ---

CREDENTIALS = {
    'claudeAiOauth': {
        'accessToken': TOKEN, 'refreshToken': REFRESH_TOKEN,
        'expiresAt': 4102444800000,                 # ms: 2100-01-01
        'scopes': ['user:inference', 'user:profile', 'user:sessions:claude_code'],
        'subscriptionType': 'max', 'rateLimitTier': 'default_claude_max_20x'},
    'mcpOAuth': {}}
"""~/.claude/.credentials.json of somebody who is logged in."""

LOGGED_OUT = {
    'claudeAiOauth': {
        'accessToken': '', 'refreshToken': '', 'expiresAt': 0, 'scopes': [],
        'subscriptionType': None, 'rateLimitTier': None}}
"""What `/logout` leaves of it, where it leaves anything."""

CLAUDE_JSON = {
    'numStartups': 42,
    'oauthAccount': {
        'accountUuid': PROFILE['account']['uuid'],
        'emailAddress': PROFILE['account']['email'],
        'organizationUuid': PROFILE['organization']['uuid'],
        'organizationName': PROFILE_MAX['organization']['name'],
        'displayName': PROFILE['account']['display_name'],
        'organizationType': 'claude_max',
        'organizationRateLimitTier': 'default_claude_max_20x'}}
"""~/.claude.json: who that is, known without any request."""
