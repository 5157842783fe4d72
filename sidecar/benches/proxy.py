#!/usr/bin/env python3
"""CPU per request, requests per second and latency of the sidecar beside Envoy, HAProxy and nginx.

    cargo build --release -p callboard-sidecar
    sidecar/benches/proxy.py target/release/callboard-sidecar --envoy PATH [--rounds 5 --seconds 3]

Plaintext HTTP/1.1 with keep-alive on the loopback interface, a 100-byte answer. Every proxy has one worker
on CPU 0; the generator (wrk) and the instance (nginx) share CPU 1. All proxies run at once and are
measured in turn, round by round, so that noise of the machine meets all of them alike; the table shows medians.
CPU is user and system time of the proxy's processes, all threads included. What is not installed is left out.
"""

import argparse
import http.server
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

BODY = "x" * 100


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nobody listens on port {port}")


def start(cpu, *command):
    return subprocess.Popen(["taskset", "-c", str(cpu), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def control_node(instance):
    """Answers the one question the sidecar asks; a waiting question waits."""
    rows = [{
        "Node": {"Node": "n1", "Address": "127.0.0.1"},
        "Service": {"ID": "web-1", "Service": "web", "Address": "127.0.0.1", "Port": instance, "Tags": [],
                    "Meta": {}, "Weights": {"Passing": 1, "Warning": 1}},
        "Checks": [],
    }]

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            if "index=7" in self.path:
                time.sleep(600)
            body = json.dumps(rows).encode()
            self.send_response(200)
            for name, value in [("X-Consul-Index", "7"), ("X-Consul-KnownLeader", "true"),
                                ("X-Consul-LastContact", "0"), ("Content-Type", "application/json"),
                                ("Content-Length", str(len(body)))]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


NGINX = """daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log /dev/null;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {folder}; proxy_temp_path {folder};
fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
{http} }}"""

HAPROXY = """global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:{port}
  default_backend web
backend web
  server web-1 127.0.0.1:{instance}
"""


def envoy(port, instance):
    address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in", "generate_request_id": False,
        "route_config": {"virtual_hosts": [{"name": "web", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "web", "timeout": "60s"}}]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", "dynamic_stats": False}}],
    }
    many = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    return json.dumps({"static_resources": {
        "listeners": [{"address": address(port), "filter_chains": [{"filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}],
        "clusters": [{"name": "web", "type": "STATIC", "connect_timeout": "2s", "lb_policy": "LEAST_REQUEST",
                      "circuit_breakers": {"thresholds": [many]},
                      "load_assignment": {"cluster_name": "web", "endpoints": [{"lb_endpoints": [
                          {"endpoint": {"address": address(instance)}}]}]}}]}})


def family(pid):
    pids = [pid]
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    if int(stat.read().rsplit(")", 1)[1].split()[1]) == pid:
                        pids.append(int(entry))
            except OSError:
                pass
    return pids


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mb(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status") as status:
            total += int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))
    return total / 1024


def microseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def wrk(port, connections, seconds, header):
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    if header:
        command += ["-H", header]
    text = subprocess.run([*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True).stdout
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", text) or re.search(r"Socket errors: (.*)", text)
    if errors:
        print(f"  errors on port {port}: {errors.group(1)}", file=sys.stderr)
    count = int(re.search(r"(\d+) requests in", text).group(1))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))
    return count, rate, *(microseconds(re.search(rf"^\s+{part}%\s+(\S+)", text, re.M).group(1)) for part in (50, 99))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sidecar", nargs="+", help="binary, or NAME=BINARY to compare several")
    parser.add_argument("--envoy", default=shutil.which("envoy"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--outbound", action="store_true", help="measure the shared port, too")
    args = parser.parse_args()
    folder = tempfile.mkdtemp()
    write = lambda name, text: open(f"{folder}/{name}", "w").write(text) and f"{folder}/{name}"
    started = []

    def run(cpu, *command):
        started.append(start(cpu, *command))
        return started[-1].pid

    try:
        instance = free_port()
        server = f"server {{ listen 127.0.0.1:{instance}; location / {{ return 200 '{BODY}'; }} }}"
        run(1, "nginx", "-c", write("instance.conf", NGINX.format(folder=folder, name="instance", http=server)))
        wait_for(instance)
        subjects = [("direct", instance, None, None)]
        control = control_node(instance)
        for given in args.sidecar:
            name, binary = given.split("=", 1) if "=" in given else ("sidecar", given)
            process = subprocess.Popen(
                ["taskset", "-c", "0", binary, "--control", f"http://127.0.0.1:{control}", "--upstream",
                 "web=127.0.0.1:0", "--outbound", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            started.append(process)
            addresses = json.loads(process.stdout.readline())
            subjects.append((name, int(addresses["upstreams"]["web"].rsplit(":", 1)[1]), process.pid, None))
            if args.outbound:
                port = int(addresses["outbound"].rsplit(":", 1)[1])
                subjects.append((f"{name}, shared port", port, process.pid, "Host: web.service.consul"))
        if shutil.which("haproxy"):
            port = free_port()
            config = write("haproxy.cfg", HAPROXY.format(port=port, instance=instance))
            subjects.append(("haproxy", port, run(0, "haproxy", "-db", "-f", config), None))
        if shutil.which("nginx"):
            port = free_port()
            proxy = (f"upstream web {{ server 127.0.0.1:{instance}; keepalive 256; keepalive_requests 100000000; }} "
                     f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://web; proxy_http_version 1.1; "
                     "proxy_set_header Connection ''; } }")
            config = write("proxy.conf", NGINX.format(folder=folder, name="proxy", http=proxy))
            subjects.append(("nginx", port, run(0, "nginx", "-c", config), None))
        if args.envoy:
            port = free_port()
            config = write("envoy.json", envoy(port, instance))
            pid = run(0, args.envoy, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "off")
            subjects.append(("envoy", port, pid, None))
        for _, port, _, _ in subjects:
            wait_for(port)
        time.sleep(1)
        idle = {name: resident_mb(family(pid)) if pid else 0 for name, _, pid, _ in subjects}
        loaded = {name: [] for name in idle}
        alone = {name: [] for name in idle}
        for port, header in [(port, header) for _, port, _, header in subjects]:
            wrk(port, args.connections, 1, header)
        for _ in range(args.rounds):
            for name, port, pid, header in subjects:
                pids = family(pid) if pid else []
                before = cpu_seconds(pids)
                count, rate, p50, p99 = wrk(port, args.connections, args.seconds, header)
                loaded[name].append(((cpu_seconds(pids) - before) * 1e6 / count, rate, p50, p99))
                alone[name].append(wrk(port, 1, max(1, args.seconds // 3), header)[2:])
        median = lambda rows, column: statistics.median(row[column] for row in rows)
        base_cpu = median(loaded[subjects[1][0]], 0)
        direct = [median(alone["direct"], column) for column in (0, 1)]
        print(f"{args.rounds} rounds of {args.seconds} s, {args.connections} connections; added latency at 1 connection")
        print(f"{'':24}{'CPU us/req':>11}{'ratio':>7}{'requests/s':>12}{'p50 us':>9}{'p99 us':>9}"
              f"{'added p50':>11}{'added p99':>11}{'idle MB':>9}")
        for name, *_ in subjects:
            cpu, rate, p50, p99 = (median(loaded[name], column) for column in range(4))
            added = [median(alone[name], column) - direct[column] for column in (0, 1)]
            shown = f"{cpu:11.1f}{cpu / base_cpu:7.2f}" if cpu else f"{'':18}"
            print(f"{name:24}{shown}{rate:12,.0f}{p50:9.0f}{p99:9.0f}{added[0]:11.0f}{added[1]:11.0f}{idle[name]:9.1f}")
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        for process in started:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)


main()
