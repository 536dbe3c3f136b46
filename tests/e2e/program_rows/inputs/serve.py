"""Loads a server and prints what it answered.

  serve.py http SOCKET THREADS REQUESTS PATH...   keep-alive requests over a Unix socket: status and digest of each path
  serve.py memcached SOCKET THREADS REQUESTS      sets, gets, counts; then the sum of what is stored
"""
import hashlib
import http.client
import socket
import sys
import threading
import time


def connect(path):
    for _ in range(2000):
        try:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(path)
            return connection
        except OSError:
            time.sleep(0.01)
    sys.exit(f"{path}: nobody listens")


def http_client(path, requests, targets, digests):
    connection = http.client.HTTPConnection("localhost")
    connection.sock = connect(path)
    for i in range(requests):
        target = targets[i % len(targets)]
        connection.request("GET", "/" + target, headers={"Accept-Encoding": "gzip"} if i % 3 == 0 else {})
        answer = connection.getresponse()
        digests.add((target, i % 3 == 0, answer.status, hashlib.sha256(answer.read()).hexdigest()))


def memcached_client(path, number, requests, digests):
    connection = connect(path)
    file = connection.makefile("rwb")

    def ask(line, end):
        file.write(line)
        file.flush()
        lines = []
        while not lines or not lines[-1].startswith(end):
            lines.append(file.readline())
        return b"".join(lines)

    total = 0
    for i in range(requests):
        value = b"%d" % (i * i % 997) * (1 + i % 50)
        ask(b"set k%d.%d 0 0 %d\r\n%s\r\n" % (number, i % 300, len(value), value), b"STORED")
        total += len(ask(b"get k%d.%d k%d.%d\r\n" % (number, i % 300, number, i * 7 % 300), b"END"))
    digests.add((number, total, ask(b"delete k%d.1\r\n" % number, b"DELETED")))


kind, path, threads, requests, *targets = sys.argv[1:]
digests = set()
clients = [threading.Thread(target=http_client, args=(path, int(requests), targets, digests)) if kind == "http" else
           threading.Thread(target=memcached_client, args=(path, i, int(requests), digests)) for i in range(int(threads))]
for client in clients:
    client.start()
for client in clients:
    client.join()
for digest in sorted(digests):
    print(*digest)
