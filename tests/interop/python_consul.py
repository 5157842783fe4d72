"""Every method of python-consul 1.1.0, which is old and much used, against a control node.

Usage: python python_consul.py '<json>' with http, a port. Its access control was removed from the API long ago, and two
methods ask in a way that was: those are refused, and it is said by which line of the contract.
"""

import base64
import json
import sys
import threading

import consul
from consul.base import BadRequest, ClientError
from methods import Trial, case, raises, until

PORT = json.loads(sys.argv[1])["http"]
NOBODY = "6a3c1f0e-0000-4000-8000-000000000001"
Refused = consul.ConsulException


def wait_for_status(c, check_id, status):
    return until(f"{check_id} to be {status}", lambda: c.agent.checks().get(check_id, {}).get("Status") == status)


def woken(read, index, write):
    """Blocks a read at an index, writes, and returns what the read answered."""
    answers = []
    blocked = threading.Thread(target=lambda: answers.append(read(index=index)))
    blocked.start()
    write()
    blocked.join(30)
    assert answers, "the read is still blocked"
    assert answers[0][0] != index
    return answers[0][1]


@case("connect")
def _(c):
    assert c.connect("127.0.0.1", PORT, "http").get(lambda reply: reply.code, "/v1/status/leader") == 200


@case("Check.script")
def _(c):
    assert c.agent.check.register("scripted", consul.Check.script(["/bin/true"], "1s"))
    wait_for_status(c, "scripted", "passing")
    assert c.agent.check.deregister("scripted")


@case("Check.http")
def _(c):
    check = consul.Check.http(f"http://127.0.0.1:{PORT}", "1s", timeout="5s", deregister="10m", header={"x-a": ["b"]})
    assert c.agent.check.register("page", check)
    wait_for_status(c, "page", "passing")
    assert c.agent.check.deregister("page")


@case("Check.tcp")
def _(c):
    assert c.agent.check.register("door", consul.Check.tcp("127.0.0.1", PORT, "1s", timeout="5s"))
    wait_for_status(c, "door", "passing")
    assert c.agent.check.deregister("door")


@case("Check.ttl")
def _(c):
    assert c.agent.check.register("beat", consul.Check.ttl("100ms"))
    assert c.agent.check.ttl_pass("beat")
    until("the beat to be missed", lambda: "TTL expired" in c.agent.checks()["beat"]["Output"])
    assert c.agent.check.deregister("beat")


@case("Check.docker", refused=(BadRequest, 400, "7.1: Script is unknown"))
def _(c):
    c.agent.check.register("contained", consul.Check.docker("id", "/bin/sh", "/bin/true", "10s"))


@case("kv.put")
def _(c):
    assert c.kv.put("put/bytes", bytes(range(256))) and c.kv.put("put/none", None) and c.kv.put("put/text", "x")
    assert c.kv.get("put/bytes")[1]["Value"] == bytes(range(256)) and c.kv.get("put/none")[1]["Value"] is None
    assert c.kv.put("put/cas", "1", cas=0) and not c.kv.put("put/cas", "2", cas=0)
    assert c.kv.put("put/flags", "1", flags=2**63) and c.kv.get("put/flags")[1]["Flags"] == 2**63
    session, other = c.session.create(lock_delay=0), c.session.create(lock_delay=0)
    assert c.kv.put("put/lock", "1", acquire=session) and not c.kv.put("put/lock", "2", acquire=other)
    assert not c.kv.put("put/lock", "2", release=other) and c.kv.put("put/lock", "2", release=session)
    assert "invalid session" in raises(Refused, c.kv.put, "put/lock", "", acquire="foo")
    assert c.session.destroy(session) and c.session.destroy(other)


@case("kv.get")
def _(c):
    index, entry = c.kv.get("get/absent")
    assert entry is None
    entry = woken(lambda index: c.kv.get("get/absent", index=index, wait="30s"), index, lambda: c.kv.put("get/absent", "y"))
    assert entry["Value"] == b"y"
    assert c.kv.put("get/base/base/foo", "1") and c.kv.put("get/base/foo", "2")
    assert c.kv.get("get/base/", keys=True, separator="/")[1] == ["get/base/base/", "get/base/foo"]
    assert [e["Value"] for e in c.kv.get("get/base/", recurse=True, consistency="stale")[1]] == [b"1", b"2"]
    assert "No path to datacenter" in raises(Refused, c.kv.get, "get/base/foo", dc="elsewhere")


@case("kv.delete")
def _(c):
    assert c.kv.put("delete/1", "x") and c.kv.put("delete/2", "x")
    index = c.kv.get("delete/1")[1]["ModifyIndex"]
    assert not c.kv.delete("delete/1", cas=index + 1) and c.kv.delete("delete/1", cas=index)
    assert c.kv.delete("delete/", recurse=True) and c.kv.get("delete/", recurse=True)[1] is None


@case("txn.put")
def _(c):
    value = base64.b64encode(b"1").decode()
    answer = c.txn.put([{"KV": {"Verb": "set", "Key": "txn/a", "Value": value}}, {"KV": {"Verb": "get", "Key": "txn/a"}}])
    assert answer["Errors"] is None and answer["Results"][1]["KV"]["Value"] == value, answer
    assert "doesn't exist" in raises(ClientError, c.txn.put, [{"KV": {"Verb": "get", "Key": "txn/none"}}])


@case("agent.self")
def _(c):
    me = c.agent.self()
    assert me["Member"] in c.agent.members() and me["Config"]["NodeName"] == "n1"


@case("agent.services")
def _(c):
    assert c.agent.services() == {}
    assert c.agent.service.register("foo") and list(c.agent.services()) == ["foo"]
    assert c.agent.service.deregister("foo")


@case("agent.checks")
def _(c):
    assert c.agent.checks() == {}
    assert c.agent.check.register("one", consul.Check.ttl("10m"), notes="a note")
    assert c.agent.checks()["one"]["Notes"] == "a note"
    assert c.agent.check.deregister("one")


@case("agent.members")
def _(c):
    assert [member["Name"] for member in c.agent.members()] == ["n1"]
    assert [member["Name"] for member in c.agent.members(wan=True)] == ["n1.dc1"]


@case("agent.maintenance")
def _(c):
    assert c.agent.maintenance("true", "why") and "_node_maintenance" in c.agent.checks()
    assert c.agent.maintenance("false") and c.agent.checks() == {}


# The package asks by GET what has been taken by PUT only since version 1.0.
@case("agent.join", refused=(ClientError, 405, "2.1: /v1/agent/join/ takes PUT"))
def _(c):
    c.agent.join("127.0.0.1")


@case("agent.force_leave", refused=(ClientError, 405, "2.1: /v1/agent/force-leave/ takes PUT"))
def _(c):
    c.agent.force_leave("n2")


@case("agent.service.register")
def _(c):
    check = consul.Check.ttl("10m")
    assert c.agent.service.register(
        "full", service_id="full-1", address="10.1.2.3", port=80, tags=["a"], check=check, enable_tag_override=True
    )
    entry = c.catalog.service("full", tag="a")[1][0]
    assert entry["ServiceAddress"] == "10.1.2.3" and entry["ServicePort"] == 80
    assert entry["ServiceEnableTagOverride"] is True and list(c.agent.checks()) == ["service:full-1"]
    assert c.agent.service.register("timed", ttl="10m") and c.agent.service.deregister("timed")
    http = f"http://127.0.0.1:{PORT}/v1/status/leader"
    assert c.agent.service.register("seen", http=http, interval="1s", timeout="5s")
    wait_for_status(c, "service:seen", "passing")
    assert c.agent.service.deregister("seen")


@case("agent.service.maintenance")
def _(c):
    assert c.agent.service.maintenance("full-1", "true", "why")
    assert c.agent.checks()["_service_maintenance:full-1"]["Notes"] == "why"
    assert c.agent.service.maintenance("full-1", "false")


@case("agent.service.deregister")
def _(c):
    assert c.agent.service.deregister("full-1") and c.agent.services() == {}


@case("agent.check.register")
def _(c):
    assert c.agent.service.register("carrier")
    assert c.agent.check.register("of it", consul.Check.ttl("10m"), check_id="own", service_id="carrier")
    assert c.agent.checks()["own"]["ServiceName"] == "carrier"
    assert c.agent.service.deregister("carrier") and c.agent.checks() == {}


@case("agent.check.deregister")
def _(c):
    assert c.agent.check.register("short", ttl="10m")
    assert c.agent.check.deregister("short") and c.agent.checks() == {}


def beat(c, method, status):
    assert c.agent.check.register("beaten", consul.Check.ttl("10m"))
    assert method("beaten", "that's why")
    check = c.agent.checks()["beaten"]
    assert check["Status"] == status and check["Output"] == "that's why", check
    assert c.agent.check.deregister("beaten")


@case("agent.check.ttl_pass")
def _(c):
    beat(c, c.agent.check.ttl_pass, "passing")


@case("agent.check.ttl_warn")
def _(c):
    beat(c, c.agent.check.ttl_warn, "warning")


@case("agent.check.ttl_fail")
def _(c):
    beat(c, c.agent.check.ttl_fail, "critical")


@case("catalog.register")
def _(c):
    service = {"Service": "db", "ID": "db-1", "Tags": ["v1"], "Port": 5432}
    check = {"CheckID": "alive", "Name": "alive", "Status": "passing", "ServiceID": "db-1"}
    assert c.catalog.register("ext", "10.0.0.1", service=service, check=check, dc="dc1")
    assert "No path to datacenter" in raises(Refused, c.catalog.register, "x", "10.0.0.1", dc="elsewhere")


@case("catalog.datacenters")
def _(c):
    assert c.catalog.datacenters() == ["dc1"]


@case("catalog.nodes")
def _(c):
    index, nodes = c.catalog.nodes(consistency="consistent", near="n1")
    assert [node["Node"] for node in nodes] == ["ext", "n1"] or [node["Node"] for node in nodes] == ["n1", "ext"]
    assert c.catalog.nodes(node_meta={"rack": "7"})[1] == []
    nodes = woken(
        lambda index: c.catalog.nodes(index=index, wait="30s"), index, lambda: c.catalog.register("late", "10.0.0.2")
    )
    assert len(nodes) == 3 and c.catalog.deregister("late")


@case("catalog.services")
def _(c):
    assert c.catalog.services(consistency="stale")[1] == {"consul": [], "db": ["v1"]}
    assert c.catalog.services(node_meta={"rack": "7"})[1] == {}


@case("catalog.node")
def _(c):
    assert c.catalog.node("nobody")[1] is None
    assert list(c.catalog.node("ext")[1]["Services"]) == ["db-1"]


@case("catalog.service")
def _(c):
    assert c.catalog.service("db", tag="v1", near="n1")[1][0]["ServicePort"] == 5432
    assert c.catalog.service("db", tag="v2")[1] == []


@case("health.service")
def _(c):
    index, entries = c.health.service("db", passing=True, tag="v1")
    assert entries[0]["Service"]["ID"] == "db-1"
    check = {"CheckID": "alive", "Name": "alive", "Status": "critical", "ServiceID": "db-1"}
    entries = woken(
        lambda index: c.health.service("db", index=index, wait="30s"),
        index,
        lambda: c.catalog.register("ext", "10.0.0.1", check=check),
    )
    assert entries[0]["Checks"][0]["Status"] == "critical" and c.health.service("db", passing=True)[1] == []


@case("health.checks")
def _(c):
    assert [check["CheckID"] for check in c.health.checks("db")[1]] == ["alive"]


@case("health.state")
def _(c):
    assert [check["CheckID"] for check in c.health.state("critical")[1]] == ["alive"]
    assert len(c.health.state("any")[1]) == 2 and c.health.state("unknown")[1] == []


@case("health.node")
def _(c):
    assert [check["CheckID"] for check in c.health.node("n1")[1]] == ["serfHealth"]


@case("catalog.deregister")
def _(c):
    assert c.catalog.deregister("ext", check_id="alive") and c.health.node("ext")[1] == []
    assert c.catalog.deregister("ext", service_id="db-1") and c.catalog.deregister("ext")
    assert c.catalog.node("ext")[1] is None


@case("session.create")
def _(c):
    session = c.session.create(name="s", node="n1", checks=["serfHealth"], lock_delay=1, behavior="delete", ttl=60)
    entry = c.session.info(session)[1]
    assert entry["Name"] == "s" and entry["TTL"] == "60s" and entry["Behavior"] == "delete", entry
    assert c.session.destroy(session)


@case("session.destroy")
def _(c):
    session = c.session.create()
    assert c.session.destroy(session) and c.session.destroy(session)


@case("session.list")
def _(c):
    index, sessions = c.session.list()
    assert sessions == []
    made = []
    sessions = woken(
        lambda index: c.session.list(index=index, wait="30s"), index, lambda: made.append(c.session.create())
    )
    assert [entry["ID"] for entry in sessions] == made and c.session.destroy(made[0])


@case("session.node")
def _(c):
    session = c.session.create()
    assert [entry["ID"] for entry in c.session.node("n1")[1]] == [session] and c.session.node("nobody")[1] == []
    assert c.session.destroy(session)


@case("session.info")
def _(c):
    session = c.session.create()
    assert c.session.info(session)[1]["Node"] == "n1" and c.session.destroy(session)
    assert c.session.info(session)[1] is None and c.session.info("nonsense")[1] is None


@case("session.renew")
def _(c):
    session = c.session.create(ttl=10)
    assert c.session.renew(session)["ID"] == session and c.session.destroy(session)
    assert session in raises(consul.NotFound, c.session.renew, session)


@case("event.fire")
def _(c):
    event = c.event.fire("deploy", "1609030", node="n.*")
    assert event["Name"] == "deploy" and event["NodeFilter"] == "n.*", event


@case("event.list")
def _(c):
    index, events = c.event.list("deploy")
    assert [event["Payload"] for event in events] == [b"1609030"]
    events = woken(lambda index: c.event.list("deploy", index=index), index, lambda: c.event.fire("deploy", "next"))
    assert [event["Payload"] for event in events] == [b"1609030", b"next"]


@case("status.leader")
def _(c):
    assert c.status.leader().startswith("127.0.0.1:")


@case("status.peers")
def _(c):
    assert c.status.peers() == [c.status.leader()]


@case("query.create")
def _(c):
    assert c.agent.service.register("asked", port=80, tags=["t"])
    query = c.query.create("asked", name="near", ttl="10s", onlypassing=True, tags=["t"], nearestn=3, datacenters=["dc1"])
    assert [entry["Name"] for entry in c.query.get(query["ID"])] == ["near"]
    assert c.query.delete(query["ID"])


@case("query.list")
def _(c):
    assert c.query.list() == []
    query = c.query.create("asked", name="listed", dc="dc1")
    assert [entry["ID"] for entry in c.query.list()] == [query["ID"]] and c.query.delete(query["ID"])


@case("query.get")
def _(c):
    query = c.query.create("asked", name="got", regexp="^got(.*)$")["ID"]
    assert c.query.get(query)[0]["Template"]["Regexp"] == "^got(.*)$" and c.query.delete(query)


@case("query.update")
def _(c):
    query = c.query.create("asked", name="before")["ID"]
    assert c.query.update(query, "asked", name="after") and c.query.get(query)[0]["Name"] == "after"
    assert c.query.delete(query)


@case("query.delete")
def _(c):
    query = c.query.create("asked")["ID"]
    assert c.query.delete(query) and c.query.list() == []


@case("query.execute")
def _(c):
    query = c.query.create("asked", name="run", ttl="10s")["ID"]
    answer = c.query.execute("run", near="_agent", limit=1)
    assert answer["Service"] == "asked" and answer["DNS"]["TTL"] == "10s" and len(answer["Nodes"]) == 1, answer
    assert c.query.delete(query)


@case("query.explain")
def _(c):
    query = c.query.create("asked", name="explained")["ID"]
    assert c.query.explain("explained")["Query"]["Service"]["Service"] == "asked" and c.query.delete(query)
    assert c.agent.service.deregister("asked")


@case("coordinate.datacenters")
def _(c):
    assert [entry["Datacenter"] for entry in c.coordinate.datacenters()] == ["dc1"]


@case("coordinate.nodes")
def _(c):
    index, nodes = c.coordinate.nodes(consistency="stale")
    assert isinstance(nodes, list) and int(index) > 0


@case("operator.raft_config")
def _(c):
    assert [server["Node"] for server in c.operator.raft_config()["Servers"]] == ["n1"]


# A 404 makes the package look for the index header, which a path that is not there does not have.
REMOVED = (KeyError, 404, "25.7: removed from the API")


@case("acl.list", refused=REMOVED)
def _(c):
    c.acl.list(token="t")


@case("acl.info", refused=REMOVED)
def _(c):
    c.acl.info(NOBODY, token="t")


@case("acl.create", refused=REMOVED)
def _(c):
    c.acl.create(name="n", rules='key "" { policy = "read" }', token="t")


@case("acl.update", refused=REMOVED)
def _(c):
    c.acl.update(NOBODY, name="n", token="t")


@case("acl.clone", refused=REMOVED)
def _(c):
    c.acl.clone(NOBODY, token="t")


@case("acl.destroy", refused=REMOVED)
def _(c):
    c.acl.destroy(NOBODY, token="t")


# What is not served yet.
ABSENT = []


def main():
    trial = Trial("consul", ABSENT)
    trial.watch_class("Check", consul.Check)
    client = trial.watch(consul.Consul(host="127.0.0.1", port=PORT))
    sys.exit(0 if trial.run(client) else 1)


main()
