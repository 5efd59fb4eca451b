//! What a journal is trusted with, and what not: edits, files, attempts in doubt, what decays, what people say, what leaks.

use std::fs;
use std::path::Path;

use crate::lab::{Lab, has_all, repository, run};
use crate::small::Small;

const EDITS: &str = r#"
inventory: inventory.yaml
stories:
  - id: "1.1"
    title: Small
    steps:
      - id: file
        title: Write the file
        render: { template: templates/a.j2, to: out/a.txt }
      - id: count
        needs: [file]
        title: Count
        inputs: [data.txt]
        env: { A: one, B: two }
        shell: "cat data.txt >> out/count; echo {{ site.owner }} >> out/count"
      - id: stop
        needs: [count]
        shell: "test -e go"
"#;

fn edits() -> Small {
    let small = Small::of(EDITS);
    small.write(
        "inventory.yaml",
        "fields: { site: { owner: text, other: text } }\nsite: { owner: me, other: x }\n",
    );
    small.write("templates/a.j2", "A {% include 'templates/b.j2' %}\n");
    small.write("templates/b.j2", "B");
    small.write("data.txt", "data\n");
    small.bootstrap("run story 1.1").exit(1);
    assert_eq!(small.read("out/count"), "data\nme\n");
    small
}

#[test]
fn law_06_an_edited_input_is_named_and_its_task_is_done_again() {
    let small = edits();
    small.write("data.txt", "other\n");
    small.write("go", "");
    let line = "edited     input  1.1/count: file data.txt differs";
    small.bootstrap("status").success().tells(&[line]);
    small.bootstrap("plan story 1.1").success().tells(&[line]);
    let json = small.json("status --json");
    assert_eq!(json["edits"][0]["verdict"], "input");
    let said = small
        .bootstrap("resume")
        .success()
        .says(&[line, "again      1.1/count"]);
    assert!(
        !said.stderr.contains("again      1.1/file"),
        "{}",
        said.stderr
    );
    assert_eq!(small.read("out/count"), "data\nme\nother\nme\n");
}

#[test]
fn law_06_an_included_template_and_a_value_are_inputs_and_an_unused_value_is_none() {
    let small = edits();
    small.write("templates/b.j2", "C");
    small.change("inventory.yaml", "owner: me", "owner: you");
    small.change("inventory.yaml", "other: x", "other: y");
    small.write("go", "");
    let said = small.bootstrap("resume").success().says(&[
        "edited     input  1.1/file: template templates/b.j2 differs",
        "edited     input  1.1/count: value site.owner differs",
    ]);
    assert_eq!(
        said.stderr.matches("edited     ").count(),
        2,
        "{}",
        said.stderr
    );
    assert_eq!(small.read("out/a.txt"), "A C");
}

#[test]
fn law_06_what_is_only_written_differently_is_not_done_again() {
    let small = edits();
    small.change(
        "playbooks/p.yaml",
        "        env: { A: one, B: two }\n",
        "        # first B, then A\n        env: { B: two,   A: one }\n",
    );
    small.change(
        "playbooks/p.yaml",
        "title: Write the file",
        "title: \"The file\"",
    );
    small.write("go", "");
    small.bootstrap("resume").success().says(&[
        "edited     cosmetic  1.1/count: only written differently",
        "edited     cosmetic  1.1/file: only written differently",
    ]);
    assert_eq!(small.read("out/count"), "data\nme\n");
    assert!(small.events("task-reopened").is_empty());
}

#[test]
fn law_06_what_a_step_says_is_told_from_what_it_reads_and_from_what_is_new_or_removed() {
    let small = edits();
    small.change("playbooks/p.yaml", "env: { A: one", "env: { A: three");
    small.change("playbooks/p.yaml", "id: stop", "id: halt");
    small.bootstrap("status").success().tells(&[
        "edited     definition  1.1/count: what the step says differs",
        "edited     new  1.1/halt: not in the plan before",
        "edited     removed  1.1/stop: no longer in the plan",
    ]);
}

#[test]
fn law_06_an_accepted_edit_is_not_done_again_and_the_journal_keeps_who_and_why() {
    let small = edits();
    small.bootstrap("accept --all").exit(2);
    small.write("data.txt", "other\n");
    small.bootstrap("accept 1.1/stop").exit(2);
    small.bootstrap("accept 1.1/nothing").exit(2);
    small
        .bootstrap("accept 1.1/count --why |=only a comment")
        .success()
        .tells(&["accepted   1.1/count: file data.txt differs"]);
    let accepted = &small.events("accepted")[0];
    assert_eq!(accepted["who"], "tester");
    assert_eq!(accepted["why"], "only a comment");
    assert_eq!(accepted["tasks"][0][0], "1.1/count");
    assert!(
        !small
            .bootstrap("status")
            .success()
            .stdout
            .contains("edited     ")
    );

    // What is edited after that is another edit.
    small.bootstrap("resume").exit(1);
    assert_eq!(small.read("out/count"), "data\nme\n");
    small.write("data.txt", "third\n");
    small.write("go", "");
    small.bootstrap("resume").success();
    assert_eq!(small.read("out/count"), "data\nme\nthird\nme\n");
    small.bootstrap("accept --all").exit(2);
}

#[test]
fn law_06_a_resume_that_dies_at_once_has_not_taken_the_edit_for_done() {
    let small = edits();
    small.write("data.txt", "other\n");
    small.write("go", "");
    let line = small.journal().lines().count() + 1;
    let mut command = small.lab.alone_command(["resume"]);
    std::os::unix::process::CommandExt::process_group(
        command.env("BOOTSTRAP_CRASH_AFTER_LINE", line.to_string()),
        0,
    );
    assert_eq!(run(command).code, None);
    assert_eq!(small.events("run-resumed").len(), 1);
    assert!(small.events("task-reopened").is_empty());
    small.bootstrap("resume").success();
    assert_eq!(small.read("out/count"), "data\nme\nother\nme\n");
}

#[test]
fn law_06_a_rendered_file_is_verified_by_what_is_in_it() {
    let small = edits();
    small.write("out/a.txt", "A x\n");
    small.bootstrap("resume").exit(1).says(&[
        "again      1.1/file",
        "out/a.txt is not what it wrote any more",
    ]);
    assert_eq!(small.read("out/a.txt"), "A B");
    small.remove("out/a.txt");
    small
        .bootstrap("resume")
        .exit(1)
        .says(&["out/a.txt, which it wrote, is gone"]);
    assert_eq!(small.read("out/a.txt"), "A B");
    let said = small.bootstrap("resume").exit(1);
    assert!(!said.stderr.contains("again"), "{}", said.stderr);
    assert_eq!(small.read("out/count"), "data\nme\n");
}

#[test]
fn law_06_another_version_of_a_tool_is_another_input_of_the_steps_that_run_it() {
    let small = Small::with(
        r"
tools:
  hammer: { version: { run: [hammer, --version], find: '(\d+\.\d+)' } }
",
        r#"
      - { id: hit, exec: [hammer, nail] }
      - { id: other, shell: "echo other >> out" }
      - { id: stop, needs: [hit, other], shell: "test -e go" }
"#,
    );
    let tool = |version: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = --version ] && echo {version} && exit 0\necho hit >> hits\n"
        );
        small.write("bin/hammer", &script);
        let path = small.lab.project().join("bin/hammer");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let bootstrap = |line: &str| {
        let mut command = small.lab.alone_command(line.split(' '));
        let bin = small.lab.project().join("bin");
        command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        run(command)
    };
    tool("1.4");
    bootstrap("run story 1.1").exit(1);
    tool("1.5");
    small.write("go", "");
    bootstrap("resume")
        .success()
        .says(&["edited     input  1.1/hit: tool hammer 1.4 was, 1.5 is"]);
    assert_eq!(small.read("hits"), "hit\nhit\n");
    assert_eq!(small.read("out"), "other\n");
}

#[test]
fn law_06_a_journal_of_an_earlier_version_loads_and_says_honestly_what_it_cannot_tell() {
    let fixtures = repository().join("tests/fixtures");
    let small = Small::house();
    small.write(
        ".bootstrap/runs/20261125-072447-9290/journal.jsonl",
        &fs::read_to_string(fixtures.join("journal-v1-run.jsonl")).unwrap(),
    );
    small.bootstrap("status").success().tells(&[
        "edited     changed  1.1/wake (2 tasks)",
        "an earlier version",
    ]);
    small.bootstrap("resume").success();
    let json = small.json("status --json");
    assert_eq!(json["standing"], "done");
}

#[test]
fn law_06_what_destroyed_is_not_done_again_because_it_was_edited() {
    let small = Small::steps(
        r#"
      - id: wipe
        effect: destructive
        confirm: { say: Really? }
        shell: "echo wiped >> wiped"
      - { id: stop, needs: [wipe], shell: "test -e go" }
"#,
    );
    small.bootstrap("run story 1.1 --yes").exit(1);
    small.change("playbooks/p.yaml", "echo wiped", "echo wiped again");
    small.write("go", "");
    let before = small.journal();
    small
        .bootstrap("resume")
        .exit(5)
        .says(&["it destroys", "bootstrap accept '1.1/wipe'"]);
    assert_eq!(small.journal(), before);
    small.bootstrap("accept 1.1/wipe").success();
    small.bootstrap("resume").success();
    assert_eq!(small.read("wiped"), "wiped\n");
}

#[test]
fn law_06_what_destroyed_is_spent_although_what_came_after_it_filled_it_again() {
    let small = Small::of(
        r#"
stories:
  - id: "1.1"
    title: Small
    steps:
      - id: empty
        effect: destructive
        confirm: { say: Really? }
        unless: { that: "not exists('data')" }
        shell: "rm data; echo emptied >> log"
      - { id: restore, needs: [empty], shell: "echo restored >> log; touch data", unless: { that: "exists('data')" } }
      - { id: stop, needs: [restore], shell: "test -e go" }
"#,
    );
    small.write("data", "");
    small.bootstrap("run story 1.1 --yes").exit(1);
    small.bootstrap("resume").exit(1);
    assert_eq!(small.read("log"), "emptied\nrestored\n");
    // Also where its question had said at once that nothing was to be done.
    small.remove("data");
    small.write("log", "");
    small.bootstrap("run story 1.1 --yes").exit(1);
    small.write("go", "");
    small.bootstrap("resume").success();
    assert_eq!(small.read("log"), "restored\n");
}

#[test]
fn law_06_what_reads_an_output_that_is_made_again_is_done_again() {
    let small = Small::steps(
        r#"
      - { id: look, effect: reads, inputs: [v], exec: [cat, v], outputs: { v: {} } }
      - { id: use, needs: [look], shell: "echo {{ steps.look.v }} >> used" }
      - { id: not, needs: [look], shell: "echo not >> others" }
      - { id: stop, needs: [use, not], shell: "test -e go" }
"#,
    );
    small.write("v", "one");
    small.bootstrap("run story 1.1").exit(1);
    small.write("v", "two");
    small.write("go", "");
    small
        .bootstrap("resume")
        .success()
        .says(&["it reads what the step `look` gives, which is done again"]);
    assert_eq!(small.read("used"), "one\ntwo\n");
    assert_eq!(small.read("others"), "not\n");
}

const DOUBT: &str = r#"
stories:
  - id: "1.1"
    title: Small
    criteria:
      - { text: It is gone, check: { that: "true" } }
    steps:
      - id: wipe
        effect: destructive
        confirm: { say: Really? }
        shell: "echo wiping the disk; touch began; test -e quick || exec sleep 1000"
      - { id: after, needs: [wipe], shell: "echo after >> after" }
"#;

#[test]
fn law_03_an_attempt_in_doubt_without_a_question_stops_with_all_that_is_known() {
    let small = Small::of(DOUBT);
    small.killed("run story 1.1 --yes", "began");
    let known = [
        "wiping the disk",
        "sh -c",
        "by tester@",
        "resume --assume done '1.1/wipe'",
        "resume --assume not-done '1.1/wipe'",
        "verify story 1.1",
    ];
    small.bootstrap("status").success().tells(&known);
    for _ in 0..2 {
        small.bootstrap("resume").exit(1).says(&known);
    }
    assert!(!small.has("after"));
    small.bootstrap("resume --assume maybe 1.1/wipe").exit(2);
    small
        .bootstrap("resume --assume done 1.1/wipe --why |=the disk is empty")
        .success();
    let assumed = &small.events("assumed")[0];
    assert_eq!(assumed["who"], "tester");
    assert_eq!(assumed["why"], "the disk is empty");
    assert_eq!(small.read("after"), "after\n");
    let report = small.bootstrap("report").success().stdout;
    has_all(&report, &["assumed done by tester: the disk is empty"]);
}

#[test]
fn law_03_what_a_person_says_was_not_done_is_done_again() {
    let small = Small::of(DOUBT);
    small.killed("run story 1.1 --yes", "began");
    small.write("quick", "");
    small
        .bootstrap("resume --assume not-done 1.1/wipe")
        .success();
    assert_eq!(small.read("after"), "after\n");
    assert_eq!(small.events("assumed")[0].get("why"), None);
}

#[test]
fn law_04_what_happens_once_is_not_taken_as_not_done_against_its_question() {
    let small = Small::with(
        r#"
probes:
  made:
    settle: 20ms
    ask:
      - file: made
        answers: { there: "exists and text == 'yes'", absent: not exists }
"#,
        r#"
      - id: make
        effect: once
        unless: { probe: made, is: there }
        shell: "touch began; echo did >> did; test -e quick || exec sleep 1000"
"#,
    );
    small.killed("run story 1.1", "began");
    for (text, word) in [("yes", "says that it is done"), ("?", "cannot tell")] {
        small.write("made", text);
        let before = small.journal();
        small
            .bootstrap("resume --assume not-done 1.1/make")
            .exit(5)
            .says(&["must happen once", word]);
        assert_eq!(small.journal(), before, "what is refused leaves no trace");
    }
    small.remove("made");
    small.write("quick", "");
    small
        .bootstrap("resume --assume not-done 1.1/make")
        .success();
    assert_eq!(small.read("did"), "did\ndid\n");
}

#[test]
fn law_06_what_was_built_on_what_no_longer_holds_is_built_again() {
    let small = Small::with(
        r"
probes:
  disk: { ask: [ { file: disk, answers: { there: exists, gone: not exists } } ] }
",
        r#"
      - id: disk
        unless: { probe: disk, is: there }
        shell: "touch disk"
      - { id: label, needs: [disk], shell: "echo label >> labels" }
      - { id: other, shell: "echo other >> others" }
      - { id: stop, needs: [label, other], shell: "test -e go" }
"#,
    );
    small.bootstrap("run story 1.1").exit(1);
    small.remove("disk");
    small.write("go", "");
    small.bootstrap("resume").success().says(&[
        "it no longer holds: disk gone",
        "it was built on 1.1/disk, which no longer holds",
    ]);
    assert_eq!(small.read("labels"), "label\nlabel\n");
    assert_eq!(small.read("others"), "other\n");
}

#[test]
fn law_06_what_cannot_be_asked_stays_as_it_was_and_is_said() {
    let small = Small::with(
        r#"
probes:
  disk:
    settle: 20ms
    ask: [ { file: disk, answers: { there: "exists and text == ''", gone: not exists } } ]
"#,
        r#"
      - id: disk
        unless: { probe: disk, is: there }
        shell: "touch disk; echo made >> made"
      - { id: stop, needs: [disk], shell: "test -e go" }
"#,
    );
    small.bootstrap("run story 1.1").exit(1);
    small.write("disk", "?");
    small.write("go", "");
    small
        .bootstrap("resume")
        .success()
        .says(&["unsure     1.1/disk", "left as it was"]);
    assert_eq!(small.read("made"), "made\n");
}

/// Every file below a folder that holds a text.
fn holding(folder: &Path, text: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            holding(&path, text, found);
        } else if String::from_utf8_lossy(&fs::read(&path).unwrap()).contains(text) {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn law_08_what_was_printed_before_it_was_known_to_be_secret_is_scrubbed_everywhere() {
    // `early` ends before anybody knows, `slow` while `token` learns, and `token` itself prints before it is read.
    let small = Small::steps(
        r#"
      - { id: early, shell: "echo early $(cat token)" }
      - { id: slow, needs: [early], shell: "echo slow $(cat token); while ! test -e learned; do sleep 0.01; done" }
      - id: token
        needs: [early]
        effect: reads
        shell: "echo note $(cat token) >&2; cat token.json"
        outputs: { token: { parse: json, select: value.token, secret: true } }
      - { id: tell, needs: [token], shell: "touch learned; echo told {{ steps.token.token }}" }
      - { id: fail, needs: [slow, tell], shell: "echo last $(cat token) >&2; exit 3" }
"#,
    );
    small.write("token", "tok-9f8e7d6c5b");
    small.write("token.json", "{\"token\": \"tok-9f8e7d6c5b\"}");
    let said = small.bootstrap("run story 1.1").exit(1);
    assert!(!said.stderr.contains("tok-9f8e7d6c5b"), "{}", said.stderr);
    let mut found = Vec::new();
    holding(
        &small.lab.project().join(".bootstrap"),
        "tok-9f8e7d6c5b",
        &mut found,
    );
    assert_eq!(found, [] as [&str; 0]);
    let logs = small.bootstrap("logs").success().stdout;
    has_all(
        &logs,
        &[
            "early [masked]",
            "slow [masked]",
            "note [masked]",
            "last [masked]",
        ],
    );
}

/// Three ways in which an end cites what a process said: a failed command, a question without an answer, an answer that is not clear.
/// Only after them does a step say that it is a secret.
const CITING: &str = r#"
      - { id: early, shell: "echo first; echo early $(cat token) >&2; exit 3" }
      - { id: ask, unless: { probe: lamp, is: lit }, shell: "true" }
      - id: maybe
        shell: "echo torn $(cat token) >&2; exit 4"
        maybe: "exit == 4"
        until: { that: "exists('token')", within: 1s }
      - id: guarded
        refuse:
          - { when: { probe: lamp, is: lit }, say: The lamp may burn. }
        shell: "true"
      - { id: late, render: { text: "p = op://Home/attic/PASSWORD", to: allowed.conf, secrets: resolve } }
"#;

#[test]
fn law_08_what_an_end_cites_is_not_in_the_journal_and_status_and_report_read_it_from_the_scrubbed_log()
 {
    let small = Small::with(
        r#"
may_hold_secrets: [allowed.conf, token, secrets.yaml]
probes:
  lamp:
    title: Does the lamp burn?
    settle: 0s
    ask:
      - run: [sh, -c, "echo lamp $(cat token) >&2; exit 9"]
        answers: { lit: "exit == 0" }
"#,
        CITING,
    );
    small.write("token", "correct horse battery");
    small.write("secrets.yaml", SECRETS);
    // One after the other: what is cited is written before anybody knows.
    let said = small
        .bootstrap("run story 1.1 --secrets-file secrets.yaml --keep-going --jobs 1 --output json")
        .exit(1);
    has_all(
        &said.stdout,
        &["\"last-lines\":[\"early correct horse battery\"]"],
    );
    small.bootstrap("audit").success().tells(&["clean"]);
    let journal = small.journal();
    assert!(!journal.contains("horse"), "{journal}");
    has_all(
        &journal,
        &["no clear answer (exit 4: \u{2026}), so its effect decides"],
    );
    small.bootstrap("status").success().tells(&[
        "`sh` failed (exit 3): early [masked]",
        "    | early [masked]",
        "it cannot be told whether this is done already: lamp unknown (exit 9: lamp [masked])",
        "no clear answer (exit 4: torn [masked]), so its effect decides",
        "hint: seen: lamp unknown (exit 9: lamp [masked])",
    ]);
    let report = small.json("report --json");
    let early = &report["run"]["tasks"][0];
    assert_eq!(early["failure"]["last-lines"][0], "early [masked]");
    // Without its log the sentence stands, and says that something was cited.
    let logs = small.lab.journals()[0].parent().unwrap().join("logs");
    fs::remove_dir_all(logs).unwrap();
    small
        .bootstrap("status")
        .success()
        .tells(&["`sh` failed (exit 3)", "lamp unknown (exit 9: \u{2026})"]);
}

const SECRETS: &str = "\"op://Home/attic/PASSWORD\": correct horse battery\n\
                       \"op://Home/attic/SHORT\": abc\n";

#[test]
fn law_08_the_audit_finds_a_secret_in_any_form_and_tells_where_and_not_what() {
    let small = Small::with(
        r"
may_hold_secrets: [allowed.conf]
",
        r#"
      - { id: keep, render: { text: "p = op://Home/attic/PASSWORD", to: allowed.conf, secrets: resolve } }
      - { id: say, needs: [keep], shell: "cat allowed.conf; base64 allowed.conf" }
"#,
    );
    small.write("secrets.yaml", SECRETS);
    small
        .bootstrap("run story 1.1 --secrets-file secrets.yaml")
        .success();
    small.bootstrap("audit").success().tells(&[
        "allowed    allowed.conf: 1 place",
        "op://Home/attic/SHORT: its value is too short",
        "clean",
    ]);
    let careless = "x: Y29ycmVjdCBob3JzZSBiYXR0ZXJ5\n";
    small.write("careless.txt", careless);
    let run = small.lab.journals()[0].parent().unwrap().to_path_buf();
    fs::write(run.join("logs/x.log"), "a%20b correct%20horse%20battery\n").unwrap();
    let said = small.bootstrap("audit").exit(1).tells(&[
        "found      careless.txt:3: the value of op://Home/attic/PASSWORD",
        "logs/x.log:6: the value of op://Home/attic/PASSWORD",
    ]);
    assert!(!said.stdout.contains("horse"), "{}", said.stdout);
    let json = small.bootstrap("audit --json").exit(1).json();
    assert_eq!(json["found"].as_array().unwrap().len(), 2);
    assert_eq!(json["found"][1]["offset"], 3);
    // What cannot be had cannot be looked for, and that is not clean.
    small.write("none.yaml", "{}\n");
    small.bootstrap("audit --secrets-file none.yaml").exit(4);
    small.write("one.yaml", "\"op://Home/attic/OTHER\": another value\n");
    small
        .bootstrap("audit --secrets-file one.yaml")
        .exit(4)
        .tells(&[
            "not sought op://Home/attic/PASSWORD: the secrets file has no",
            "not all could be looked for",
        ]);
}

#[test]
fn law_12_a_criterion_for_people_is_signed_off_by_name_without_a_terminal() {
    let small = Small::of(
        r#"
stories:
  - id: "1.1"
    title: Small
    criteria:
      - { text: The house is warm, sign_off: Put your hand on the radiator. }
      - { text: It is there, check: { that: "exists('house')" } }
    steps:
      - { id: house, shell: "touch house" }
"#,
    );
    small.bootstrap("sign-off 1.1 1 --note x").exit(5);
    small
        .bootstrap("run story 1.1")
        .exit(1)
        .says(&["bootstrap sign-off 1.1 1 --note TEXT"]);
    small.bootstrap("sign-off 1.1 2 --note x").exit(2);
    small.bootstrap("sign-off 1.1 9 --note x").exit(2);
    small.bootstrap("sign-off 1.1 1 --note |= ").exit(2);
    small
        .bootstrap("sign-off 1.1 1 --note |=warm as toast")
        .success();
    small.bootstrap("sign-off 1.1 1 --note again").exit(2);
    small.bootstrap("resume").success();
    let json = small.json("status --json");
    assert_eq!(json["standing"], "done");
    let tasks = json["tasks"].as_array().unwrap();
    let signed = tasks
        .iter()
        .find(|task| task["key"] == "1.1/criterion-1")
        .unwrap();
    assert_eq!(signed["status"], "met");
    has_all(
        signed["why"].as_str().unwrap(),
        &["signed off by tester", "warm as toast"],
    );
    let report = small.bootstrap("report").success().stdout;
    has_all(
        &report,
        &["2 of 2 criteria met", "warm as toast", "waited for people"],
    );
    let json = small.json("report --json");
    assert_eq!(json["criteria"]["1.1"]["met"], 2);
    assert_eq!(json["people"][0]["who"], "tester");
}

#[test]
fn law_08_a_machine_with_another_hardware_address_is_sent_no_keys() {
    const EXCHANGED: &str = "10.25.11.12";
    let lab = Lab::new();
    lab.lab(["hurt", "WORLD", "node", EXCHANGED, "exchange"])
        .success();
    lab.bootstrap([
        "run",
        "story",
        "1.3",
        "--yes",
        "--keep-going",
        "--output",
        "plain",
    ])
    .exit(1)
    .says(&[
        "The machine at 10.25.11.12 is not infra-02",
        "changed    1.3/apply[infra/infra-01]",
    ]);
    let sent: Vec<String> = lab
        .calls("talosctl apply-config")
        .iter()
        .filter_map(|call| call.value("-n").map(str::to_owned))
        .collect();
    assert!(!sent.contains(&EXCHANGED.to_owned()), "{sent:?}");
    assert_eq!(sent.len(), 5, "{sent:?}");
}

#[test]
fn an_argument_is_applied_once_where_a_parameter_is_called_like_what_it_is_made_of() {
    let small = Small::with(
        "tasks:\n  note:\n    with: { name: text, more: text }\n    title: Note {{ name }}\n    unless: { that: \"name == 'never'\" }\n    exec: [echo, \"{{ name }}\", \"{{ more }}\"]\n",
        "      - { id: find, exec: [printf, found], outputs: { word: { select: stdout } } }\n      - id: note\n        for_each: { name: [x] }\n        needs: [find]\n        task: note\n        with: { name: \"{{ name }}-z\", more: \"{{ name }}-{{ steps.find.word }}-{{ run.attempt }}\" }\n",
    );
    let plan = small.bootstrap("plan story 1.1").success();
    assert!(plan.stdout.contains("Note x-z "), "{}", plan.stdout);
    small.bootstrap("run story 1.1").success();
    let log = small.bootstrap("logs 1.1/note").success().stdout;
    assert!(log.contains("\nx-z x-found-1\n"), "{log}");
}
