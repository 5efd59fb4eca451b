use super::{Invocation, Tool, parse};
use crate::answer::Answer;

fn given(tool: Tool, line: &str) -> Result<Invocation, Answer> {
    parse(
        tool,
        &line
            .split_whitespace()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
    )
}

fn first_line(tool: Tool, line: &str) -> String {
    let answer = given(tool, line).unwrap_err();
    assert_eq!(answer.code, 1, "{line}");
    assert!(answer.stdout.is_empty(), "{line}");
    answer.stderr.lines().next().unwrap().to_string()
}

#[test]
fn every_line_of_every_table_can_be_read() {
    for tool in [
        Tool::Talosctl,
        Tool::Op,
        Tool::Kubectl,
        Tool::Helm,
        Tool::Flux,
        Tool::Cilium,
        Tool::Kustomize,
    ] {
        let table = super::Table::new(tool.contract());
        for name in table.children("") {
            assert_eq!(table.child("", &name).unwrap().path, name);
            for inner in table.children(&name) {
                assert_eq!(
                    table.child(&name, &inner).unwrap().path,
                    format!("{name} {inner}")
                );
            }
        }
    }
}

#[test]
fn talosctl_names_what_it_does_not_know() {
    let said = |line| first_line(Tool::Talosctl, line);
    assert_eq!(
        said("nosuch"),
        "unknown command \"nosuch\" for \"talosctl\""
    );
    assert_eq!(
        said("bootstrap x"),
        "unknown command \"x\" for \"talosctl bootstrap\""
    );
    assert_eq!(said("bootstrap --bogus"), "unknown flag: --bogus");
    assert_eq!(said("bootstrap -x"), "unknown shorthand flag: 'x' in -x");
    assert_eq!(said("get disks -n"), "flag needs an argument: 'n' in -n");
    assert_eq!(said("get disks --nodes"), "flag needs an argument: --nodes");
    assert_eq!(said("get"), "accepts between 1 and 2 arg(s), received 0");
    assert_eq!(said("read"), "accepts 1 arg(s), received 0");
    assert_eq!(
        said("kubeconfig a b"),
        "accepts at most 1 arg(s), received 2"
    );
    assert_eq!(
        said("wipe disk"),
        "requires at least 1 arg(s), only received 0"
    );
    assert_eq!(
        said("apply-config -m foo"),
        "invalid argument \"foo\" for \"-m, --mode\" flag: possible options are: auto, interactive, no-reboot, reboot, staged, try"
    );
    assert_eq!(
        said("apply-config --timeout abc"),
        "invalid argument \"abc\" for \"--timeout\" flag: time: invalid duration \"abc\""
    );
}

#[test]
fn a_near_word_is_proposed() {
    let answer = given(Tool::Talosctl, "bootstrp").unwrap_err();
    assert!(answer.stderr.starts_with(
        "unknown command \"bootstrp\" for \"talosctl\"\n\nDid you mean this?\n\tbootstrap\n\n\nUsage:\n"
    ));
}

#[test]
fn a_group_prints_its_help_and_succeeds() {
    for line in ["etcd", "etcd nosuch", "config nosuch"] {
        let answer = given(Tool::Talosctl, line).unwrap_err();
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
        assert!(
            String::from_utf8(answer.stdout)
                .unwrap()
                .starts_with("Usage:")
        );
    }
}

#[test]
fn flags_may_stand_anywhere_and_in_every_form() {
    let call = given(
        Tool::Talosctl,
        "get -n=10.0.0.1 disks -e a,b --endpoints c -ojson --insecure -- x",
    )
    .unwrap();
    assert_eq!(call.path, "get");
    assert_eq!(call.args, ["disks", "x"]);
    assert_eq!(call.flag("nodes"), Some("10.0.0.1"));
    assert_eq!(call.list("endpoints"), ["a", "b", "c"]);
    assert_eq!(call.flag("output"), Some("json"));
    assert!(call.switch("insecure", false));
}

#[test]
fn help_is_an_answer_but_only_after_good_flags() {
    assert_eq!(
        given(Tool::Talosctl, "etcd members --help")
            .unwrap_err()
            .code,
        0
    );
    assert_eq!(
        given(Tool::Talosctl, "etcd members --bogus --help")
            .unwrap_err()
            .code,
        1
    );
}

#[test]
fn op_takes_a_value_flag_but_no_switch_before_the_command() {
    assert_eq!(
        given(Tool::Op, "--vault W item get x").unwrap().path,
        "item get"
    );
    assert!(given(Tool::Op, "--otp item get x").is_err());
    assert_eq!(
        given(Tool::Op, "--otp=true item get x").unwrap().path,
        "item get"
    );
    assert!(first_line(Tool::Op, "get item").ends_with(" unknown command \"get\" for \"op\""));
    let answer = given(Tool::Op, "item get x --environment y").unwrap_err();
    assert!(
        answer
            .stderr
            .contains("unknown flag: --environment\nUsage:  op item get")
    );
}

#[test]
fn kubectl_points_to_its_help() {
    let answer = given(Tool::Kubectl, "get nodes --bogus").unwrap_err();
    assert_eq!(
        answer.stderr,
        "error: unknown flag: --bogus\nSee 'kubectl get --help' for usage.\n"
    );
    let answer = given(Tool::Kubectl, "frobnicate").unwrap_err();
    assert_eq!(
        answer.stderr,
        "error: unknown command \"frobnicate\" for \"kubectl\"\n"
    );
    assert_eq!(
        given(Tool::Kubectl, "--context infra get nodes")
            .unwrap()
            .flag("context"),
        Some("infra")
    );
}

#[test]
fn helm_flux_cilium_and_kustomize_refuse_in_their_own_words() {
    let said = |tool, line: &str| {
        let answer = given(tool, line).unwrap_err();
        assert_eq!(answer.code, 1, "{line}");
        assert!(answer.stdout.is_empty(), "{line}");
        answer.stderr
    };
    for (line, text) in [
        ("list --bogus", "Error: unknown flag: --bogus\n"),
        (
            "nosuch",
            "Error: unknown command \"nosuch\" for \"helm\"\nRun 'helm --help' for usage.\n",
        ),
        (
            "lits",
            "Error: unknown command \"lits\" for \"helm\"\n\nDid you mean this?\n\tlint\n\tlist\n\nRun 'helm --help' for usage.\n",
        ),
        (
            "upgrade --install x",
            "Error: \"helm upgrade\" requires 2 arguments\n\nUsage:  helm upgrade [RELEASE] [CHART] [flags]\n",
        ),
        (
            "uninstall",
            "Error: \"helm uninstall\" requires at least 1 argument\n\nUsage:  helm uninstall RELEASE_NAME [...] [flags]\n",
        ),
        (
            "list x",
            "Error: \"helm list\" accepts no arguments\n\nUsage:  helm list [flags]\n",
        ),
        (
            "get values a b",
            "Error: \"helm get values\" requires 1 argument\n\nUsage:  helm get values RELEASE_NAME [flags]\n",
        ),
        (
            "list -o foo",
            "Error: invalid argument \"foo\" for \"-o, --output\" flag: invalid format type\n",
        ),
        ("list --timeout 5m", "Error: unknown flag: --timeout\n"),
    ] {
        assert_eq!(said(Tool::Helm, line), text, "{line}");
    }
    for (line, text) in [
        ("--bogus", "✗ unknown flag: --bogus\n"),
        (
            "chek",
            "✗ unknown command \"chek\" for \"flux\"\n\nDid you mean this?\n\tcheck\n\n",
        ),
        ("check x", "✗ unknown command \"x\" for \"flux check\"\n"),
        (
            "check --timeout abc",
            "✗ invalid argument \"abc\" for \"--timeout\" flag: time: invalid duration \"abc\"\n",
        ),
        ("get ks -o json", "✗ unknown shorthand flag: 'o' in -o\n"),
    ] {
        assert_eq!(said(Tool::Flux, line), text, "{line}");
    }
    for (line, text) in [
        ("status --bogus", "unknown flag: --bogus\n"),
        (
            "statu",
            "unknown command \"statu\" for \"cilium\"\n\nDid you mean this?\n\tstatus\n\n",
        ),
    ] {
        assert_eq!(said(Tool::Cilium, line), text, "{line}");
    }
    for (line, text) in [
        ("build -z", "Error: unknown shorthand flag: 'z' in -z\n"),
        (
            "nosuch",
            "Error: unknown command \"nosuch\" for \"kustomize\"\nRun 'kustomize --help' for usage.\n",
        ),
    ] {
        assert_eq!(said(Tool::Kustomize, line), text, "{line}");
    }
}

#[test]
fn a_group_of_commands_shows_its_help_whatever_follows() {
    for (tool, line) in [
        (Tool::Helm, "get nosuch"),
        (Tool::Flux, "reconcile source"),
        (Tool::Cilium, "bgp nosuch"),
        (Tool::Kustomize, "cfg"),
    ] {
        let answer = given(tool, line).unwrap_err();
        assert_eq!(answer.code, 0, "{line}");
        assert!(answer.stderr.is_empty(), "{line}");
    }
}

#[test]
fn a_flag_of_a_tool_may_stand_before_its_command() {
    let call = given(
        Tool::Flux,
        "--context infra reconcile source git flux-system -n x",
    )
    .unwrap();
    assert_eq!(call.path, "reconcile source git");
    assert_eq!(call.args, ["flux-system"]);
    assert_eq!(call.flag("context"), Some("infra"));
    let call = given(
        Tool::Helm,
        "upgrade --install a oci://b --version 1.0.0 -f - --kube-context c",
    )
    .unwrap();
    assert_eq!(call.args, ["a", "oci://b"]);
    assert_eq!(call.every("values"), ["-"]);
    // `version` is a switch of flux itself and a value of its commands.
    assert_eq!(
        given(Tool::Flux, "bootstrap git --version v2.7.2")
            .unwrap()
            .flag("version"),
        Some("v2.7.2")
    );
}
