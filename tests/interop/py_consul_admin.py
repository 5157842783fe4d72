"""The cases of py-consul's methods for those who run a cluster: queries, coordinates, operator, certificates, access
control, snapshots, and the agent itself. Imported by py_consul.py, which says how they are run; the last case ends the
node.
"""

import json
import os
import signal
import socket
import sys
import threading

import consul
import requests
from consul.exceptions import ACLDisabled, ACLPermissionDenied, ClientError
from methods import case, raises, until

SETTINGS = json.loads(sys.argv[1])
Refused = consul.ConsulException

# The ten kinds of digits of nobody's key.
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
NOBODY = "6a3c1f0e-0000-4000-8000-000000000001"


# Prepared queries.


@case("query.create")
def _(c, a):
    for port in [80, 81]:
        assert c.agent.service.register("asked", service_id=f"asked-{port}", port=port, tags=["t"])
    query = c.query.create("asked", name="near", ttl="10s", onlypassing=True, tags=["t"], nearestn=3, datacenters=["dc1"])
    assert c.query.get(query["ID"])[0]["Service"]["Service"] == "asked"
    assert "aliases an existing query name" in raises(Refused, c.query.create, "asked", name="near")
    assert c.query.delete(query["ID"])


@case("query.list")
def _(c, a):
    assert c.query.list() == []
    query = c.query.create("asked", name="listed", dc="dc1")
    assert [entry["ID"] for entry in c.query.list()] == [query["ID"]]
    assert c.query.delete(query["ID"])


@case("query.get")
def _(c, a):
    query = c.query.create("asked", name="got", regexp="^got(.*)$")
    entry = c.query.get(query["ID"])[0]
    assert entry["Name"] == "got" and entry["Template"]["Regexp"] == "^got(.*)$", entry
    assert c.query.get(NOBODY) is None
    assert c.query.delete(query["ID"])


@case("query.update")
def _(c, a):
    query = c.query.create("asked", name="before")["ID"]
    assert c.query.update(query, "asked", name="after", onlypassing=True) is True
    assert c.query.get(query)[0]["Name"] == "after"
    assert c.query.delete(query)


@case("query.delete")
def _(c, a):
    query = c.query.create("asked")["ID"]
    assert c.query.delete(query) is True
    assert c.query.get(query) is None


@case("query.execute")
def _(c, a):
    query = c.query.create("asked", name="run", tags=["t"], ttl="10s")["ID"]
    # The package makes templates of all of them, and those are found by name alone.
    answer = c.query.execute("run")
    assert "by name, not by ID" in raises(Refused, c.query.execute, query)
    assert answer["Service"] == "asked" and answer["DNS"]["TTL"] == "10s" and len(answer["Nodes"]) == 2, answer
    assert len(c.query.execute("runner", near="_agent", limit=1)["Nodes"]) == 1
    assert c.query.execute("nothing") is None
    assert c.query.delete(query)


@case("query.explain")
def _(c, a):
    query = c.query.create("asked", name="explained")["ID"]
    assert c.query.explain("explained")["Query"]["Service"]["Service"] == "asked"
    assert c.query.delete(query)
    for port in [80, 81]:
        assert c.agent.service.deregister(f"asked-{port}")


# Coordinates.


@case("coordinate.datacenters")
def _(c, a):
    found = c.coordinate.datacenters()
    assert set(found[0]) == {"Datacenter", "AreaID", "Coordinates"} and found[0]["Datacenter"] == "dc1", found


@case("coordinate.update")
def _(c, a):
    place = {"Vec": [0.001] * 8, "Error": 1.5, "Adjustment": 0, "Height": 1e-5}
    assert c.coordinate.update("n1", place, dc="dc1")
    until("the coordinate", lambda: c.coordinate.node("n1")[1])


@case("coordinate.node")
def _(c, a):
    index, found = c.coordinate.node("n1", consistency="stale")
    assert found[0]["Node"] == "n1" and len(found[0]["Coord"]["Vec"]) == 8 and int(index) > 0, found
    assert c.coordinate.node("nobody")[1] is None


@case("coordinate.nodes")
def _(c, a):
    _, found = c.coordinate.nodes(consistency="consistent")
    assert [entry["Node"] for entry in found] == ["n1"], found
    assert found[0]["Coord"]["Height"] > 0


# Operator.


@case("operator.raft_config")
def _(c, a):
    found = c.operator.raft_config()
    (server,) = found["Servers"]
    assert server["Node"] == "n1" and server["Leader"] is True and server["Voter"] is True, found
    assert server["Address"] == c.status.leader()


@case("operator.raft_remove_peer")
def _(c, a):
    assert "was not found" in raises(Refused, c.operator.raft_remove_peer, address="127.0.0.9:8300")
    assert "was not found" in raises(Refused, c.operator.raft_remove_peer, peer_id=NOBODY)
    assert "Must specify either" in raises(Refused, c.operator.raft_remove_peer)


@case("operator.raft_transfer_leader")
def _(c, a):
    assert "cannot find peer" in raises(Refused, c.operator.raft_transfer_leader)


@case("operator.autopilot_configuration")
def _(c, a):
    found = c.operator.autopilot_configuration(dc="dc1")
    assert found["CleanupDeadServers"] is True and found["LastContactThreshold"] == "200ms", found


@case("operator.update_autopilot_configuration")
def _(c, a):
    change = c.operator.update_autopilot_configuration
    assert change(cleanup_dead_servers=False, last_contact_threshold="300ms", max_trailing_logs=300, min_quorum=0,
                  server_stabilization_time="5s", disable_upgrade_migration=False) is True
    found = c.operator.autopilot_configuration()
    assert found["CleanupDeadServers"] is False and found["MaxTrailingLogs"] == 300, found
    assert change(cleanup_dead_servers=True, cas=found["ModifyIndex"] + 1) is False
    assert change(cleanup_dead_servers=True, last_contact_threshold="200ms", max_trailing_logs=250,
                  server_stabilization_time="10s", cas=found["ModifyIndex"]) is True


@case("operator.autopilot_health")
def _(c, a):
    found = until("health", lambda: (lambda health: health["Healthy"] and health)(c.operator.autopilot_health()))
    assert found["Servers"][0]["Name"] == "n1" and found["FailureTolerance"] == 0, found




@case("operator.keyring_list")
def _(c, a):
    # The gossip of this node is not encrypted.
    assert "500" in raises(Refused, c.operator.keyring_list)


@case("operator.keyring_install")
def _(c, a):
    assert "500" in raises(Refused, c.operator.keyring_install, KEY)


@case("operator.keyring_use")
def _(c, a):
    assert "500" in raises(Refused, c.operator.keyring_use, KEY)


@case("operator.keyring_remove")
def _(c, a):
    assert "500" in raises(Refused, c.operator.keyring_remove, KEY)


@case("operator.usage")
def _(c, a):
    found = c.operator.usage(stale=True)["Usage"]["dc1"]
    assert found["Nodes"] == 1 and found["ServiceInstances"] >= 1, found
    assert "dc1" in c.operator.usage(global_=True)["Usage"]


# Certificates and intentions.


@case("connect.ca.roots")
def _(c, a):
    roots = c.connect.ca.roots()
    (root,) = roots["Roots"]
    assert root["ID"] == roots["ActiveRootID"] and root["RootCert"].startswith("-----BEGIN CERTIFICATE-----")
    # The package decodes every answer as JSON and cannot take the PEM that it asks for here.
    assert "BEGIN CERTIFICATE" in raises(Refused, c.connect.ca.roots, pem=True)


@case("connect.ca.configuration")
def _(c, a):
    found = c.connect.ca.configuration()
    assert found["Provider"] == "consul" and found["Config"]["LeafCertTTL"] == "72h", found


@case("connect.ca.update_configuration")
def _(c, a):
    settings = dict(c.connect.ca.configuration()["Config"], LeafCertTTL="48h")
    assert c.connect.ca.update_configuration("consul", settings) is True
    assert c.connect.ca.configuration()["Config"]["LeafCertTTL"] == "48h"


@case("connect.intentions.upsert")
def _(c, a):
    assert c.connect.intentions.upsert("web", "db", action="deny", description="no", dc="dc1")
    assert "Meta must not be specified" in raises(Refused, c.connect.intentions.upsert, "a", "b", action="allow", meta={"k": "v"})
    found = c.connect.intentions.read("web", "db")
    assert found["Action"] == "deny" and found["Description"] == "no" and found["Precedence"] == 9, found
    assert c.connect.intentions.upsert("*", "db", action="allow")


@case("connect.intentions.read")
def _(c, a):
    assert c.connect.intentions.read("web", "db")["SourceName"] == "web"
    assert c.connect.intentions.read("web", "nobody") is None


@case("connect.intentions.list")
def _(c, a):
    found = c.connect.intentions.list()
    assert [entry["SourceName"] for entry in found] == ["web", "*"], found
    assert len(c.connect.intentions.list(filter_expr='SourceName == "web"')) == 1


@case("connect.intentions.check")
def _(c, a):
    assert c.connect.intentions.check("web", "db") is False
    assert c.connect.intentions.check("app", "db", source_type="consul") is True


@case("connect.intentions.match")
def _(c, a):
    found = c.connect.intentions.match("destination", "db")
    assert [entry["SourceName"] for entry in found["db"]] == ["web", "*"], found
    assert [entry["DestinationName"] for entry in c.connect.intentions.match("source", "app")["app"]] == ["db"]


@case("connect.intentions.delete")
def _(c, a):
    assert c.connect.intentions.delete("web", "db") and c.connect.intentions.delete("*", "db")
    assert c.connect.intentions.list() == []
    assert c.connect.intentions.delete("web", "db"), "what is missing is deleted as well"


@case("agent.connect.ca.roots")
def _(c, a):
    assert c.agent.connect.ca.roots()["ActiveRootID"] == c.connect.ca.roots()["ActiveRootID"]


@case("agent.connect.ca.leaf")
def _(c, a):
    leaf = c.agent.connect.ca.leaf("web")
    assert leaf["Service"] == "web" and leaf["ServiceURI"].endswith("/ns/default/dc/dc1/svc/web"), leaf
    assert "PRIVATE KEY" in leaf["PrivateKeyPEM"] and "BEGIN CERTIFICATE" in leaf["CertPEM"]
    assert c.agent.connect.ca.leaf("web")["SerialNumber"] == leaf["SerialNumber"], "one leaf for a service"


# The package asks by PUT.
@case("agent.connect.authorize", refused=(ClientError, 405, "2.1: /v1/agent/connect/authorize takes POST"))
def _(c, a):
    c.agent.connect.authorize("db", "spiffe://x/ns/default/dc/dc1/svc/web", "1")


# Access control.


@case("acl.bootstrap")
def _(c, a):
    raises(ACLDisabled, c.acl.bootstrap)
    assert "no longer allowed" in raises(ACLPermissionDenied, a.acl.bootstrap)


@case("acl.policy.create")
def _(c, a):
    raises(ACLDisabled, c.acl.policy.create, "p")
    policy = a.acl.policy.create("p-1", description="d", rules={"key_prefix": {"a/": {"policy": "write"}}})
    assert policy["Name"] == "p-1" and policy["Description"] == "d" and "a/" in policy["Rules"], policy


@case("acl.policy.list")
def _(c, a):
    names = [policy["Name"] for policy in a.acl.policy.list()]
    assert "p-1" in names and "global-management" in names, names
    raises(ACLPermissionDenied, a.acl.policy.list, token="anonymous")


def policy_id(a, name):
    return next(policy["ID"] for policy in a.acl.policy.list() if policy["Name"] == name)


@case("acl.policy.read")
def _(c, a):
    assert a.acl.policy.read(policy_id(a, "p-1"))["Description"] == "d"
    raises(ACLPermissionDenied, a.acl.policy.read, NOBODY)


@case("acl.policy.update")
def _(c, a):
    own = policy_id(a, "p-1")
    rules = {"key_prefix": {"b/": {"policy": "write"}, "c/": {"policy": "read"}}}
    assert a.acl.policy.update(own, "p-2", description="e", rules=rules)["Name"] == "p-2"
    assert a.acl.policy.read(own)["Description"] == "e"


@case("acl.role.create")
def _(c, a):
    role = a.acl.role.create(
        "r-1", description="d", policies_name=["p-2"], service_identities=[{"ServiceName": "web"}],
        node_identities=[{"NodeName": "n9", "Datacenter": "dc1"}],
        templated_policies=[{"builtin/service": {"Name": "api"}}],
    )
    assert role["Name"] == "r-1" and role["Policies"][0]["Name"] == "p-2", role
    assert role["TemplatedPolicies"][0]["TemplateVariables"]["name"] == "api", role


@case("acl.role.list")
def _(c, a):
    assert [role["Name"] for role in a.acl.role.list()] == ["r-1"]
    assert [role["Name"] for role in a.acl.role.list(policy=policy_id(a, "p-2"))] == ["r-1"]


@case("acl.role.read")
def _(c, a):
    own = a.acl.role.list()[0]["ID"]
    assert a.acl.role.read(own)["Name"] == "r-1"
    assert a.acl.role.read(NOBODY) is None


@case("acl.role.read_by_name")
def _(c, a):
    assert a.acl.role.read_by_name("r-1")["Description"] == "d"
    assert a.acl.role.read_by_name("nobody") is None


@case("acl.role.update")
def _(c, a):
    own = a.acl.role.list()[0]["ID"]
    assert a.acl.role.update(own, "r-2", policies_id=[policy_id(a, "p-2")])["Name"] == "r-2"
    assert "ServiceIdentities" not in a.acl.role.read(own), "an update replaces"


@case("acl.token.create")
def _(c, a):
    raises(ACLDisabled, c.acl.token.create)
    raises(ACLPermissionDenied, a.acl.token.create, token="anonymous")
    token = a.acl.token.create(
        accessor_id="00000000-0000-4000-8000-00000000000a", secret_id="00000000-0000-4000-8000-00000000000b",
        description="t", policies_name=["p-2"], roles_name=["r-2"], service_identities=[{"ServiceName": "web"}],
        node_identities=["n9:dc1"], templated_policies=[{"builtin/node": {"Name": "n8"}}], expiration_ttl="1h", local=True,
    )
    assert token["SecretID"].endswith("b") and token["NodeIdentities"] == [{"NodeName": "n9", "Datacenter": "dc1"}], token
    assert token["Roles"][0]["Name"] == "r-2" and token["Local"] is True, token


ACCESSOR = "00000000-0000-4000-8000-00000000000a"
SECRET = "00000000-0000-4000-8000-00000000000b"


@case("acl.token.list")
def _(c, a):
    assert len(a.acl.token.list()) == 3, "the management token, the anonymous one, and ours"
    assert [token["AccessorID"] for token in a.acl.token.list(policy=policy_id(a, "p-2"))] == [ACCESSOR]
    assert [token["AccessorID"] for token in a.acl.token.list(servicename="web")] == [ACCESSOR]
    raises(ACLPermissionDenied, a.acl.token.list, token="anonymous")


@case("acl.token.read")
def _(c, a):
    assert a.acl.token.read(ACCESSOR)["Description"] == "t"
    raises(ACLPermissionDenied, a.acl.token.read, NOBODY)
    raises(ACLPermissionDenied, a.acl.token.read, ACCESSOR, token="anonymous")


@case("acl.token.read_self")
def _(c, a):
    assert a.acl.token.read_self(token=SECRET)["AccessorID"] == ACCESSOR
    assert "ACL not found" in raises(ACLPermissionDenied, a.acl.token.read_self, token=NOBODY)
    # What it allows, and what it does not: one prefix may be written.
    assert a.kv.put("b/mine", "x", token=SECRET)
    assert "Permission denied" in raises(ACLPermissionDenied, a.kv.put, "c/theirs", "x", token=SECRET)


@case("acl.token.update")
def _(c, a):
    token = a.acl.token.update(ACCESSOR, description="u", policies_id=[policy_id(a, "p-2")], local=True)
    assert token["Description"] == "u" and "Roles" not in token, token


@case("acl.token.clone")
def _(c, a):
    token = a.acl.token.clone(ACCESSOR, description="v")
    assert token["AccessorID"] != ACCESSOR and token["Policies"][0]["Name"] == "p-2", token
    assert a.acl.token.delete(token["AccessorID"])


@case("acl.token.delete")
def _(c, a):
    assert a.acl.token.delete(ACCESSOR) is True
    raises(ACLPermissionDenied, a.acl.token.read, ACCESSOR)
    assert "ACL not found" in raises(ACLPermissionDenied, a.kv.put, "b/mine", "x", token=SECRET)


@case("acl.role.delete")
def _(c, a):
    assert a.acl.role.delete(a.acl.role.list()[0]["ID"]) is True
    assert a.acl.role.list() == []


@case("acl.policy.delete")
def _(c, a):
    assert a.acl.policy.delete(policy_id(a, "p-2")) is True
    assert "p-2" not in [policy["Name"] for policy in a.acl.policy.list()]


@case("acl.templated_policy.list")
def _(c, a):
    assert a.acl.templated_policy.list()["builtin/service"]["TemplateName"] == "builtin/service"


@case("acl.templated_policy.read")
def _(c, a):
    assert a.acl.templated_policy.read("builtin/service")["TemplateName"] == "builtin/service"


@case("acl.templated_policy.preview")
def _(c, a):
    found = a.acl.templated_policy.preview("builtin/service", {"Name": "my-service"})
    assert 'service "my-service"' in found["Rules"] and found["Name"].startswith("synthetic-policy-"), found


PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9
q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==
-----END PUBLIC KEY-----
"""


@case("acl.auth_method.create")
def _(c, a):
    settings = {"JWTValidationPubKeys": [PUBLIC_KEY], "BoundIssuer": "test-issuer"}
    made = a.acl.auth_method.create(
        "m-1", "jwt", display_name="M", description="d", config=settings, max_token_ttl="5m", token_locality="local"
    )
    assert made["Name"] == "m-1" and made["Type"] == "jwt", made


@case("acl.auth_method.list")
def _(c, a):
    assert [method["Name"] for method in a.acl.auth_method.list()] == ["m-1"]


@case("acl.auth_method.read")
def _(c, a):
    assert a.acl.auth_method.read("m-1")["DisplayName"] == "M"
    assert a.acl.auth_method.read("nobody") is None


@case("acl.auth_method.update")
def _(c, a):
    settings = {"JWTValidationPubKeys": [PUBLIC_KEY], "BoundIssuer": "other-issuer"}
    assert a.acl.auth_method.update("m-1", "jwt", description="e", config=settings)["Description"] == "e"


@case("acl.binding_rule.create")
def _(c, a):
    made = a.acl.binding_rule.create("m-1", "service", "web", description="d", selector='value.iss=="test-issuer"')
    assert made["AuthMethod"] == "m-1" and made["BindName"] == "web" and made["ID"], made


@case("acl.binding_rule.list")
def _(c, a):
    assert [rule["BindName"] for rule in a.acl.binding_rule.list(auth_method="m-1")] == ["web"]
    assert a.acl.binding_rule.list(auth_method="nobody") == []


@case("acl.binding_rule.read")
def _(c, a):
    own = a.acl.binding_rule.list()[0]["ID"]
    assert a.acl.binding_rule.read(own)["Description"] == "d"
    assert a.acl.binding_rule.read(NOBODY) is None


@case("acl.binding_rule.update")
def _(c, a):
    own = a.acl.binding_rule.list()[0]["ID"]
    assert a.acl.binding_rule.update(own, "m-1", "service", "api")["BindName"] == "api"


@case("acl.login")
def _(c, a):
    raises(Refused, a.acl.login, "nobody", "x")
    raises(Refused, a.acl.login, "m-1", "not a token", meta={"a": "b"})


@case("acl.logout")
def _(c, a):
    # A token that no login made cannot be logged out.
    raises(ACLPermissionDenied, a.acl.logout, a.token)


@case("acl.binding_rule.delete")
def _(c, a):
    assert a.acl.binding_rule.delete(a.acl.binding_rule.list()[0]["ID"]) is True
    assert a.acl.binding_rule.list() == []


@case("acl.auth_method.delete")
def _(c, a):
    assert a.acl.auth_method.delete("m-1") is True
    assert a.acl.auth_method.list() == []


# Tokens of the agent.


def agent_token(c, a, method):
    raises(ACLDisabled, getattr(c.agent.token, method), "secret")
    raises(ACLPermissionDenied, getattr(a.agent.token, method), a.token, token=NOBODY)
    assert getattr(a.agent.token, method)(a.token) is True
    # None, again.
    assert getattr(a.agent.token, method)("") is True


for kind in ["default", "agent", "agent_recovery", "replication", "config_file_service_registration"]:
    case(f"agent.token.set_{kind}")(lambda c, a, kind=kind: agent_token(c, a, f"set_{kind}"))


@case("agent.token.set")
def _(c, a):
    raises(ACLDisabled, c.agent.token.set, "default", "secret")
    assert a.agent.token.set("default", a.token) is True
    assert a.agent.token.set("default", "") is True


# Snapshots, and the agent itself.


@case("snapshot.save")
def _(c, a):
    archive = c.snapshot.save(stale=True)
    assert archive[:2] == b"\x1f\x8b", "a gzip archive"
    raises(ACLPermissionDenied, a.snapshot.save, token="anonymous")


@case("snapshot.restore")
def _(c, a):
    assert c.kv.put("snapshot/kept", "before")
    archive = c.snapshot.save()
    assert c.kv.put("snapshot/kept", "after") and c.kv.put("snapshot/new", "x")
    assert c.snapshot.restore(archive) is True
    assert c.kv.get("snapshot/kept")[1]["Value"] == b"before" and c.kv.get("snapshot/new")[1] is None
    raises(Refused, c.snapshot.restore, b"not an archive")


@case("agent.reload")
def _(c, a):
    assert c.agent.reload() is True


@case("agent.metrics")
def _(c, a):
    found = c.agent.metrics()
    assert {"Timestamp", "Gauges", "Points", "Counters", "Samples"} <= set(found), set(found)
    assert isinstance(c.agent.metrics(format_prometheus=True), str)


@case("agent.join")
def _(c, a):
    assert c.agent.join(SETTINGS["joined"]) is True
    names = until("two members", lambda: (lambda found: len(found) == 2 and found)(c.agent.members()))
    assert all(member["Status"] == 1 for member in names), names
    raises(Refused, c.agent.join, "127.0.0.1:1")


@case("agent.force_leave")
def _(c, a):
    raises(Refused, c.agent.force_leave, "nobody", prune=True)
    # Its process is ended by a signal that it does not see.
    os.kill(SETTINGS["joined_pid"], signal.SIGKILL)
    until("the dead member", lambda: [member for member in c.agent.members() if member["Status"] == 4], patience=30)
    assert c.agent.force_leave("n2") is True
    until("it to have left", lambda: all(m["Status"] == 3 for m in c.agent.members() if m["Name"] == "n2"))


@case("agent.monitor")
def _(c, a):
    raises(Refused, c.agent.monitor, loglevel="nonsense")
    # The package reads until the stream ends: the node's end ends it, in the case that follows.
    begun = threading.Event()
    c.streamed = []

    def note(response, **_):
        if "/v1/agent/monitor" in response.url and response.status_code == 200:
            begun.set()

    def read():
        try:
            c.streamed.append(c.agent.monitor(loglevel="debug"))
        except requests.RequestException as error:
            # The stream may also be cut.
            c.streamed.append(str(error))

    c.http.session.hooks["response"].append(note)
    c.reader = threading.Thread(target=read, daemon=True)
    c.reader.start()
    assert begun.wait(20), "the stream begins"


@case("agent.leave")
def _(c, a):
    assert c.agent.leave() is True

    def gone():
        with socket.socket() as door:
            return door.connect_ex((c.http.host, c.http.port)) != 0

    until("the node's end", gone)
    c.reader.join(10)
    assert c.streamed, "the stream ends with the node"
