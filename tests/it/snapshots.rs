//! What people see of the four default nodes: their plans, and every file that is made for them.
//!
//! A template that changes shows here in review. `INSTA_UPDATE=always cargo test --test it snapshots::`
//! accepts what there is now.

use std::collections::BTreeSet;
use std::path::Path;

use crate::common::workbench::{Workbench, fixture};
use imgbuild::config::ProfileSource;
use imgbuild::overlay::{Catalog, Part};
use imgbuild::patch::touched;
use imgbuild::plan::{Action, Content, Plan, print_json, print_text, show, showable};
use imgbuild::project::Project;
use imgbuild::secrets::SecretMode;

const KEY: &str = "user.ssh_keys=[\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFx4yGxaHatYPPQHQCCNnjo6Ko5pJMxJK/05Ms7MyNTe test\"]";

/// The plans of the built-in profiles, secrets masked.
fn default_plans() -> Vec<Plan> {
    // The built-in roles, although the current folder has the same as files.
    let folder = tempfile::tempdir().unwrap();
    let profiles = folder.path().join("profiles");
    std::fs::create_dir(&profiles).unwrap();
    for (name, text) in ProfileSource::built_in_files() {
        std::fs::write(profiles.join(name), text).unwrap();
    }
    let project = Project::open(Some(folder.path()), &[KEY.to_owned()], &[]).unwrap();
    let nodes = project.select(&[], true).unwrap();
    let plans = nodes
        .iter()
        .map(|node| project.plan(node, SecretMode::Redact).unwrap());
    plans.collect()
}

fn compare(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots"));
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// The paths whose files are those of a role folder as they stand; their changes show in themselves.
fn copied(plan: &Plan) -> BTreeSet<String> {
    let built_in = Catalog::built_in_files();
    let edits = plan.edits.iter().filter(|edit| edit.part == Part::Root);
    edits
        .filter(|edit| match &edit.action {
            Action::Write(Content::Bytes(bytes), _) => {
                let source = format!("{}/root{}", edit.origin, edit.path);
                built_in
                    .iter()
                    .any(|(path, content)| *path == source && **content == **bytes)
            }
            _ => false,
        })
        .map(|edit| edit.path.clone())
        .collect()
}

fn files(plan: &Plan) -> String {
    let copied = copied(plan);
    let paths = showable(plan).into_iter().filter(|p| !copied.contains(p));
    paths
        .flat_map(|path| {
            show(plan, &path).into_iter().map(move |shown| {
                let when = shown.when.note().unwrap_or("always");
                let end = if shown.text.ends_with('\n') {
                    ""
                } else {
                    "\n(no line end)\n"
                };
                format!(
                    "==> {path} ({}, {when})\n{}{end}\n",
                    shown.origin, shown.text
                )
            })
        })
        .collect()
}

#[test]
fn plans_of_the_default_nodes() {
    for plan in default_plans() {
        let json = print_json(&plan, &touched(&plan));
        let text = serde_json::to_string_pretty(&json).unwrap();
        compare(&format!("plan-{}", plan.hostname), &text);
    }
}

#[test]
fn files_of_the_default_nodes() {
    for plan in default_plans() {
        compare(&format!("files-{}", plan.hostname), &files(&plan));
    }
}

#[test]
fn plans_fit_a_terminal() {
    for plan in default_plans() {
        let text = print_text(&plan, &touched(&plan));
        let long: Vec<&str> = text.lines().filter(|l| l.chars().count() > 80).collect();
        assert!(long.is_empty(), "{long:?}");
        if plan.profile == "master" {
            compare("table-bondsmith", &text);
        }
    }
}

/// Every path that is touched is a line of the table, whole, or among the folders of the summary.
#[test]
fn every_path_that_is_touched_is_in_the_table() {
    for plan in default_plans() {
        let touched = touched(&plan);
        let text = print_text(&plan, &touched);
        let words: BTreeSet<&str> = text
            .split_whitespace()
            .map(|word| word.trim_end_matches(','))
            .map(|word| word.trim_start_matches("/boot/firmware"))
            .collect();
        for path in touched
            .iter()
            .flat_map(|t| t.paths.iter().chain(&t.parents))
        {
            assert!(words.contains(path.as_str()), "{}: {path}", plan.hostname);
        }
        for path in ["/etc/shadow", "/etc/group", "/etc/gshadow", "/home/pi"] {
            assert!(words.contains(path), "{path}");
        }
    }
}

#[test]
fn a_file_is_shown_by_host_name_and_without_its_secrets() {
    let bench = Workbench::empty();
    let show = |nodes: &[&str], path: &str| {
        let args = [&["-q", "plan", "--set", KEY, "--show", path], nodes].concat();
        bench.run(&args)
    };
    let one = show(&["-p", "bondsmith"], "/etc/hostname");
    assert_eq!(
        (one.stdout.as_str(), one.stderr.as_str()),
        ("bondsmith\n", "")
    );
    let token = show(&["-p", "windrunner"], "etc/rancher/k3s/config.yaml");
    let masked = "token: \"K10‹token hash›::server:‹secret›\"\n";
    assert!(token.stdout.contains(masked), "{}", token.stdout);
    assert_eq!(
        show(&["-p", "master"], "/etc/imgbuild/samba.nthash").stdout,
        "‹secret›\n"
    );
    let all = show(&["--all"], "/boot/firmware/user-data").stdout;
    for host in ["bondsmith", "windrunner", "lightweaver", "stoneward"] {
        let heading =
            format!("==> {host}: /boot/firmware/user-data (identity, with cloud-init) <==");
        assert!(all.contains(&heading), "{all}");
    }
    show(&["--all"], "/etc/hostnam").assert_fails(2, &["no such file", "`/etc/hostname`"]);
}

#[test]
fn a_build_ends_with_what_to_do_next() {
    let bench = Workbench::new();
    let base = fixture("trixie");
    let base = base.to_str().unwrap();
    let built = bench.build(base);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let files: Vec<&str> = built.stdout.lines().collect();
    assert_eq!(
        files,
        [
            "out/node.img",
            "out/node.spdx.json",
            "out/node.provenance.json",
            "out/node.record.json",
            "out/SHA256SUMS"
        ]
    );
    for words in [
        "imgbuild flash out/node.img --to /dev/sdX",
        "cat out/node.img | sudo dd of=/dev/sdX",
        "ssh pi@10.0.0.2",
    ] {
        assert!(built.stderr.contains(words), "{}", built.stderr);
    }
    let args = bench.build_args(base, &["--format", "img", "--quiet"]);
    let quiet = bench.run(&[&["build"], args.as_slice()].concat());
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(0), ""));
    assert_eq!(quiet.stdout, built.stdout);
}
