"""Visitors of a site: asks for a page over and over, and looks at each answer.

Usage: load.py ADDRESS SITE PATH RATE ANSWERS RELEASE

RATE is how many requests are made in a second, 0 for as many as there are answers. ANSWERS is a
regular expression for the texts that are right; its group is the release. Once an answer came from
RELEASE, each visitor who comes later has to get that one too. Goes on until standard input ends, and prints how
many answers came, how many requests a second these were, and what was wrong with any of them.
"""

import http.client
import json
import re
import socket
import ssl
import sys
import threading
import time

VISITORS = 8
MOST_TOLD = 5

address, site, path, rate, answers, release = sys.argv[1:]
rate = float(rate)
answers = re.compile(answers)
context = ssl._create_unverified_context()
is_over = threading.Event()
counts, wrong, seen = [0] * VISITORS, [], []


class Connection(http.client.HTTPSConnection):
    def connect(self):
        plain = socket.create_connection((address, 443), self.timeout)
        self.sock = context.wrap_socket(plain, server_hostname=site)


def ask():
    """Asks once, over a connection of its own: none that was closed in the meantime is used."""
    began = time.monotonic()
    connection = Connection(site, timeout=60)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        text = answer.read().decode()
        found = answers.fullmatch(text.strip())
        if answer.status != 200 or not found:
            wrong.append(f"{answer.status}: {text[:200]}")
        else:
            seen.append((began, time.monotonic(), found[1]))
    except Exception as error:
        # Of any kind: nobody would miss a visitor that ends.
        wrong.append(f"no answer: {error!r}")
    finally:
        connection.close()


def visit(number):
    due = time.monotonic()
    while not is_over.is_set():
        ask()
        counts[number] += 1
        if rate:
            due = max(due + VISITORS / rate, time.monotonic() - 1)
            is_over.wait(max(0, due - time.monotonic()))


visitors = [threading.Thread(target=visit, args=(number,)) for number in range(VISITORS)]
began = time.monotonic()
for visitor in visitors:
    visitor.start()
sys.stdin.read()
is_over.set()
for visitor in visitors:
    visitor.join()
seconds = time.monotonic() - began
switched = min((ended for _, ended, found in seen if found == release), default=None)
for came, _, found in seen:
    if switched is not None and came > switched and found != release:
        wrong.append(f"{found} after {release}")
print(json.dumps({"answers": sum(counts), "rate": sum(counts) / seconds, "wrong": wrong[:MOST_TOLD], "failed": len(wrong)}))
