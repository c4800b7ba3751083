"""The datastore is copied while it runs, destroyed, and restored: the cluster is back as it was"""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time

LAB = "kube"
AFTER = ["kube_manifests"]


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


def run(lab):
    house = lab.memory["house"]
    server = house.server
    copy = house.folder / "backup.db"
    server.apply(config_map("before", told="before the backup"))
    known = {item["metadata"]["uid"] for item in server.get("namespaces")["items"]}
    with lab.check("VACUUM INTO copies the datastore while objects are written, and the copy is sound"):
        stop, written = threading.Event(), []
        writer = threading.Thread(target=write, args=(server, stop, written))
        writer.start()
        try:
            time.sleep(1.5)
            with sqlite3.connect(f"file:{server.database}?mode=ro", uri=True) as source:
                source.execute("VACUUM INTO ?", (str(copy),))
        finally:
            stop.set()
            writer.join()
        with sqlite3.connect(copy) as check:
            assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert len(written) >= 2, f"only {len(written)} objects were written meanwhile"
    server.apply(config_map("after", told="after the backup"))
    with lab.check("the server's disk is lost, and the copy is put in its place"):
        server.stop_control_plane()
        shutil.rmtree(server.database.parent)
        server.database.parent.mkdir(mode=0o700)
        shutil.copy(copy, server.database)
        server.start_datastore()
        server.start_api()
    lab.wait("the API server is ready again", server.ready, 60, must=True)
    if house.runs_pods:
        server.start_controllers()
        house.restart_nodes()
    with lab.check("what was there before the backup is there, what came after it is not"):
        assert server.get("configmap", "before", "--namespace=default")["data"]["told"] == "before the backup"
        assert known == {item["metadata"]["uid"] for item in server.get("namespaces")["items"]}
        assert "NotFound" in server.run(server.path("kubectl"), f"--kubeconfig={server.admin}", "get", "configmap", "after", "--namespace=default", check=False).stderr
    if house.runs_pods and house.has("demo") and house.has("metallb"):
        lab.wait("the demo's page comes by the ingress", house.demo_answers, 90)
    with lab.check("new objects are taken"):
        server.apply(config_map("later", told="after the restore"))
        server.kubectl("delete", "configmap", "later", "--namespace=default")


def write(server, stop, written):
    """Objects, one after the other, until it is told to stop."""
    while not stop.is_set():
        server.apply(config_map("busy", count=str(len(written)), filler="x" * 20000))
        written.append(time.monotonic())
