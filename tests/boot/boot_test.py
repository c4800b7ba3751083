"""boot-test [SCENARIO|LAB…] [--list] [--quick] [--keep]

Boots what imgbuild builds, in QEMU, and plays scenarios on it.

  (nothing)   all scenarios
  SCENARIO    only these, with the boots that they need; a lab's name means all of its scenarios
  --list      what there is
  --quick     the labs that CI runs
  --keep      keep cards and images also of labs that went well

Started by scripts/boot-test, which installs what it needs.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
SCRIPTS = REPO / "scripts"


@dataclasses.dataclass(frozen=True)
class Lab:
    """What a lab's file says of itself: title, machines at a time, bases it boots, whether CI runs it, its scenarios."""

    name: str
    title: str
    guests: int
    bases: tuple[str, ...]
    quick: bool
    scenarios: tuple[str, ...]


def literal(tree: ast.Module, name: str, default: Any = None) -> Any:
    """The value that a module gives to a name at its top, without running it."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return ast.literal_eval(node.value)
    return default


def title(tree: ast.Module) -> str:
    return (ast.get_docstring(tree) or "").splitlines()[0]


def known_labs() -> dict[str, Lab]:
    labs = {}
    for path in sorted((HERE / "labs").glob("[a-z]*.py")):
        tree = ast.parse(path.read_text())
        labs[path.stem] = Lab(path.stem, title(tree), literal(tree, "GUESTS", 1), tuple(literal(tree, "BASES", ["trixie"])),
                              literal(tree, "QUICK", False), tuple(literal(tree, "SCENARIOS", [])))
    return labs


def choose(labs: dict[str, Lab], words: list[str], quick: bool) -> dict[str, list[str]]:
    """Lab -> scenarios to play in it (none means all of them)."""
    if not words:
        return {name: [] for name, lab in labs.items() if lab.quick or not quick}
    chosen: dict[str, list[str]] = {}
    for word in words:
        holders = [lab.name for lab in labs.values() if word in lab.scenarios]
        if word in labs:
            chosen[word] = []
        elif not holders:
            fail(f"there is no scenario or lab “{word}”", "boot-test --list shows them")
        for name in holders:
            if chosen.get(name) != []:
                chosen.setdefault(name, []).extend([*builds_on(word), word])
    return chosen


def builds_on(scenario: str) -> list[str]:
    """The scenarios that must have been played before one, first things first."""
    before = literal(ast.parse((HERE / "scenarios" / f"{scenario}.py").read_text()), "AFTER", [])
    return [name for direct in before for name in (*builds_on(direct), direct)]


def fail(what: str, hint: str) -> None:
    sys.exit(f"boot-test: error: {what}\n  hint: {hint}")


def show(labs: dict[str, Lab]) -> None:
    for lab in labs.values():
        print(f"{lab.name}: {lab.title}{'' if lab.quick else ' (not in --quick)'}")
        for scenario in lab.scenarios:
            print(f"    {scenario:32} {title(ast.parse((HERE / 'scenarios' / f'{scenario}.py').read_text()))}")


# ------------------------------------------------------------------ what the labs need

def output(*command: str | os.PathLike[str]) -> str:
    """The last line that a command prints; its messages go to our stderr."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=REPO)
    if done.returncode != 0:
        fail(f"{pathlib.Path(command[0]).name} failed", "see above")
    return done.stdout.strip().splitlines()[-1]


def tailscale() -> dict[str, str] | None:
    """Real Tailscale and headscale, when Go is here to build them."""
    done = subprocess.run([HERE / "programs" / "build-tailscale"], stdout=subprocess.PIPE, text=True)
    if done.returncode == 3:
        return None
    if done.returncode != 0:
        fail("build-tailscale failed", "see above")
    folder = pathlib.Path(done.stdout.strip().splitlines()[-1])
    archive = next(folder.glob("tailscale_*_arm64.tgz"))
    return {"archive": str(archive), "version": archive.name.split("_")[1], "host": str(folder / "host")}


def kubernetes() -> str | None:
    """A real Kubernetes, when Go is here to build it."""
    done = subprocess.run([HERE / "programs" / "build-kube"], stdout=subprocess.PIPE, text=True)
    if done.returncode == 3:
        return None
    if done.returncode != 0:
        fail("build-kube failed", "see above")
    return done.stdout.strip().splitlines()[-1]


def cluster_settings() -> dict[str, Any]:
    """The server's roles in the lab `kube`: those of a whole cluster, as far as they are there. What they would download
    comes from the tests' copies."""
    data = REPO / "tests" / "data" / "manifests"
    roles = [role for role in ("metallb", "ingress", "cert-manager", "smb-csi", "demo") if (REPO / "overlays" / role).is_dir()]
    copies = {"metallb": {"metallb.manifest_file": data / "metallb" / "metallb-native.yaml"},
              "cert-manager": {"cert-manager.manifest_file": data / "cert-manager" / "cert-manager.yaml"},
              "smb-csi": {"smb-csi.source": data / "csi-driver-smb"}}
    roles += ["backup"] if (REPO / "overlays" / "backup").is_dir() else []
    return {"roles": ["k3s-server", "samba", *roles], **{key: str(path) for role in roles for key, path in copies.get(role, {}).items()}}


def prepare(labs: list[Lab], work: pathlib.Path) -> dict[str, Any]:
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=REPO, check=True)
    stand_ins = work / "stand-ins"
    subprocess.run([SCRIPTS / "make-stand-ins", stand_ins, "1.102.4"], check=True)
    setup = {
        "imgbuild": str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target")) / "release" / "imgbuild"),
        "bases": {suite: output(SCRIPTS / "full-base", suite, "--bare") for suite in sorted({b for lab in labs for b in lab.bases})},
        "recorders": output(HERE / "programs" / "build-recorders"),
        "tailscale": tailscale(),
        "stand_ins": str(stand_ins),
        "kube": kubernetes() if any(lab.name == "kube" for lab in labs) else None,
        "kube_settings": cluster_settings(),
    }
    setup["packages"] = str(packages(setup, work / "packages"))
    return setup


def packages(setup: dict[str, Any], folder: pathlib.Path) -> pathlib.Path:
    """Pins and fetches the Debian packages of the default nodes, from the archives that the bases name: labs have no
    way there. The folder has an imgbuild.lock and a cache."""
    from harness.lab import programs

    folder.mkdir()
    settings = {"user.ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII4cB60hDozZ7B3fpOQJJU7XxDmQHGwgVYGWuR1gxfkF nobody"],
                "tailscale-router.archive": f"{setup['stand_ins']}/tailscale.tgz", **programs(setup["recorders"])}
    words = [w for key, value in settings.items() for w in ("--set", f"{key}={json.dumps(value)}")]
    env = {**os.environ, "IMGBUILD_CACHE": str(folder / "cache")}
    for base in setup["bases"].values():
        fetch = [setup["imgbuild"], "fetch", "--base", base, *words]
        # The server of the lab `kube` has more roles than its profile.
        more = [w for key, value in setup["kube_settings"].items() for w in ("--set", f"{key}={json.dumps(value)}")] if setup["kube"] else []
        for command in [fetch, [*fetch, "--profile", "master", *more]] if more else [fetch]:
            if subprocess.run(command, cwd=folder, env=env).returncode != 0:
                fail("the packages of the default nodes could not be fetched", "see above")
    return folder


# ------------------------------------------------------------------ running labs side by side


def start(lab: Lab, scenarios: list[str], work: pathlib.Path) -> subprocess.Popen[bytes]:
    """A lab in namespaces of its own: its network is nobody else's, and its programs end with it."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return subprocess.Popen(["unshare", *as_root, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                             sys.executable, str(HERE / "boot_test.py"), "--inside", lab.name, str(work), *scenarios])


def run_all(chosen: list[tuple[Lab, list[str]]], work: pathlib.Path) -> dict[str, int]:
    """Runs labs side by side, large ones first, with no more machines than there are cores: one that gets little of a
    processor runs into time limits. A lab that is larger than the computer runs alone. Returns the labs' exit codes."""
    codes: dict[str, int] = {}
    room = max(2, os.cpu_count() or 2)
    waiting = sorted(chosen, key=lambda item: -item[0].guests)
    running: list[tuple[Lab, subprocess.Popen[bytes]]] = []
    try:
        while waiting or running:
            codes |= {lab.name: process.returncode for lab, process in running if process.poll() is not None}
            running = [(lab, process) for lab, process in running if process.returncode is None]
            free = room - sum(lab.guests for lab, _ in running)
            fits = next((item for item in waiting if item[0].guests <= free or not running), None)
            if fits:
                waiting.remove(fits)
                running.append((fits[0], start(*fits, work)))
            else:
                time.sleep(1)
    finally:
        for _, process in running:
            # unshare ignores SIGTERM; when it dies, the kernel ends all that is in its namespaces.
            process.kill()
    return codes


def sum_up(labs: list[Lab], work: pathlib.Path, codes: dict[str, int]) -> int:
    """Prints a line for every scenario and the closing line. Returns the exit code."""
    totals = {"ok": 0, "FAIL": 0, "skip": 0}
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for lab in labs:
        file = work / lab.name / "results.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        # A lab's exit code is the number of its failed checks. One that was killed has none to show for it.
        if not lines or codes[lab.name] != sum('"verdict": "FAIL"' in line for line in lines):
            print(f"boot-test: lab {lab.name} did not come to its end (exit code {codes[lab.name]}): see {work / lab.name}")
            totals["FAIL"] += 1
        for entry in map(json.loads, lines):
            rows.setdefault((entry["lab"], entry["scenario"]), []).append(entry)
            totals[entry["verdict"]] += 1
    print(f"\n{'lab':10} {'scenario':32} {'ok':>4} {'FAIL':>4} {'skip':>4} {'from':>7} {'to':>7}")
    for (lab_name, scenario), entries in rows.items():
        count = [sum(e["verdict"] == v for e in entries) for v in totals]
        begun = min(e["at"] - e["seconds"] for e in entries)
        print(f"{lab_name:10} {scenario:32} {count[0]:4} {count[1]:4} {count[2]:4} {begun:5.0f} s {entries[-1]['at']:5.0f} s")
    if totals["FAIL"]:
        print(f"\nconsole logs, cards and what was built are in {work}")
    print(f"\n{totals['ok']} passed, {totals['FAIL']} failed, {totals['skip']} skipped")
    return 1 if totals["FAIL"] else 0


def main(words: list[str]) -> int:
    options = {w for w in words if w.startswith("--")}
    if unknown := options - {"--list", "--quick", "--keep"}:
        fail(f"unknown option {sorted(unknown)[0]}", "boot-test [SCENARIO|LAB…] [--list] [--quick] [--keep]")
    labs = known_labs()
    if "--list" in options:
        show(labs)
        return 0
    chosen = choose(labs, [w for w in words if not w.startswith("--")], "--quick" in options)
    work = pathlib.Path(os.environ.get("IMGBUILD_BOOT_TEST_DIR", REPO / "target" / "boot-test"))
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    begun = time.monotonic()
    setup = prepare([labs[name] for name in chosen], work) | {"keep": "--keep" in options}
    (work / "setup.json").write_text(json.dumps(setup, indent=1))
    print(f"boot-test: ready after {time.monotonic() - begun:.0f} s", flush=True)
    codes = run_all([(labs[name], scenarios) for name, scenarios in chosen.items()], work)
    print(f"boot-test: {time.monotonic() - begun:.0f} s")
    return sum_up([labs[name] for name in chosen], work, codes)


def inside(name: str, work: pathlib.Path, scenarios: list[str]) -> int:
    """The lab's own process, in its namespaces."""
    sys.path.insert(0, str(HERE))
    from harness.lab import run_lab

    setup = json.loads((work / "setup.json").read_text())
    return min(run_lab(name, setup, work / name, scenarios), 100)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        sys.exit(inside(sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4:]))
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
