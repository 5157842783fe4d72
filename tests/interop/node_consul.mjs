// The npm package `consul`: register, health, keys, and its watch, which must see a registration, a change of status
// and a deregistration within a second each, and must not wake without a change.
//
// Usage: node node_consul.mjs <folder of node_modules> <http port>

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [modules, port] = process.argv.slice(2);
const Consul = createRequire(`${modules}/`)("consul");
const consul = new Consul({ host: "127.0.0.1", port: Number(port) });

const WITHIN_MS = 1000;

// Answers that the watch has told, and whoever waits for the next one.
const told = [];
let tell = null;
const watch = consul.watch({ method: consul.health.service, options: { service: "web", wait: "60s" } });
watch.on("change", (data) => {
  told.push(data);
  tell?.();
});
watch.on("error", (error) => {
  console.error(error);
  process.exit(1);
});

function status(data) {
  const check = data[0]?.Checks.find((check) => check.CheckID === "service:web");
  return check?.Status ?? "absent";
}

// Waits until the watch has told `wanted`, and fails when that takes longer than it may.
async function sees(wanted, since) {
  while (told.length === 0 || status(told.at(-1)) !== wanted) {
    const left = since + WITHIN_MS - Date.now();
    assert.ok(left > 0, `the watch did not see ${wanted} within ${WITHIN_MS} ms; it told ${told.map(status)}`);
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, left);
      tell = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
  console.log(`figure: node-consul saw ${wanted} after ${Date.now() - since} ms`);
}

// The first answer, of a service that is not there.
await sees("absent", Date.now());

let since = Date.now();
await consul.agent.service.register({ name: "web", port: 80, check: { ttl: "10m", status: "passing" } });
await sees("passing", since);

const health = await consul.health.service("web");
assert.equal(health.length, 1);
assert.equal(health[0].Service.Port, 80);

since = Date.now();
await consul.agent.check.fail({ id: "service:web", note: "broken" });
await sees("critical", since);
since = Date.now();
await consul.agent.check.pass({ id: "service:web", note: "fine" });
await sees("passing", since);

// What changes nothing, and what concerns others, must wake nobody: the next thing told is the deregistration.
const before = told.length;
await consul.agent.service.register({ name: "web", port: 80, check: { ttl: "10m" } });
await consul.agent.check.pass({ id: "service:web", note: "fine" });
await consul.agent.service.register({ name: "other", port: 81 });
assert.equal(await consul.kv.set("a/b", "text"), true);
assert.equal((await consul.kv.get("a/b")).Value, "text");
assert.deepEqual(await consul.kv.keys("a/"), ["a/b"]);
assert.equal((await consul.kv.get({ key: "a/", recurse: true })).length, 1);
await consul.kv.del("a/b");
assert.equal(await consul.kv.get("a/b"), undefined);
await consul.agent.service.deregister("other");

since = Date.now();
await consul.agent.service.deregister("web");
await sees("absent", since);
assert.deepEqual(told.slice(before).map(status), ["absent"], "no wake-up without a change");

watch.end();
console.log("done");
process.exit(0);
