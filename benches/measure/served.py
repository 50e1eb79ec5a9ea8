"""Requests per second and tail latency of servers under short connections."""

import csv
import io
import re
import socket
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from .bench import alone, environment, interleaved, on_core, preload, run, start, stop, sysctl
from .report import COLOURS, number, pyplot, save, spread, table

PORT = 8080
# Of redis-benchmark: about half a second. Many short runs, since the machine's pace changes by the second.
REQUESTS = 10_000
CONF = """daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 "{body}"; }} }}
}}
"""


def variants(bench):
    return {"no preload": {}} | {
        linger: preload(bench.reuse, LIBREUSE_LINGER=linger) for linger in ("off", "graceful", "zero")
    } | {"no preload, again": {}}


def measure(bench):
    known = variants(bench)
    result = {}
    for title, function, rounds in (
        ("nginx: the server closes first, shim in nginx", nginx, 16),
        ("redis: the client closes first, shim in redis-server", redis_server, 12),
        ("redis: the client closes first, shim in redis-benchmark", redis_client, 12),
    ):
        found = defaultdict(list)
        for name in interleaved(known, bench.samples(rounds, 2)):
            found[name].append(function(known[name]))
        result[title] = {name: found[name] for name in known}
    return result


def wait_for(port):
    """Waits until somebody listens."""
    deadline = time.monotonic() + 20
    while True:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody listens on {port}")
        time.sleep(0.01)


@alone
def nginx(variables):
    sysctl("net.ipv4.ip_local_port_range", "1024 65535")
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder) / "conf"
        conf.write_text(CONF.format(folder=folder, port=PORT, body="x" * 1024))
        command = ["/usr/sbin/nginx", "-p", folder, "-e", f"{folder}/error", "-c", conf]
        server = start(on_core(0, command), variables)
        try:
            wait_for(PORT)
            said = load("--latency", "--header", "Connection: close")
        finally:
            stop(server)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    return {
        "rate": rate(said),
        "p99": milliseconds(re.search(r"99% +(\S+)", said)[1]),
        "errors": sum(map(int, errors.groups())) if errors else 0,
        "requests": int(re.search(r"(\d+) requests in", said)[1]),
    }


def load(*options):
    """A second of requests to the server, from the other core; returns what is said of it."""
    words = ["wrk", "--threads", 1, "--connections", 16, "--duration", "1s", *options, f"http://127.0.0.1:{PORT}/"]
    return run(on_core(1, words), env=environment())


def rate(said):
    """Requests a second."""
    return float(re.search(r"Requests/sec: +([\d.]+)", said)[1])


def milliseconds(text):
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


@alone
def redis_server(variables):
    return redis(variables, {})


@alone
def redis_client(variables):
    return redis({}, variables)


def redis(of_server, of_client):
    sysctl("net.ipv4.ip_local_port_range", "1024 65535")
    with tempfile.TemporaryDirectory() as folder:
        where = ["--port", PORT, "--bind", "127.0.0.1", "--dir", folder]
        server = start(on_core(0, ["/usr/bin/redis-server", *where, "--save", "", "--loglevel", "warning"]), of_server)
        try:
            wait_for(PORT)
            load = ["redis-benchmark", "-p", PORT, "-t", "set", "-n", REQUESTS, "-c", 16, "-k", 0, "--csv"]
            said = run(on_core(1, load), env=environment(of_client))
        finally:
            stop(server)
    *_, row = csv.DictReader(io.StringIO(said))
    return {"rate": float(row["rps"]), "p99": float(row["p99_latency_ms"]), "errors": 0, "requests": REQUESTS}


def ratios(runs, what):
    """To the run without preload in the same round."""
    return {
        name: [mine[what] / theirs[what] for mine, theirs in zip(found, runs["no preload"])]
        for name, found in runs.items()
    }


def tables(result):
    rows = []
    for title, runs in result.items():
        rate, tail = ratios(runs, "rate"), ratios(runs, "p99")
        for name, found in runs.items():
            errors = sum(it["errors"] for it in found) / sum(it["requests"] for it in found)
            rows.append([
                f"{title}: **{name}**", spread(rate[name], 3), spread(it["rate"] for it in found),
                spread(tail[name], 2), spread((it["p99"] for it in found), 2), f"{number(100 * errors, 2)} %",
            ])
    header = ["load", "requests/s, ratio", "requests/s", "p99, ratio", "p99, ms", "requests cut"]
    return {"served": table(header, rows)}


def plots(result, folder):
    figure, panels = pyplot.subplots(1, len(result), sharey=True)
    for axes, (title, runs) in zip(panels, result.items()):
        of_all = ratios(runs, "rate")
        names = [name for name in of_all if name != "no preload"]
        boxes = axes.boxplot([of_all[name] for name in names], patch_artist=True, medianprops={"color": "black"})
        for box, name in zip(boxes["boxes"], names):
            box.set_facecolor(COLOURS.get(name, "#dddddd"))
        axes.set_xticks(range(1, len(names) + 1), [name.replace(", ", ",\n") for name in names], fontsize=7)
        axes.axhline(1, color="#222222", linewidth=0.8)
        axes.axhline(0.97, color="#222222", linewidth=0.6, linestyle=":")
        axes.set_title(title.replace(": ", "\n").replace(", ", ",\n"), fontsize=9)
    panels[0].set_ylabel("requests/s, no preload = 1")
    return [save(figure, folder, "served")]
