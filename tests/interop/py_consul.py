"""Every method of py-consul against a control node, and its part on access control against one that enforces it.

Usage: python py_consul.py '<json>' with http, other (a second node that may be joined) and acl (a node whose management
token is `token`), each a port.
"""

import asyncio
import base64
import importlib
import json
import sys
import threading

import consul
import consul.aio
import requests
from consul.exceptions import BadRequest
from methods import Trial, case, raises, until

SETTINGS = json.loads(sys.argv[1])
PORT = SETTINGS["http"]
TOKEN = SETTINGS.get("token")

# The library answers what it did not expect as this.
Refused = consul.ConsulException


def wait_for_status(c, check_id, status):
    return until(f"{check_id} to be {status}", lambda: c.agent.checks().get(check_id, {}).get("Status") == status)


# The client itself.


@case("prepare_headers")
def _(c, a):
    assert c.prepare_headers("secret") == {"X-Consul-Token": "secret"}
    assert c.prepare_headers() == {}


@case("http_connect")
def _(c, a):
    assert c.http_connect("127.0.0.1", PORT, "http").get(lambda reply: reply.code, "/v1/status/leader") == 200


# Definitions of checks, each taken by a node.


@case("Check.script")
def _(c, a):
    assert c.agent.service.register("scripted", check=consul.Check.script(["/bin/true"], "1s"))
    wait_for_status(c, "service:scripted", "passing")
    assert c.agent.service.deregister("scripted")


@case("Check.http")
def _(c, a):
    # The page of the console: `GET /` ends there.
    check = consul.Check.http(f"http://127.0.0.1:{PORT}", "1s", timeout="5s", deregister="10m", header={"x-a": ["b"]})
    assert c.agent.check.register("page", check=check, check_id="page")
    wait_for_status(c, "page", "passing")
    assert c.agent.checks()["page"]["Type"] == "http"
    assert c.agent.check.deregister("page")


@case("Check.tcp")
def _(c, a):
    assert c.agent.check.register("door", check=consul.Check.tcp("127.0.0.1", PORT, "1s", timeout="5s"))
    wait_for_status(c, "door", "passing")
    assert c.agent.check.deregister("door")


@case("Check.grpc")
def _(c, a):
    # Nothing speaks gRPC there: the check is made, and fails.
    check = consul.Check.grpc(f"127.0.0.1:{PORT}", "1s", use_tls=False, tls_skip_verify=True, timeout="1s")
    assert c.agent.check.register("remote", check=check)
    until("the check's first run", lambda: c.agent.checks()["remote"]["Output"])
    assert c.agent.checks()["remote"]["Status"] == "critical"
    assert c.agent.check.deregister("remote")


@case("Check.ttl")
def _(c, a):
    assert c.agent.check.register("beat", check=consul.Check.ttl("100ms"))
    assert c.agent.check.ttl_pass("beat")
    until("the beat to be missed", lambda: "TTL expired" in c.agent.checks()["beat"]["Output"])
    assert c.agent.checks()["beat"]["Status"] == "critical"
    assert c.agent.check.deregister("beat")


@case("Check.docker", refused=(BadRequest, 400, "7.1: Script is unknown"))
def _(c, a):
    c.agent.check.register("contained", check=consul.Check.docker("id", "/bin/sh", "/bin/true", "10s"))


# KV.


@case("kv.put")
def _(c, a):
    assert c.kv.put("put/text", "grüße")
    assert c.kv.put("put/bytes", bytes(range(256)))
    assert c.kv.put("put/none", None)
    assert c.kv.get("put/text")[1]["Value"].decode() == "grüße"
    assert c.kv.get("put/bytes")[1]["Value"] == bytes(range(256))
    assert c.kv.get("put/none")[1]["Value"] is None
    assert c.kv.put("put/cas", "1", cas=0)
    assert not c.kv.put("put/cas", "2", cas=0)
    index = c.kv.get("put/cas")[1]["ModifyIndex"]
    assert not c.kv.put("put/cas", "2", cas=index + 1)
    assert c.kv.put("put/cas", "2", cas=index)
    assert c.kv.put("put/flags", "1", flags=2**64 - 1)
    assert c.kv.get("put/flags")[1]["Flags"] == 2**64 - 1
    session = c.session.create(behavior="delete", lock_delay=0)
    other = c.session.create(lock_delay=0)
    assert c.kv.put("put/lock", "mine", acquire=session)
    assert not c.kv.put("put/lock", "theirs", acquire=other)
    assert c.kv.get("put/lock")[1]["Session"] == session
    assert not c.kv.put("put/lock", "theirs", release=other)
    assert c.kv.put("put/lock", "left", release=session)
    assert "Session" not in c.kv.get("put/lock")[1]
    assert "invalid session" in raises(Refused, c.kv.put, "put/lock", "", acquire="foo")
    assert c.session.destroy(session) and c.session.destroy(other)
    assert "No path to datacenter" in raises(Refused, c.kv.put, "put/far", "", dc="elsewhere")


@case("kv.get")
def _(c, a):
    index, entry = c.kv.get("get/absent")
    assert entry is None and int(index) > 0
    woken = []
    blocked = threading.Thread(target=lambda: woken.append(c.kv.get("get/absent", index=index, wait="30s")))
    blocked.start()
    assert c.kv.put("get/absent", "here")
    blocked.join()
    assert woken[0][1]["Value"] == b"here" and int(woken[0][0]) > int(index)
    assert c.kv.put("get/base/base/foo", "1") and c.kv.put("get/base/foo", "2")
    _, keys = c.kv.get("get/base/", keys=True, separator="/")
    assert keys == ["get/base/base/", "get/base/foo"], keys
    _, entries = c.kv.get("get/base/", recurse=True, consistency="consistent")
    assert [entry["Value"] for entry in entries] == [b"1", b"2"]
    index, _ = c.kv.get("get/base/foo", consistency="stale")
    assert c.kv.get("get/base/foo", index=index, wait="20ms")[0] == index
    assert "No path to datacenter" in raises(Refused, c.kv.get, "get/base/foo", dc="elsewhere")


@case("kv.delete")
def _(c, a):
    for key in ["delete/1", "delete/2", "delete/3"]:
        assert c.kv.put(key, "x")
    index = c.kv.get("delete/1")[1]["ModifyIndex"]
    assert not c.kv.delete("delete/1", cas=index + 1)
    assert c.kv.delete("delete/1", cas=index)
    assert c.kv.get("delete/1")[1] is None
    assert c.kv.delete("delete/", recurse=True)
    assert c.kv.get("delete/", recurse=True)[1] is None
    assert c.kv.delete("delete/1"), "what is missing is deleted as well"


@case("txn.put")
def _(c, a):
    value = base64.b64encode(b"1").decode()
    operations = [{"KV": {"Verb": "set", "Key": "txn/a", "Value": value}}, {"KV": {"Verb": "get", "Key": "txn/a"}}]
    answer = c.txn.put(operations)
    assert answer["Errors"] is None and answer["Results"][1]["KV"]["Value"] == value, answer
    operations[1] = {"KV": {"Verb": "cas", "Key": "txn/a", "Value": value, "Index": 1}}
    operations[0]["KV"]["Key"] = "txn/b"
    assert "index is stale" in raises(Refused, c.txn.put, operations)
    assert c.kv.get("txn/b")[1] is None, "all or nothing"


# Agent.


@case("agent.self")
def _(c, a):
    me = c.agent.self()
    assert set(me) == {"Config", "DebugConfig", "Coord", "Member", "Stats", "Meta", "xDS"}, set(me)
    assert me["Member"] in c.agent.members()
    assert me["Stats"]["consul"]["leader_addr"] == c.status.leader()


@case("agent.services")
def _(c, a):
    assert c.agent.services() == {}
    assert c.agent.service.register("foo")
    assert c.agent.services() == {
        "foo": {
            "Address": "", "Datacenter": "dc1", "EnableTagOverride": False, "ID": "foo", "Meta": {}, "Port": 0,
            "Service": "foo", "Tags": [], "Weights": {"Passing": 1, "Warning": 1},
        }
    }, c.agent.services()
    assert c.agent.services(filter_expr='Service == "bar"') == {}
    assert "boolean expression" in raises(Refused, c.agent.services, filter_expr="not a valid expression((")
    assert c.agent.service.deregister("foo")


@case("agent.service_definition")
def _(c, a):
    assert c.agent.service.register("defined", port=8080, meta={"a": "b"})
    assert c.agent.service_definition("defined")["Port"] == 8080
    assert c.agent.service_definition("undefined") is None
    assert c.agent.service.deregister("defined")


@case("agent.checks")
def _(c, a):
    assert c.agent.checks() == {}
    assert c.agent.check.register("one", check=consul.Check.ttl("10m"), notes="a note")
    assert c.agent.checks()["one"]["Notes"] == "a note"
    assert c.agent.checks(filter_expr="Status == passing") == {}
    assert c.agent.check.deregister("one")


@case("agent.members")
def _(c, a):
    assert [member["Name"] for member in c.agent.members()] == ["n1"]
    assert [member["Name"] for member in c.agent.members(wan=True)] == ["n1.dc1"]


@case("agent.maintenance")
def _(c, a):
    assert c.agent.maintenance(True, "a reason")
    assert c.agent.checks()["_node_maintenance"]["Notes"] == "a reason"
    assert c.agent.maintenance(False)
    assert c.agent.checks() == {}


@case("agent.service.register")
def _(c, a):
    register = c.agent.service.register
    two = [consul.Check.ttl("10m"), consul.Check.ttl("11m")]
    assert register(
        "full", service_id="full-1", address="10.1.2.3", port=80, tags=["a", "b"], check=two[0], meta={"k": "v"},
        weights={"Passing": 3, "Warning": 2}, enable_tag_override=True, extra_checks=two[1:], socket_path="/tmp/s",
        tagged_addresses={"lan": {"address": "10.1.2.3", "port": 80}}, locality={"Region": "r", "Zone": "z"},
    )
    entry = c.catalog.service("full")[1][0]
    assert entry["ServiceID"] == "full-1" and entry["ServiceAddress"] == "10.1.2.3" and entry["ServicePort"] == 80
    assert entry["ServiceTags"] == ["a", "b"] and entry["ServiceMeta"] == {"k": "v"}, entry
    assert entry["ServiceWeights"] == {"Passing": 3, "Warning": 2} and entry["ServiceEnableTagOverride"] is True
    assert entry["ServiceTaggedAddresses"]["lan"] == {"Address": "10.1.2.3", "Port": 80}, entry
    assert sorted(c.agent.checks()) == ["service:full-1:1", "service:full-1:2"]
    assert register("full", service_id="full-1", check=two[0], replace_existing_checks=True)
    assert sorted(c.agent.checks()) == ["service:full-1"], c.agent.checks()
    assert register("web-proxy", kind="connect-proxy", port=1, proxy={"DestinationServiceName": "full"})
    assert c.catalog.connect("full")[1][0]["ServiceName"] == "web-proxy"
    assert register("beating", ttl="10m") and "service:beating" in c.agent.checks()
    assert "Missing service name" in raises(Refused, register, "")
    for service in ["full-1", "web-proxy", "beating"]:
        assert c.agent.service.deregister(service)
    assert register("parent", port=80, connect={"sidecar_service": {}})
    assert sorted(c.agent.services()) == ["parent", "parent-sidecar-proxy"]
    assert c.agent.service.deregister("parent")
    assert c.agent.services() == {}


@case("agent.service.deregister")
def _(c, a):
    # An id with a slash, as Patroni's.
    assert c.agent.service.register("gone", service_id="batman/gone 1")
    assert c.agent.service.deregister("batman/gone 1")
    assert c.agent.services() == {} and c.catalog.service("gone")[1] == []
    assert c.agent.service.deregister("batman/gone 1") is False


@case("agent.service.maintenance")
def _(c, a):
    assert c.agent.service.register("kept", check=consul.Check.ttl("10m"))
    assert c.agent.check.ttl_pass("service:kept")
    assert len(c.health.service("kept", passing=True)[1]) == 1
    assert c.agent.service.maintenance("kept", True, "a reason")
    assert c.agent.checks()["_service_maintenance:kept"]["Notes"] == "a reason"
    assert c.health.service("kept", passing=True)[1] == []
    assert c.agent.service.maintenance("kept", False)
    assert len(c.health.service("kept", passing=True)[1]) == 1
    assert c.agent.service.maintenance("unknown", True) is False
    assert c.agent.service.deregister("kept")


@case("agent.check.register")
def _(c, a):
    assert c.agent.service.register("carrier", tags=["t"])
    assert c.agent.check.register("of it", check=consul.Check.ttl("10m"), check_id="own-id", service_id="carrier")
    check = c.agent.checks()["own-id"]
    assert check["ServiceName"] == "carrier" and check["ServiceTags"] == ["t"] and check["Name"] == "of it"
    assert c.agent.check.register("lost", check=consul.Check.ttl("10m"), service_id="nobody") is False
    assert list(c.agent.checks()) == ["own-id"]
    assert c.agent.check.register("timed", ttl="10m") and c.agent.check.deregister("timed")
    # A number is nanoseconds, and raised to a second.
    assert c.agent.check.register("numbered", check=consul.Check.script("/bin/true", 10))
    assert c.agent.check.deregister("numbered")
    assert c.agent.service.deregister("carrier")


@case("agent.check.deregister")
def _(c, a):
    assert c.agent.check.register("short", check=consul.Check.ttl("10m"))
    assert c.agent.check.deregister("short")
    assert c.agent.checks() == {}
    assert c.agent.check.deregister("short") is False


def beat(c, method, status):
    assert c.agent.service.register("beaten", check=consul.Check.ttl("10m"))
    assert method("service:beaten", notes="that's why & how")
    assert c.health.checks("beaten")[1][0]["Status"] == status
    # Where the status stays the catalog hears of another output later; the agent knows it at once.
    assert c.agent.checks()["service:beaten"]["Output"] == "that's why & how"
    assert method("service:nobody") is False
    assert c.agent.service.deregister("beaten")


@case("agent.check.ttl_pass")
def _(c, a):
    beat(c, c.agent.check.ttl_pass, "passing")


@case("agent.check.ttl_warn")
def _(c, a):
    beat(c, c.agent.check.ttl_warn, "warning")


@case("agent.check.ttl_fail")
def _(c, a):
    beat(c, c.agent.check.ttl_fail, "critical")


# Catalog.


@case("catalog.register")
def _(c, a):
    service = {"Service": "db", "ID": "db-1", "Tags": ["v1"], "Port": 5432, "Address": "10.0.0.9"}
    check = {"CheckID": "alive", "Name": "alive", "Status": "passing", "ServiceID": "db-1"}
    lan = {"lan": "10.0.0.1", "wan": "1.2.3.4"}
    # The package sends a node's meta as a filter, which means nothing in a registration: here it is written beforehand.
    node = {"Node": "ext", "Address": "10.0.0.1", "NodeMeta": {"rack": "7"}}
    assert requests.put(f"http://127.0.0.1:{PORT}/v1/catalog/register", json=node, timeout=10).ok
    assert c.catalog.register(
        "ext", "10.0.0.1", service=service, check=check, node_meta={"a": "b"}, dc="dc1", skip_node_update=True
    )
    assert c.catalog.register("tagged", "10.0.0.1", tagged_addresses=lan)
    assert c.catalog.node("tagged")[1]["Node"]["TaggedAddresses"] == lan
    assert c.catalog.deregister("tagged")
    node = c.catalog.node("ext")[1]
    assert node["Node"]["Meta"] == {"rack": "7"}, node
    assert node["Services"]["db-1"]["Port"] == 5432
    assert c.health.service("db")[1][0]["Checks"][0]["CheckID"] == "alive"
    assert c.catalog.register("ext", "ignored", service={"Service": "more"}, skip_node_update=True)
    assert c.catalog.node("ext")[1]["Node"]["Address"] == "10.0.0.1"
    assert "No path to datacenter" in raises(Refused, c.catalog.register, "x", "10.0.0.1", dc="elsewhere")


@case("catalog.datacenters")
def _(c, a):
    assert c.catalog.datacenters() == ["dc1"]


@case("catalog.nodes")
def _(c, a):
    index, nodes = c.catalog.nodes()
    assert [node["Node"] for node in nodes] == ["ext", "n1"] and int(index) > 0
    assert [node["Node"] for node in c.catalog.nodes(node_meta={"rack": "7"})[1]] == ["ext"]
    assert [node["Node"] for node in c.catalog.nodes(filter_expr='Node == "n1"', consistency="stale")[1]] == ["n1"]
    assert len(c.catalog.nodes(near="n1", consistency="consistent")[1]) == 2
    assert "No path to datacenter" in raises(Refused, c.catalog.nodes, dc="elsewhere")
    woken = []
    blocked = threading.Thread(target=lambda: woken.append(c.catalog.nodes(index=index, wait="30s")))
    blocked.start()
    assert c.catalog.register("late", "10.0.0.2")
    blocked.join()
    assert "late" in [node["Node"] for node in woken[0][1]]
    assert c.catalog.deregister("late")


@case("catalog.services")
def _(c, a):
    assert c.catalog.services()[1] == {"consul": [], "db": ["v1"], "more": []}
    assert c.catalog.services(node_meta={"rack": "7"})[1] == {"db": ["v1"], "more": []}
    assert c.catalog.services(filter_expr='ServiceName == "db"')[1] == {"db": ["v1"]}
    index, _ = c.catalog.services()
    assert c.catalog.services(index=index, wait="20ms")[0] == index


@case("catalog.node")
def _(c, a):
    assert c.catalog.node("nobody")[1] is None
    node = c.catalog.node("ext", filter_expr='Service == "more"')[1]
    assert list(node["Services"]) == ["more"]


@case("catalog.service")
def _(c, a):
    index, rows = c.catalog.service("db", tag="v1")
    assert rows[0]["ServiceID"] == "db-1" and rows[0]["Address"] == "10.0.0.1" and int(index) > 0
    assert c.catalog.service("db", tag="v2")[1] == []
    assert len(c.catalog.service("db", near="n1", node_meta={"rack": "7"}, merge_central_config=True)[1]) == 1
    assert c.catalog.service("db", filter_expr="ServicePort == 1")[1] == []
    assert c.catalog.service("db", peer="nobody")[1] == []


@case("catalog.connect")
def _(c, a):
    assert c.catalog.connect("db")[1] == []
    native = {"Service": "native", "Connect": {"Native": True}, "Port": 1}
    assert c.catalog.register("ext", "10.0.0.1", service=native, skip_node_update=True)
    assert c.catalog.connect("native")[1][0]["ServiceName"] == "native"
    assert c.catalog.deregister("ext", service_id="native")


@case("catalog.gateway_services")
def _(c, a):
    assert c.catalog.gateway_services("door") == []
    services = [{"Name": "db"}, {"Name": "more"}]
    assert c.config.set("ingress-gateway", "door", {"Listeners": [{"Port": 9, "Protocol": "tcp", "Services": services[:1]}]})
    rows = c.catalog.gateway_services("door")
    assert [row["Service"]["Name"] for row in rows] == ["db"] and rows[0]["GatewayKind"] == "ingress-gateway", rows


@case("health.ingress")
def _(c, a):
    assert c.health.ingress("db")[1] == []
    gateway = {"Service": "door", "Kind": "ingress-gateway", "Port": 9}
    assert c.catalog.register("ext", "10.0.0.1", service=gateway, skip_node_update=True)
    assert c.health.ingress("db", passing=True)[1][0]["Service"]["Service"] == "door"
    assert c.catalog.deregister("ext", service_id="door")
    assert c.config.delete("ingress-gateway", "door")


@case("health.service")
def _(c, a):
    index, entries = c.health.service("db", passing=True, tag=["v1"], near="n1", node_meta={"rack": "7"})
    assert entries[0]["Service"]["ID"] == "db-1" and int(index) > 0
    assert c.health.service("db", tag="v2")[1] == []
    assert c.health.service("db", filter_expr='"v1" in Service.Tags', merge_central_config=True)[1] != []
    woken = []
    blocked = threading.Thread(target=lambda: woken.append(c.health.service("db", index=index, wait="30s")))
    blocked.start()
    check = {"CheckID": "alive", "Name": "alive", "Status": "critical", "ServiceID": "db-1"}
    assert c.catalog.register("ext", "10.0.0.1", check=check, skip_node_update=True)
    blocked.join()
    assert woken[0][1][0]["Checks"][0]["Status"] == "critical"
    assert c.health.service("db", passing=True)[1] == []
    assert c.health.service("db", peer="nobody")[1] == []


@case("health.connect")
def _(c, a):
    assert c.health.connect("db")[1] == []
    assert c.agent.service.register("db-proxy", kind="connect-proxy", port=1, proxy={"DestinationServiceName": "db"})
    assert c.health.connect("db", passing=True)[1][0]["Service"]["Service"] == "db-proxy"
    assert c.agent.service.deregister("db-proxy")


@case("health.checks")
def _(c, a):
    assert [check["CheckID"] for check in c.health.checks("db", near="n1", node_meta={"rack": "7"})[1]] == ["alive"]
    assert c.health.checks("db", filter_expr="Status == passing")[1] == []
    assert c.health.checks("nobody")[1] == []


@case("health.state")
def _(c, a):
    assert [check["CheckID"] for check in c.health.state("critical")[1]] == ["alive"]
    assert [check["CheckID"] for check in c.health.state("any", node_meta={"rack": "7"})[1]] == ["alive"]
    assert c.health.state("any", filter_expr='CheckID == "serfHealth"')[1][0]["Node"] == "n1"
    assert c.health.state("unknown")[1] == []


@case("health.node")
def _(c, a):
    assert [check["CheckID"] for check in c.health.node("n1")[1]] == ["serfHealth"]
    assert c.health.node("nobody")[1] == []
    assert c.health.node("ext", filter_expr="Status == passing")[1] == []


@case("catalog.deregister")
def _(c, a):
    assert c.catalog.deregister("ext", check_id="alive", dc="dc1")
    assert c.health.node("ext")[1] == []
    assert c.catalog.deregister("ext", service_id="db-1")
    assert list(c.catalog.node("ext")[1]["Services"]) == ["more"]
    assert c.catalog.deregister("ext")
    assert c.catalog.node("ext")[1] is None
    assert c.catalog.deregister("ext"), "what is missing is deregistered as well"


# Sessions.


@case("session.create")
def _(c, a):
    session = c.session.create(
        name="s", node="n1", checks=["serfHealth"], lock_delay=1, behavior="delete", ttl=60, dc="dc1"
    )
    _, entry = c.session.info(session)
    assert entry["Name"] == "s" and entry["TTL"] == "60s" and entry["Behavior"] == "delete", entry
    assert entry["LockDelay"] == 10**9
    assert c.kv.put("session/held", "x", acquire=session)
    assert c.session.destroy(session)
    assert c.kv.get("session/held")[1] is None, "its keys go with it"
    assert "registration" in raises(Refused, c.session.create, checks=["nothing"])


@case("session.destroy")
def _(c, a):
    session = c.session.create()
    assert c.session.destroy(session) and c.session.destroy(session)
    assert c.session.list()[1] == []
    assert "No path to datacenter" in raises(Refused, c.session.destroy, session, dc="elsewhere")


@case("session.list")
def _(c, a):
    index, sessions = c.session.list(consistency="consistent")
    assert sessions == []
    woken = []
    blocked = threading.Thread(target=lambda: woken.append(c.session.list(index=index, wait="30s")))
    blocked.start()
    session = c.session.create()
    blocked.join()
    assert [entry["ID"] for entry in woken[0][1]] == [session]
    assert c.session.destroy(session)


@case("session.node")
def _(c, a):
    session = c.session.create()
    assert [entry["ID"] for entry in c.session.node("n1", consistency="stale")[1]] == [session]
    assert c.session.node("nobody")[1] == []
    assert c.session.destroy(session)


@case("session.info")
def _(c, a):
    session = c.session.create()
    assert c.session.info(session)[1]["Node"] == "n1"
    assert c.session.destroy(session)
    assert c.session.info(session)[1] is None and c.session.info("nonsense")[1] is None


@case("session.renew")
def _(c, a):
    session = c.session.create(ttl=10)
    assert c.session.renew(session)["ID"] == session
    assert c.session.destroy(session)
    assert session in raises(consul.NotFound, c.session.renew, session)


# Events.


@case("event.fire")
def _(c, a):
    event = c.event.fire("deploy", "1609030", node="n.*", dc="dc1")
    assert event["Name"] == "deploy" and event["NodeFilter"] == "n.*" and event["Version"] == 1, event
    assert c.event.fire("bare")["Payload"] is None
    assert "tag filter" in raises(Refused, c.event.fire, "odd", tag="t")


@case("event.list")
def _(c, a):
    index, events = c.event.list("deploy")
    assert [event["Payload"] for event in events] == [b"1609030"]
    woken = []
    blocked = threading.Thread(target=lambda: woken.append(c.event.list("deploy", index=index, wait="30s")))
    blocked.start()
    c.event.fire("deploy", "next")
    blocked.join()
    assert [event["Payload"] for event in woken[0][1]] == [b"1609030", b"next"]


# Status.


@case("status.leader")
def _(c, a):
    assert c.status.leader().startswith("127.0.0.1:")


@case("status.peers")
def _(c, a):
    assert c.status.peers() == [c.status.leader()]


# Config entries.


@case("config.set")
def _(c, a):
    assert c.config.set("service-defaults", "test-svc", {"Protocol": "http"}, dc="dc1") is True
    index = c.config.get("service-defaults", "test-svc")["ModifyIndex"]
    assert c.config.set("service-defaults", "test-svc", {"Protocol": "grpc"}, cas=index + 1) is False
    assert c.config.set("service-defaults", "test-svc", {"Protocol": "grpc"}, cas=index) is True
    assert "invalid config entry kind" in raises(Refused, c.config.set, "nothing", "x")


@case("config.get")
def _(c, a):
    entry = c.config.get("service-defaults", "test-svc")
    assert (entry["Kind"], entry["Name"], entry["Protocol"]) == ("service-defaults", "test-svc", "grpc"), entry
    assert c.config.get("service-defaults", "nobody") is None


@case("config.list")
def _(c, a):
    assert [entry["Name"] for entry in c.config.list("service-defaults")] == ["test-svc"]
    assert c.config.list("service-defaults", filter_expr='Name == "other"') == []
    assert c.config.list("service-router") == []


@case("config.delete")
def _(c, a):
    index = c.config.get("service-defaults", "test-svc")["ModifyIndex"]
    assert c.config.delete("service-defaults", "test-svc", cas=index + 1) is False
    assert c.config.delete("service-defaults", "test-svc", cas=index) is True
    assert c.config.delete("service-defaults", "test-svc") is True, "what is missing is deleted as well"


@case("discovery_chain.get")
def _(c, a):
    chain = c.discovery_chain.get("web")["Chain"]
    assert chain["ServiceName"] == "web" and chain["Protocol"] == "tcp" and chain["StartNode"] in chain["Nodes"], chain
    chain = c.discovery_chain.get("web", compile_dc="dc1", override_protocol="http", override_connect_timeout="7s",
                                  override_mesh_gateway_mode="local")["Chain"]
    assert chain["Protocol"] == "http", chain
    assert list(chain["Targets"].values())[0]["ConnectTimeout"] == "7s", chain


def asynchronously(c):
    """The package's other transport, for what it does differently: requests that wait side by side."""

    async def story():
        async with consul.aio.Consul(host="127.0.0.1", port=PORT) as client:
            index, entry = await client.kv.get("async/key")
            assert entry is None
            blocked = asyncio.create_task(client.kv.get("async/key", index=index, wait="30s"))
            assert await client.kv.put("async/key", "x")
            _, entry = await blocked
            assert entry["Value"] == b"x", entry
            assert await client.agent.service.register("async")
            found = await asyncio.gather(*(client.health.service("async") for _ in range(20)))
            assert all(len(entries) == 1 for _, entries in found)
            assert await client.agent.service.deregister("async")

    asyncio.run(story())
    print("method: consul.aio passed", flush=True)


# What is not served yet.
ABSENT = []


def main():
    # The cases of that module come last.
    importlib.import_module("py_consul_admin")
    trial = Trial("consul", ABSENT)
    trial.watch_class("Check", consul.Check)
    client = trial.watch(consul.Consul(host="127.0.0.1", port=PORT))
    guarded = trial.watch(consul.Consul(host="127.0.0.1", port=SETTINGS["acl"], token=SETTINGS["token"]))
    asynchronously(client)
    sys.exit(0 if trial.run(client, guarded) else 1)


main()
