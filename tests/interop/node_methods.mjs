// Runs one case for each public method of the npm package `consul`, found by walking the client that is tried: a method
// without a case fails, and so does a case that does not call its method. What is refused names the contract's line.
//
// Usage: node node_methods.mjs <folder of node_modules> '<json>' with http and other things that the cases say

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [modules, settings] = process.argv.slice(2);
const Consul = createRequire(`${modules}/`)("consul");
const { http: port, acl, token, joined } = JSON.parse(settings);

const called = new Set();
const asked = new Set();
const paths = [];

// Notes each call of a public method of `thing` and of its parts.
function walk(thing, path, seen) {
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(thing))) {
    if (name === "constructor" || name.startsWith("_") || typeof thing[name] !== "function") continue;
    const method = thing[name];
    const own = path + name;
    if (!paths.includes(own)) paths.push(own);
    thing[name] = function (...args) {
      called.add(own);
      return method.apply(this, args);
    };
  }
  for (const [name, part] of Object.entries(thing)) {
    if (name.startsWith("_") || typeof part !== "object" || part === null || seen.has(part)) continue;
    if (!("consul" in part)) continue;
    seen.add(part);
    walk(part, `${path}${name}.`, seen);
  }
}

function client(port, defaults) {
  const consul = new Consul({ host: "127.0.0.1", port: Number(port), defaults });
  walk(consul, "", new Set([consul]));
  consul.on("log", (tags, request) => {
    if (tags[1] === "request" && request?.method) asked.add(`${request.method} ${request.path}`);
  });
  return consul;
}

const c = client(port);
// Its management token is ours.
const a = acl ? client(acl, { token }) : null;

const until = async (what, look) => {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < deadline, `waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

// Calls what must be refused, and returns the refusal.
async function refused(call, status, text) {
  const error = await call.then(
    (answer) => assert.fail(`a refusal was due and ${JSON.stringify(answer)} was answered`),
    (error) => error,
  );
  assert.equal(error.response?.statusCode, status, error.message);
  // Of a 404 the package keeps no text.
  if (text) assert.match(String(error.message), text);
}

const cases = {
  async destroy() {
    // Ends the connections that a client keeps.
    const other = client(port);
    assert.ok(await other.status.leader());
    other.destroy();
  },

  async watch() {
    await c.kv.set("watch/key", "1");
    const told = [];
    let tell;
    const watch = c.watch({ method: c.kv.get, options: { key: "watch/key", wait: "30s" } });
    watch.on("change", (data) => (told.push(data?.Value), tell?.()));
    const next = (count) =>
      new Promise((resolve) => {
        tell = () => told.length >= count && resolve();
        tell();
      });
    await next(1);
    await c.kv.set("watch/other", "x");
    await c.kv.set("watch/key", "1");
    await c.kv.set("watch/key", "2");
    await next(2);
    await c.kv.del("watch/key");
    await next(3);
    await c.kv.set("watch/key", "3");
    await next(4);
    watch.end();
    assert.deepEqual(told, ["1", "2", undefined, "3"]);
  },

  async "kv.set"() {
    assert.equal(await c.kv.set("set/a#b?c d", "ä"), true);
    assert.equal((await c.kv.get("set/a#b?c d")).Value, "ä");
    assert.equal(await c.kv.set({ key: "set/cas", value: "1", cas: "0" }), true);
    // The package tells a refusal as nothing.
    assert.ok(!(await c.kv.set({ key: "set/cas", value: "2", cas: "0" })));
    await c.kv.set({ key: "set/flags", value: "1", flags: "1152921504606846976" });
    const binary = Buffer.from([0, 1, 2, 255]);
    await c.kv.set({ key: "set/binary", value: binary });
    assert.deepEqual((await c.kv.get({ key: "set/binary", buffer: true })).Value, binary);
    await refused(c.kv.set({ key: "set/far", value: "", dc: "elsewhere" }), 500, /No path to datacenter/);
  },
  async "kv.get"() {
    assert.equal(await c.kv.get("get/absent"), undefined);
    await c.kv.set("get/a/1", "one");
    await c.kv.set("get/a/2", "two");
    const all = await c.kv.get({ key: "get/a/", recurse: true });
    assert.deepEqual(all.map((item) => item.Value), ["one", "two"]);
    assert.equal((await c.kv.get({ key: "get/a/1", raw: true })).toString(), "one");
    assert.equal((await c.kv.get({ key: "get/a/1", consistent: true })).Value, "one");
  },
  async "kv.keys"() {
    assert.deepEqual(await c.kv.keys("get/"), ["get/a/1", "get/a/2"]);
    assert.deepEqual(await c.kv.keys({ key: "get/", separator: "/" }), ["get/a/"]);
    await refused(c.kv.keys("keys/absent"), 404);
  },
  async "kv.del"() {
    const index = (await c.kv.get("get/a/1")).ModifyIndex;
    assert.ok(!(await c.kv.del({ key: "get/a/1", cas: index + 1 })));
    assert.equal(await c.kv.del({ key: "get/a/1", cas: index }), true);
    assert.equal(await c.kv.del({ key: "get/", recurse: true }), true);
    assert.equal(await c.kv.get({ key: "get/", recurse: true }), undefined);
  },
  async "kv.delete"() {
    assert.equal(await c.kv.delete("get/absent"), true);
  },

  async "transaction.create"() {
    const value = Buffer.from("1").toString("base64");
    const answer = await c.transaction.create([
      { KV: { Verb: "set", Key: "txn/a", Value: value } },
      { KV: { Verb: "get", Key: "txn/a" } },
    ]);
    assert.equal(answer.Results[1].KV.Value, value);
    await refused(c.transaction.create([{ KV: { Verb: "cas", Key: "txn/a", Value: value, Index: 1 } }]), 409);
  },

  async "session.create"() {
    const { ID } = await c.session.create({
      name: "s", node: "n1", lockdelay: "1s", behavior: "delete", ttl: "60s", checks: ["serfHealth"],
    });
    const [session] = await c.session.list();
    assert.deepEqual([session.ID, session.Name, session.TTL, session.LockDelay], [ID, "s", "60s", 1e9]);
    await c.session.destroy(ID);
    await refused(c.session.create({ ttl: "1s" }), 500, /Invalid Session TTL/);
  },
  // Two contenders for a lock: the second watches the key and takes it over when the first is gone.
  async "session.destroy"() {
    const first = (await c.session.create({ lockdelay: "0s" })).ID;
    const second = (await c.session.create({ lockdelay: "0s" })).ID;
    assert.equal(await c.kv.set({ key: "lock", value: "first", acquire: first }), true);
    assert.ok(!(await c.kv.set({ key: "lock", value: "second", acquire: second })));
    const taken = new Promise((resolve) => {
      const watch = c.watch({ method: c.kv.get, options: { key: "lock" } });
      watch.on("change", async (entry) => {
        if (entry.Session || !(await c.kv.set({ key: "lock", value: "second", acquire: second }))) return;
        watch.end();
        resolve();
      });
    });
    await c.session.destroy(first);
    await taken;
    const entry = await c.kv.get("lock");
    assert.deepEqual([entry.Session, entry.Value, entry.LockIndex], [second, "second", 2]);
    assert.equal(await c.kv.set({ key: "lock", value: "", release: second }), true);
    await c.session.destroy(second);
    await c.session.destroy(second);
  },
  async "session.info"() {
    const { ID } = await c.session.create();
    assert.equal((await c.session.info(ID)).Node, "n1");
    await c.session.destroy(ID);
  },
  async "session.get"() {
    assert.equal(await c.session.get("6a3c1f0e-0000-4000-8000-000000000001"), undefined);
  },
  async "session.node"() {
    assert.deepEqual(await c.session.node("n1"), []);
  },
  async "session.list"() {
    assert.deepEqual(await c.session.list(), []);
  },
  async "session.renew"() {
    const { ID } = await c.session.create({ ttl: "10s" });
    assert.equal((await c.session.renew(ID))[0].ID, ID);
    await c.session.destroy(ID);
    await refused(c.session.renew(ID), 404);
  },

  async "status.leader"() {
    assert.match(await c.status.leader(), /^127\.0\.0\.1:/);
  },
  async "status.peers"() {
    assert.deepEqual(await c.status.peers(), [await c.status.leader()]);
  },

  async "agent.self"() {
    assert.equal((await c.agent.self()).Config.NodeName, "n1");
  },
  async "agent.members"() {
    assert.deepEqual((await c.agent.members()).map((member) => member.Name), ["n1"]);
    assert.deepEqual((await c.agent.members({ wan: true })).length, 1);
  },
  async "agent.maintenance"() {
    await c.agent.maintenance({ enable: true, reason: "why" });
    assert.equal((await c.health.node("n1")).find((check) => check.CheckID === "_node_maintenance").Notes, "why");
    await c.agent.maintenance(false);
    assert.equal((await c.health.node("n1")).length, 1);
  },
  async "agent.service.register"() {
    await c.agent.service.register({
      name: "web", id: "web-1", address: "10.1.2.3", port: 80, tags: ["a"], meta: { k: "v" },
      checks: [
        { http: `http://127.0.0.1:${port}`, interval: "1s", timeout: "5s", notes: "n", header: { a: ["b"] } },
        { tcp: `127.0.0.1:${port}`, interval: "1s" },
        { ttl: "10m", status: "passing", deregistercriticalserviceafter: "10m" },
        { args: ["/bin/true"], interval: "1s", successbeforepassing: 1, failuresbeforecritical: 2, outputmaxsize: 512 },
        { aliasservice: "web-1" },
      ],
      taggedaddresses: { lan: { address: "10.1.2.3", port: 80 } },
    });
    const [row] = await c.catalog.service.nodes("web");
    assert.deepEqual([row.ServiceID, row.ServicePort, row.ServiceMeta, row.ServiceTags], ["web-1", 80, { k: "v" }, ["a"]]);
    await until("every check to pass", async () => (await c.health.service({ service: "web", passing: true })).length);
    await c.agent.service.register({ name: "native", port: 1, connect: { native: true } });
    await refused(c.agent.check.register({ name: "x", serviceid: "nobody", ttl: "10s" }), 404);
  },
  async "agent.service.list"() {
    assert.deepEqual(Object.keys(await c.agent.service.list()), ["native", "web-1"]);
  },
  async "agent.services"() {
    assert.deepEqual(Object.keys(await c.agent.services()), ["native", "web-1"]);
  },
  async "agent.service.maintenance"() {
    await c.agent.service.maintenance({ id: "web-1", enable: true, reason: "why" });
    assert.equal((await c.health.service({ service: "web", passing: true })).length, 0);
    await c.agent.service.maintenance({ id: "web-1", enable: false });
    await until("it to pass again", async () => (await c.health.service({ service: "web", passing: true })).length);
  },
  async "agent.check.register"() {
    await c.agent.check.register({ name: "own", id: "own-id", ttl: "10m", notes: "n", serviceid: "web-1" });
    assert.equal((await c.agent.checks())["own-id"].ServiceName, "web");
  },
  async "agent.check.list"() {
    assert.ok("own-id" in (await c.agent.check.list()));
  },
  async "agent.checks"() {
    assert.equal(Object.keys(await c.agent.checks()).length, 6);
  },
  async "agent.check.pass"() {
    await c.agent.check.pass({ id: "own-id", note: "it's fine & good" });
    const check = (await c.agent.checks())["own-id"];
    assert.deepEqual([check.Status, check.Output], ["passing", "it's fine & good"]);
  },
  async "agent.check.warn"() {
    await c.agent.check.warn("own-id");
    assert.equal((await c.health.checks("web")).find((check) => check.CheckID === "own-id").Status, "warning");
  },
  async "agent.check.fail"() {
    await c.agent.check.fail("own-id");
    assert.equal((await c.health.state("critical")).find((check) => check.CheckID === "own-id").Status, "critical");
  },
  async "agent.check.deregister"() {
    await c.agent.check.deregister("own-id");
    await refused(c.agent.check.deregister("own-id"), 404);
  },

  async "catalog.datacenters"() {
    assert.deepEqual(await c.catalog.datacenters(), ["dc1"]);
  },
  async "catalog.register"() {
    const service = { service: "db", id: "db-1", port: 5432, tags: ["v1"] };
    await c.catalog.register({
      node: "ext", address: "10.0.0.1", nodemeta: { rack: "7" },
      service, check: { node: "ext", checkid: "alive", status: "passing", serviceid: "db-1", notes: "n",
        definition: { tcp: "127.0.0.1:1", intervalduration: "600s", timeoutduration: "1s" } },
    });
    assert.equal((await c.health.service("db"))[0].Checks[0].CheckID, "alive");
  },
  async "catalog.nodes"() {
    assert.deepEqual((await c.catalog.nodes()).map((node) => node.Node), ["ext", "n1"]);
  },
  async "catalog.node.list"() {
    assert.deepEqual((await c.catalog.node.list("dc1")).map((node) => node.Node), ["ext", "n1"]);
    await refused(c.catalog.node.list("elsewhere"), 500, /No path to datacenter/);
  },
  async "catalog.node.services"() {
    assert.deepEqual(Object.keys((await c.catalog.node.services("ext")).Services), ["db-1"]);
    assert.ok(!(await c.catalog.node.services("nobody")));
  },
  async "catalog.services"() {
    assert.deepEqual(await c.catalog.services(), { consul: [], db: ["v1"], native: [], web: ["a"] });
  },
  async "catalog.service.list"() {
    assert.deepEqual(Object.keys(await c.catalog.service.list()), ["consul", "db", "native", "web"]);
  },
  async "catalog.service.nodes"() {
    assert.equal((await c.catalog.service.nodes({ service: "db", tag: "v1" }))[0].NodeMeta.rack, "7");
    assert.deepEqual(await c.catalog.service.nodes({ service: "db", tag: "v2" }), []);
  },
  async "catalog.connect.nodes"() {
    assert.equal((await c.catalog.connect.nodes("native"))[0].ServiceName, "native");
  },
  async "health.node"() {
    assert.equal((await c.health.node("n1"))[0].CheckID, "serfHealth");
  },
  async "health.checks"() {
    assert.deepEqual((await c.health.checks("db")).map((check) => check.CheckID), ["alive"]);
  },
  async "health.service"() {
    assert.equal((await c.health.service({ service: "db", passing: true, tag: "v1", near: "n1" })).length, 1);
    assert.deepEqual(await c.health.service("nobody"), []);
  },
  async "health.state"() {
    assert.ok((await c.health.state("any")).length > 2);
    assert.deepEqual(await c.health.state("warning"), []);
  },
  async "catalog.deregister"() {
    await c.catalog.deregister({ node: "ext", serviceid: "db-1" });
    await c.catalog.deregister("ext");
    assert.deepEqual((await c.catalog.nodes()).map((node) => node.Node), ["n1"]);
  },
  async "agent.service.deregister"() {
    await c.agent.service.deregister("web-1");
    await c.agent.service.deregister({ id: "native" });
    assert.deepEqual(await c.agent.services(), {});
    await refused(c.agent.service.deregister("web-1"), 404);
  },

  async "event.fire"() {
    const event = await c.event.fire("deploy", "payload");
    const keys = ["ID", "LTime", "Name", "NodeFilter", "Payload", "ServiceFilter", "TagFilter", "Version"];
    assert.deepEqual(Object.keys(event).sort(), keys);
    assert.equal(event.Payload, "payload");
    await c.event.fire({ name: "other", node: "n.*", service: "w", tag: "t" });
  },
  async "event.list"() {
    assert.deepEqual((await c.event.list("deploy")).map((event) => event.Payload), ["payload"]);
  },

  async "query.create"() {
    await c.agent.service.register({ name: "asked", port: 80, tags: ["t"] });
    const { ID } = await c.query.create({
      name: "q", dns: { ttl: "10s" }, template: { type: "name_prefix_match", regexp: "^q(.*)$" },
      service: { service: "asked", onlypassing: true, tags: ["t"], failover: { nearestn: 1, datacenters: ["dc1"] } },
    });
    assert.equal((await c.query.get(ID)).DNS.TTL, "10s");
    await c.query.destroy(ID);
  },
  async "query.list"() {
    const { ID } = await c.query.create("asked");
    assert.deepEqual((await c.query.list()).map((query) => query.ID), [ID]);
    await c.query.destroy(ID);
  },
  async "query.get"() {
    const { ID } = await c.query.create({ name: "got", service: { service: "asked" } });
    assert.equal((await c.query.get(ID)).Name, "got");
    await c.query.destroy(ID);
    await refused(c.query.get("6a3c1f0e-0000-4000-8000-000000000001"), 404);
  },
  async "query.update"() {
    const { ID } = await c.query.create({ name: "before", service: { service: "asked" } });
    await c.query.update({ query: ID, name: "after", service: { service: "asked" } });
    assert.equal((await c.query.get(ID)).Name, "after");
    await c.query.destroy(ID);
  },
  async "query.execute"() {
    const { ID } = await c.query.create({ name: "run", service: { service: "asked" } });
    assert.equal((await c.query.execute("run")).Nodes.length, 1);
    await c.query.destroy(ID);
    await refused(c.query.execute("run"), 404);
  },
  async "query.explain"() {
    const { ID } = await c.query.create({ name: "told", service: { service: "asked" } });
    // The package shows the first of a list here, and the answer is none: what counts is that it is no refusal.
    await c.query.explain("told");
    await c.query.destroy(ID);
    await refused(c.query.explain("told"), 404);
  },
  async "query.destroy"() {
    const { ID } = await c.query.create("asked");
    await c.query.destroy(ID);
    assert.deepEqual(await c.query.list(), []);
    await c.agent.service.deregister("asked");
  },

  async "acl.bootstrap"() {
    await refused(c.acl.bootstrap(), 401, /ACL support disabled/);
    await refused(a.acl.bootstrap(), 403, /no longer allowed/);
  },
  async "acl.replication"() {
    assert.equal((await a.acl.replication()).Enabled, false);
  },
  // Removed from the API long ago: the contract's 21.
  "acl.legacy.create": () => refused(c.acl.legacy.create({ name: "x" }), 404),
  "acl.legacy.update": () => refused(c.acl.legacy.update({ id: "x" }), 404),
  "acl.legacy.destroy": () => refused(c.acl.legacy.destroy("x"), 404),
  "acl.legacy.info": () => refused(c.acl.legacy.info("x"), 404),
  "acl.legacy.get": () => refused(c.acl.legacy.get("x"), 404),
  "acl.legacy.clone": () => refused(c.acl.legacy.clone("x"), 404),
  "acl.legacy.list": () => refused(c.acl.legacy.list(), 404),

  async "agent.reload"() {
    await c.agent.reload();
  },
  async "agent.join"() {
    await c.agent.join(joined);
    const members = await c.agent.members();
    assert.deepEqual(members.map((member) => [member.Name, member.Status]).sort(), [["n1", 1], ["n2", 1]]);
  },
  async "agent.forceLeave"() {
    await c.agent.forceLeave("n2");
    // It is alive: it is leaving until it says that it is not.
    await until("the other to be leaving", async () =>
      (await c.agent.members()).some((member) => member.Name === "n2" && member.Status === 2),
    );
  },
};

// What is not served yet: it must fail, so that the list cannot outlive its reason.
const absent = [];

const problems = [];
for (const [path, run] of Object.entries(cases)) {
  called.delete(path);
  asked.clear();
  let problem;
  if (!paths.includes(path)) problem = "a case for a method that is not there";
  else {
    problem = await Promise.resolve()
      .then(run)
      .then(() => (called.has(path) ? undefined : "its case does not call it"), (error) => error.stack);
  }
  if (absent.some((word) => (word.endsWith(".") ? path.startsWith(word) : path === word))) {
    if (!problem) problems.push(`${path}: it is served, and listed as absent`);
  } else if (problem) problems.push(`${path}: ${problem}`);
  else {
    for (const operation of [...asked].sort()) console.log(`asked: ${path} ${operation}`);
    console.log(`method: ${path} passed`);
  }
}
for (const path of paths) if (!(path in cases)) problems.push(`${path}: no case`);
for (const problem of problems) console.log(`FAILED: ${problem}`);
console.log(`figure: ${paths.length} methods of the npm package consul, ${problems.length} failed`);
process.exit(problems.length ? 1 : 0);
