"""The datastore is copied while it runs, destroyed, and restored by the card's own programs: the cluster is back as it was"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time

from recorders import k3s_config

LAB = "kube"
AFTER = ["kube_manifests"]
SOURCE, SETTINGS, RESTORE = "/usr/lib/imgbuild/backup-source", "/etc/imgbuild/backup-source.toml", "/usr/lib/imgbuild/restore-datastore"
COLUMNS = "name, created, deleted, create_revision, prev_revision, lease, value, old_value"


def run(lab):
    house = lab.memory["house"]
    server = house.server
    for path in (SOURCE, SETTINGS, RESTORE, k3s_config.CONFIG):
        if text := house.card.read(path):
            copied = server.root / path.lstrip("/")
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(text)
    if not (server.root / SOURCE.lstrip("/")).exists():
        lab.skip("the datastore is copied and restored", "the card has no backup-source: there is no role `backup`")
        return
    as_k3s_does(server)
    server.apply(config_map("before", told="before the backup"))
    known = {item["metadata"]["uid"] for item in server.get("namespaces")["items"]}
    copy = back_up(lab, house)
    server.apply(config_map("after", told="after the backup"))
    with lab.check("the datastore is lost; restore-datastore of the card puts the copy in its place"):
        server.stop_control_plane()
        shutil.rmtree(server.database.parent)
        told = of_the_card(server, RESTORE, copy)
        assert "the datastore is" in told, told
        server.start_datastore()
        server.start_api()
    lab.wait("the API server is ready again", server.ready, 60, must=True)
    if house.runs_pods:
        server.start_controllers()
        house.restart_nodes()
    with lab.check("what was there before the backup is there, what came after it is not"):
        assert server.get("configmap", "before", "--namespace=default")["data"]["told"] == "before the backup"
        assert known == {item["metadata"]["uid"] for item in server.get("namespaces")["items"]}
        gone = server.run(server.path("kubectl"), f"--kubeconfig={server.admin}", "get", "configmap", "after", "--namespace=default", check=False)
        assert "NotFound" in gone.stderr, gone
    with lab.check("new objects are taken"):
        server.apply(config_map("later", told="after the restore"))
        server.kubectl("delete", "configmap", "later", "--namespace=default")
    if house.runs_pods and house.has("demo") and house.has("ingress"):
        if not lab.wait("the demo's page comes by the ingress", house.demo_answers, 120):
            lab.note(server.pods_now())


def as_k3s_does(server):
    """k3s keeps the cluster's keys in its datastore, under a name made of the token. restore-datastore looks for it."""
    token = k3s_config.parse((server.root / k3s_config.CONFIG.lstrip("/")).read_text())["token"]
    password = token.split("::", 1)[1].split(":", 1)[1] if token.startswith("K10") else token
    name = "/bootstrap/" + hashlib.sha256(password.encode()).hexdigest()[:12]
    with contextlib.closing(sqlite3.connect(server.database, timeout=30)) as database, database:
        database.execute(f"INSERT INTO kine({COLUMNS}) VALUES (?, 1, 0, 0, 0, 0, ?, NULL)", (name, b"of the lab"))


def back_up(lab, house):
    """While objects are written. Returns the copy."""
    server = house.server
    copy = server.root / "run/imgbuild-backup/databases/k3s-state.db"
    with lab.check("backup-source of the card copies the datastore while objects are written"):
        stop, written = threading.Event(), []
        writer = threading.Thread(target=write, args=(server, stop, written))
        writer.start()
        try:
            time.sleep(2)
            of_the_card(server, SOURCE, "--local", server.hostname, "prepare")
            time.sleep(1)
        finally:
            stop.set()
            writer.join()
        assert len(written) >= 2, f"only {len(written)} objects were written meanwhile"
    with lab.check("the copy is sound and has all objects"):
        with contextlib.closing(sqlite3.connect(copy.as_uri() + "?mode=ro", uri=True)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            names = {name for (name,) in database.execute("SELECT DISTINCT name FROM kine")}
        assert "/registry/configmaps/default/before" in names
    return copy


def of_the_card(server, program, *words):
    """Runs a program of the card, for which `root` is `/` and whose systemctl does nothing: the lab starts and stops."""
    stubs = server.workdir / "stubs"
    stubs.mkdir(exist_ok=True)
    (stubs / "systemctl").write_text("#!/bin/sh\nexit 0\n")
    (stubs / "systemctl").chmod(0o755)
    done = subprocess.run([sys.executable, "-BEs", server.root / program.lstrip("/"), *map(str, words)], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "IMGBUILD_ROOT": str(server.root), "PATH": f"{stubs}:{os.environ['PATH']}"})
    assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
    return done.stdout


def write(server, stop, written):
    """Objects, one after the other, until it is told to stop."""
    while not stop.is_set():
        server.apply(config_map("busy", count=str(len(written)), filler="x" * 20000))
        written.append(time.monotonic())


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}
