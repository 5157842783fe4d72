"""What schemathesis is to know of this interface beyond its description.

A status of 500 is not always a failure of the server: Consul answers so where a request does not fit the present state,
in words that its clients look for. Those words are listed here, with the section of the contract that has them; any
other answer of 500 and above fails the run.
"""

import re

import schemathesis

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
    (r"\d+/\d+ nodes reported failure: ", "17"),
    (r"the archive ", "16"),
    (r"Must provide a Service name to query|query name |Bad (DNS TTL|Name|Service|Near|NearestN|Peer|Template)\b", "15"),
    # What is wrong with an entry: the place, the field, and what it must be.
    (r"([\w.\[\]]+: )?[A-Z][\w.]+ must (be|have) ", "19"),
]


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """Reads do not wait for news that never comes, and answers are small."""
    if case.query and ("index" in case.query or "wait" in case.query or "hash" in case.query):
        case.query["wait"] = "10ms"


@schemathesis.check
def no_failure_of_the_server(ctx, response, case):
    """Every answer of 500 is one of the refusals that the contract has, and there is none above."""
    if response.status_code < 500:
        return
    text = response.text
    refused = response.status_code == 500 and any(re.match(words, text) for words, _ in REFUSALS)
    assert refused, f"{response.status_code}: {text[:300]}"
