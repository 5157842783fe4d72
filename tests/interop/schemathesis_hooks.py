"""What schemathesis is to know of this interface beyond its description.

A status of 500 is not always a failure of the server: Consul answers so where a request does not fit the present state,
in words that its clients look for. Those words are listed here, with the section of the contract that has them; any
other answer of 500 and above fails the run.
"""

import atexit
import collections
import itertools
import os
import re

import schemathesis

# What may do everything on a node with access control; unset on a node without.
TOKEN = os.environ.get("CALLBOARD_TOKEN")

# Nobody has it.
WRONG = "00000000-0000-4000-8000-0000000000ff"

# How many answers there were of each status.
STATUSES = collections.Counter()

# Of eight requests, one gives no token and one a wrong one. Turns are no dice: the seed repeats them, too.
TURNS = itertools.cycle([None, TOKEN, TOKEN, TOKEN, WRONG, TOKEN, TOKEN, TOKEN])

REFUSALS = [
    # (what the text begins with, where the contract says so)
    (r"No path to datacenter$", "2.2"),
    (r"Must provide node$", "9.1"),
    (r"Must provide address if SkipNodeUpdate is not set$", "9.1"),
    (r"Must provide service name with ID", "9.1"),
    (r"Invalid service address", "9.1"),
    (r"Bad node ID", "9.1"),
    (r"Missing service registration$", "9.1"),
    (r"Missing node registration$", "12.1"),
    (r"check node ", "9.1"),
    (r"failed inserting node: ", "9.1"),
    (r"Invalid Session TTL|Session TTL '", "12.1"),
    (r"Invalid Behavior setting", "12.1"),
    (r"Missing check '|Check '", "12.1"),
    (r"invalid session ", "11.2"),
    (r"CheckID \".*\" does not have associated TTL", "6.12"),
    (r"user event exceeds configured limit", "14"),
    (r"Cannot provide tag filter without service filter", "14"),
    (r"Invalid (node|service|tag) filter: ", "14"),
    (r"invalid config entry kind: ", "19"),
    (r"Name is required$", "19"),
    (r"invalid name \(", "19"),
    (r"no splits configured$", "19"),
    (r"\d+/\d+ nodes reported failure: ", "17"),
    (r"the archive ", "16"),
    (r"Must provide a Service name to query|query name |Bad (DNS TTL|Name|Service|Near|NearestN|Peer|Template)\b", "15"),
    # Access control: recorded are a name that cannot be one, a name that is taken, rules that cannot be read, an id that
    # is none, a link to nothing, and the end of what is built in. Its other parts are refused in the same way.
    (r"Invalid (Policy|Role|Token|Auth Method|AuthMethod|Binding Rule|BindingRule): ", "18.3"),
    (r"Invalid (Token (AccessorID|SecretID)|policy ID|role ID|binding rule ID)\b.*: ", "18.3"),
    (r"No such ACL (policy|role|auth method|binding rule|templated policy) with ", "18.3"),
    (r"Delete operation not permitted on the anonymous token$", "18.3"),
    (r"\w+ operation on the builtin [\w/-]+ policy is not permitted$", "18.3"),
    (r"Changing (a token's|an auth method's|the Rules of the builtin) ", "18.3"),
    (r"(Service|Node) identity \".*\" (has an invalid name|is missing the datacenter field)", "18.3"),
    (r"Invalid rules: |Invalid [a-z_]+ (policy: |rule( on .*)?: )", "18.4"),
    # What is wrong with an entry: the place, the field, and what it must be.
    (r"([\w.\[\]]+: )?[A-Za-z][\w. ]+ must (be|have|not contain) ", "19"),
]


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Reads do not wait for news that never comes; where tokens count, one is given or left out."""
    if TOKEN:
        give(case, next(TURNS))
    if case.query and ("index" in case.query or "wait" in case.query or "hash" in case.query):
        case.query["wait"] = "10ms"


# Tells by its status how a service is; 503 is that it is critical: the contract's 6.13.
HEALTH = "/v1/agent/health/service/"


def give(case, token):
    """Replaces whatever token a request was made with."""
    for name in [name for name in case.headers or {} if name.lower() in ("x-consul-token", "authorization")]:
        del case.headers[name]
    if case.query:
        case.query.pop("token", None)
    if token:
        case.headers["X-Consul-Token"] = token


@schemathesis.hook
def after_call(ctx, case, response):
    STATUSES[response.status_code] += 1


@atexit.register
def tell():
    print("statuses:", ", ".join(f"{count} times {status}" for status, count in sorted(STATUSES.items())))


@schemathesis.check
def no_failure_of_the_server(ctx, response, case):
    """Every answer of 500 is one of the refusals that the contract has, and there is none above but a critical service's."""
    if response.status_code < 500:
        return
    if response.status_code == 503 and case.path.startswith(HEALTH):
        return
    text = response.text
    refused = response.status_code == 500 and any(re.match(words, text) for words, _ in REFUSALS)
    assert refused, f"{response.status_code}: {text[:300]}"
