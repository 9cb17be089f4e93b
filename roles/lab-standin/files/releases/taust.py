"""A stand-in for taust-client: it sends the load of a server to taust every ten seconds."""

import base64
import json
import socket
import syslog
import time
import urllib.error
import urllib.request

import psutil


def read_settings():
    settings = {}
    with open(".env") as file:
        for line in file.read().splitlines():
            # Two parts and no others, as in the real one: an empty line or a comment ends it.
            name, value = line.strip().split("=")
            settings[name] = value
    return settings


def measure(disks):
    usages = [(disk, psutil.disk_usage(disk)) for disk in disks]
    memory = psutil.virtual_memory()
    return {
        "at": int(time.time()),
        "cpu_percent": psutil.cpu_percent(percpu=True),
        "memory_total": memory.total,
        "memory_available": memory.available,
        "disks": [{"name": disk, "total": usage.total, "free": usage.free} for disk, usage in usages],
    }


def main():
    settings = read_settings()
    endpoint = settings["ENDPOINT"]
    disks = [disk for disk in settings.get("DISKS", "").split(",") if disk]
    disks = disks or [partition.mountpoint for partition in psutil.disk_partitions()]
    credentials = f"{socket.gethostname()}:{settings['AUTH_TOKEN']}"
    headers = {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}
    syslog.syslog(f"Starting taust: it sends payloads to {endpoint}")
    psutil.cpu_percent(percpu=True)
    while True:
        time.sleep(10)
        request = urllib.request.Request(endpoint, json.dumps(measure(disks)).encode(), headers)
        try:
            urllib.request.urlopen(request, timeout=10).read()
        except (urllib.error.URLError, TimeoutError) as error:
            syslog.syslog(syslog.LOG_ERR, str(error))


main()
