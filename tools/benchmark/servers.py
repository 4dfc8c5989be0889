# SPDX-License-Identifier: MIT
"""Apache and nginx in the foreground on a port of their own, and their clients."""
import contextlib
import os
import re
import shutil
import socket
import time

from .build import Failure

APACHE_MODULES = "/usr/lib/apache2/modules"

APACHE = """
ServerRoot {directory}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {directory}/apache.pid
ErrorLog {directory}/apache.log
DefaultRuntimeDir {directory}
Mutex file:{directory} default
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
User www-data
Group www-data
StartServers 2
ThreadsPerChild 64
MaxRequestWorkers 320
ServerLimit 5
EnableSendfile {sendfile}
EnableMMAP {mmap}
DocumentRoot {root}
<Directory {root}>
    Require all granted
    AllowOverride None
</Directory>
"""

NGINX = """
daemon off;
user www-data;
worker_processes 2;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
thread_pool default threads=16;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    aio threads;
    {directio}
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
}}
"""

# wrk asks for one name after another, from a list of its own per thread.
SCRIPT = """
local n = {count}
local i = 0
request = function()
    i = (i + 7919) % n
    return wrk.format("GET", string.format("/{prefix}%06d", i))
end
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def serving(bench, kind, root, group, directio=False, how="sendfile"):
    """kind: apache or nginx; how Apache sends: by sendfile, mmap or read.  Yields the URL of
    root."""
    program = {"apache": "apache2", "nginx": "nginx"}[kind]
    if not shutil.which(program):
        raise Failure(f"{kind} is not installed: tools/bootstrap --tests")
    directory = os.path.join(bench.scratch, f"{kind}.{bench.guard.number()}")
    os.mkdir(directory)
    port = free_port()
    config = os.path.join(directory, "conf")
    with open(config, "w") as stream:
        stream.write((APACHE if kind == "apache" else NGINX).format(
            directory=directory, port=port, root=root, modules=APACHE_MODULES,
            sendfile="On" if how == "sendfile" else "Off", mmap="On" if how == "mmap" else "Off",
            directio="directio 4m; output_buffers 2 1m;" if directio else ""))
    argv = ["apache2", "-f", config, "-DFOREGROUND"] if kind == "apache" else \
        ["nginx", "-e", os.path.join(directory, "nginx.log"), "-c", config]
    with open(os.path.join(directory, "out"), "ab") as log, \
         bench.guard.process(argv, group, stdout=log, stderr=log) as process:
        end = time.monotonic() + 15
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > end:
                raise Failure(f"{kind} does not answer: see {directory}")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"


def fetch(url):
    """One client that asks for a file once; {"seconds", "bytes"}."""
    _, _, place = url.partition("//")
    host, _, path = place.partition("/")
    address, port = host.split(":")
    buffer = bytearray(1 << 20)
    begin = time.monotonic()
    with socket.create_connection((address, int(port)), timeout=60) as client:
        client.sendall(f"GET /{path} HTTP/1.0\r\n\r\n".encode())
        head = client.recv(4096)
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise Failure(f"the server answers {head[:60]!r}")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        total = len(head) - head.index(b"\r\n\r\n") - 4
        while True:
            # On TCP this takes bytes off the queue and copies nothing.
            got = client.recv_into(buffer, len(buffer), socket.MSG_TRUNC)
            if not got:
                break
            total += got
    if not length or total != int(length[1]):
        raise Failure(f"the server sent {total} bytes")
    return {"seconds": time.monotonic() - begin, "bytes": total}


def _number(text, pattern, units):
    found = re.search(pattern, text)
    if not found:
        raise Failure("wrk said nothing that can be read: " + text.strip()[-200:])
    return float(found[1]) * units[found[2] if found.lastindex > 1 else ""]


BYTES = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}


def ask(bench, url, clients, seconds, names=None):
    """wrk for so long; a sample.  names: (prefix, count) of files to ask for in turn."""
    if not shutil.which("wrk"):
        raise Failure("wrk is not installed: apt-get install wrk")
    argv = ["wrk", f"-t{min(2, clients)}", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s"]
    if names:
        script = os.path.join(bench.scratch, "ask.lua")
        with open(script, "w") as stream:
            stream.write(SCRIPT.format(prefix=names[0], count=names[1]))
        argv += ["-s", script]
    text = bench.run([*argv, url])
    if re.search(r"Non-2xx", text):
        raise Failure("the server answered with errors: " + text.strip()[-200:])
    took = _number(text, r"in ([\d.]+)(m|s)", {"s": 1, "m": 60})
    return {"seconds": took,
            "bytes": int(_number(text, r", ([\d.]+)([KMGT]?B) read", BYTES)),
            "requests": _number(text, r"Requests/sec:\s+([\d.]+)", {"": 1})}
