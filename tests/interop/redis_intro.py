"""The introductory program of Consul's users: register a service with a check, find it, use it, see it fail.

Runs with python-consul and with py-consul: both call their module `consul`. Says each step on a line of its own, and
goes on where the test that drives it has something to do in between.
"""

import sys
import threading

import consul
import redis

http_port, redis_port = int(sys.argv[1]), int(sys.argv[2])


def say(word):
    print(word, flush=True)


c = consul.Consul(host="127.0.0.1", port=http_port)
assert c.status.leader(), "there is a leader"

# Register redis on its port with a TCP check.
check = consul.Check.tcp("127.0.0.1", redis_port, "1s", timeout="1s")
assert c.agent.service.register("redis", address="127.0.0.1", port=redis_port, tags=["master"], check=check)
assert "redis" in c.agent.services()

# The check becomes passing: wait for it by blocking queries.
index, entries = c.health.service("redis", passing=True)
while not entries:
    index, entries = c.health.service("redis", passing=True, index=index, wait="10s")
say("passing")

# Find it, connect to what was found, set and get.
_, found = c.catalog.service("redis")
assert len(found) == 1 and found[0]["ServiceTags"] == ["master"], found
address = found[0]["ServiceAddress"] or found[0]["Address"]
r = redis.Redis(host=address, port=found[0]["ServicePort"])
r.set("greeting", "hello")
assert r.get("greeting") == b"hello"
say("used")

# The key-value store, in the way of the same introduction.
assert c.kv.put("intro", "value")
kv_index, entry = c.kv.get("intro")
assert entry["Value"] == b"value", entry
assert c.kv.get("nothing")[1] is None
assert c.kv.delete("intro")

# Block on the health of redis; meanwhile the test stops it.
index, entries = c.health.service("redis", index=None)
result = {}


def block():
    result["index"], result["entries"] = c.health.service("redis", index=index, wait="60s")


blocked = threading.Thread(target=block)
blocked.start()
say("blocked")
blocked.join()
assert int(result["index"]) > int(index), (result["index"], index)
statuses = {check["CheckID"]: check["Status"] for check in result["entries"][0]["Checks"]}
assert statuses["service:redis"] == "critical", statuses
say("critical")

_, passing = c.health.service("redis", passing=True)
assert passing == []
assert c.agent.service.deregister("redis")
assert c.catalog.service("redis")[1] == []
say("gone")
