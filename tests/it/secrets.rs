//! What was resolved as a secret is in nothing that the program prints.

use crate::common::workbench::{PROFILE, Ran, Workbench};

const VALUE: &str = "tr0ub4dor-hunter-22";
/// `VALUE` in base64.
const ENCODED: &str = "dHIwdWI0ZG9yLWh1bnRlci0yMg==";
const SECRET: &str = "[secrets.s]\nrequired = true\nhelp = \"\"\n";

/// A node whose role `x` has one secret, at `reference`.
fn bench(manifest: &str, reference: &str) -> Workbench {
    let bench = Workbench::new();
    bench.add_role(&format!("{manifest}\n{SECRET}"));
    let profile = PROFILE.replace("roles    = []", "roles    = [\"x\"]");
    let text = format!("{profile}[secrets]\ns = \"{reference}\"\n");
    bench.write("profiles/node.toml", text);
    bench.write("secret", VALUE);
    bench
}

#[track_caller]
fn assert_masked(ran: &Ran, word: &str) {
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert!(all.contains(word), "{all}");
    assert!(all.contains("‹secret›"), "{all}");
    assert!(
        !all.contains("hunter") && !all.contains("dHIwdWI0"),
        "{all}"
    );
}

#[test]
fn a_template_that_fails_on_a_secret_does_not_tell_it() {
    for template in [
        "{% include secret('s') %}",
        "{% import secret('s') as other %}",
    ] {
        let bench = bench("", "file:secret");
        bench.write("overlays/x/root/etc/y.j2", template);
        let ran = bench.run(&["-v", "check"]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert_masked(&ran, "overlays/x/root/etc/y.j2");
    }
}

#[test]
fn a_rule_whose_message_quotes_a_secret_does_not_tell_it() {
    for level in ["error", "note"] {
        let rule = format!(
            "[[check]]\nlevel = \"{level}\"\nsecrets = [\"s\"]\neach = \"[secret('s')]\"\nthat = \"false\"\nmessage = \"never {{{{ item }}}}\"\nhint = \"or {{{{ item }}}}\"\n"
        );
        let bench = bench(&rule, "file:secret");
        let ran = bench.run(&["check"]);
        if level == "error" {
            assert_masked(&ran, "never ‹secret›");
        }
        assert!(!ran.stderr.contains("hunter"), "{}", ran.stderr);
    }
}

#[test]
fn a_file_named_like_a_secret_is_not_named() {
    let option = "[options.list]\ntype = \"file\"\nhelp = \"\"\n";
    let bench = bench(option, "file:secret");
    let args = ["check", "--set", &format!("x.list=lists/{VALUE}")];
    let ran = bench.run(&args);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert_masked(&ran, "there is no file");
}

#[test]
fn what_a_command_says_is_told_and_its_secret_is_not() {
    for (command, code) in [
        (format!("echo asked for {VALUE} >&2; echo {VALUE}"), 0),
        (format!("echo asked for {ENCODED} >&2; echo {VALUE}"), 0),
        (format!("set -x; : asked for; echo {VALUE}"), 0),
    ] {
        let bench = bench("", &format!("cmd:{command}"));
        let ran = bench.run(&["check"]);
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        assert_masked(&ran, "asked for");
    }
    let bench = bench("", "cmd:echo the store is locked >&2; exit 1");
    let ran = bench.run(&["check"]);
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("the store is locked\n"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("the command failed"), "{}", ran.stderr);
}
