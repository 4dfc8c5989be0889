# SPDX-License-Identifier: MIT
"""Web servers in the foreground on a loopback port of their own, ended by pid."""
import contextlib
import hashlib
import http.client
import os
import socket
import subprocess
import threading

from util import need, wait_for


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(argv, port, log):
    with open(log, "ab") as output:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def answers():
        if process.poll() is not None:
            raise AssertionError(f"{argv[0]} ended: {open(log, errors='replace').read()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(answers, 20, f"{argv[0]} answers")
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def apache(directory, root, sendfile, use_mmap):
    """Apache with those two settings serving root; yields the port."""
    need("apache2")
    port = free_port()
    modules = "/usr/lib/apache2/modules"
    config = os.path.join(directory, "apache.conf")
    with open(config, "w") as stream:
        stream.write(f"""
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
ThreadsPerChild 25
EnableSendfile {sendfile}
EnableMMAP {use_mmap}
DocumentRoot {root}
<Directory {root}>
    Require all granted
</Directory>
""")
    with running(["apache2", "-f", config, "-DFOREGROUND"], port,
                 os.path.join(directory, "apache.out")):
        yield port


@contextlib.contextmanager
def nginx(directory, root):
    """nginx with sendfile and threads serving root; yields the port."""
    need("nginx")
    port = free_port()
    config = os.path.join(directory, "nginx.conf")
    with open(config, "w") as stream:
        stream.write(f"""
daemon off;
user www-data;
worker_processes 2;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
thread_pool default threads=4;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    aio threads;
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
""")
    with running(["nginx", "-e", os.path.join(directory, "nginx.log"), "-c", config], port,
                 os.path.join(directory, "nginx.out")):
        yield port


def fetch(port, name, span=None):
    """Status and SHA-256 and length of a GET; span: first and last byte, as in the header."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"Range": f"bytes={span[0]}-{span[1]}"} if span else {}
        connection.request("GET", "/" + name, headers=headers)
        answer = connection.getresponse()
        digest, length = hashlib.sha256(), 0
        while data := answer.read(1 << 20):
            digest.update(data)
            length += len(data)
        return answer.status, digest.hexdigest(), length
    finally:
        connection.close()


def check_served(port, files, clients=32):
    """files: name to contents.  Every file whole and in ranges, then by many clients at once."""
    def expect(data):
        return hashlib.sha256(data).hexdigest(), len(data)

    for name, data in files.items():
        assert fetch(port, name) == (200, *expect(data)), name
        size = len(data)
        for first, last in ((0, 0), (size - 1, size - 1), (4095, 4097), (100001, 399999),
                            (size // 2, size + 1000)):
            if first < size:
                assert fetch(port, name, (first, last)) == (206, *expect(data[first:last + 1]))
    failures = []

    def client(number):
        names = list(files)
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            first = number * 5001 % len(files[name])
            want = 206, *expect(files[name][first:])
            try:
                found = fetch(port, name, (first, len(files[name])))
            except OSError as error:
                found = error
            if found != want:
                failures.append((number, name, found))

    threads = [threading.Thread(target=client, args=(number,), daemon=True)
               for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, failures[:3]
    assert not any(thread.is_alive() for thread in threads)
