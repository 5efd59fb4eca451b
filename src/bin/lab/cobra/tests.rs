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
    for tool in [Tool::Talosctl, Tool::Op, Tool::Kubectl] {
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
