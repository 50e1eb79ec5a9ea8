//! `reuseaddr bpf`: attach, detach, status, and `run --engine bpf`.

use super::faults::fails;
use super::{Machine, attach, below, bpf};
use crate::{PORT, victim};
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use support::{Program, TcpState, in_one_line, program, python, reuseaddr, wait_for, wait_until};

/// The programs that the kernel has at a group of that name, as `status` finds them.
pub(super) fn instance(group: &str) -> serde_json::Value {
    let said = bpf(["status", "--json"]).run();
    let answer: serde_json::Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    let instances = answer["instances"].as_array().expect("an array");
    let mut found = instances
        .iter()
        .filter(|instance| instance["cgroup"] == group);
    let one = found.next().cloned().unwrap_or_default();
    assert!(found.next().is_none(), "{answer:#}");
    one
}

#[test]
fn serves_the_next_start_of_what_runs_already() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    for (group, expected) in [
        (machine.group("control"), "bind: Address already in use"),
        (machine.group("running"), "listening"),
    ] {
        support::own_network();
        let server = machine.inside(&group, &victim());
        let mut first = server.start();
        first.expect("listening");
        // A connection from before, which the server holds.
        let _client = TcpStream::connect(("127.0.0.1", PORT)).expect("the server listens");
        wait_for(PORT, TcpState::Established, 1);
        crate::wait_until_accepted(PORT);
        if expected == "listening" {
            let said = attach(&group).run();
            assert!(said.status.success(), "{said:#?}");
            assert!(
                said.stderr.contains("1 listener armed")
                    && said.stderr.contains(&format!("port {PORT} from now on")),
                "{said:#?}"
            );
            assert_eq!(instance(&group)["served_ports"], PORT.to_string());
        }
        first.kill();
        wait_for(PORT, TcpState::FinWait2, 1);
        assert_eq!(server.start().line(), expected);
    }
}

#[test]
fn attaches_once_however_often_it_is_asked() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.group("often");
    let all: Vec<_> = (0..8).map(|_| attach(&group).start()).collect();
    for one in all {
        let said = one.finish();
        assert!(said.status.success(), "{said:#?}");
    }
    assert_eq!(instance(&group)["state"], "attached");
    let again = attach(&group).run();
    assert!(again.stderr.contains("already"), "{again:#?}");
    let detached = bpf(["detach", "--cgroup", &group]).run();
    assert!(detached.status.success(), "{detached:#?}");
    assert!(instance(&group).is_null());
    let nothing = bpf(["detach", "--cgroup", &group]).run();
    assert_eq!(nothing.status.code(), Some(1), "{nothing:#?}");
}

#[test]
fn remembers_a_services_ports_from_one_group_to_the_next() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.attached("service");
    let server = machine.inside(&group, &victim());
    let mut first = server.start();
    first.expect("listening");
    first.kill();
    let folder = machine.folder(&group);
    support::wait_until("the group to be empty", || fs::remove_dir(&folder).is_ok());
    assert_eq!(instance(&group)["state"], "waiting");
    fs::create_dir(&folder).expect("the group is ours");
    assert!(attach(&group).run().status.success());
    assert_eq!(instance(&group)["served_ports"], PORT.to_string());
}

#[test]
fn tells_everybody_what_is_attached() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.attached("public");
    // What an `attach` that was killed had begun to write.
    let begun = r#"{"group":"/begun","lasting":true,"ports":null}"#;
    std::fs::write("/run/libreuse/bpf/.new.4711", begun).expect("the folder is there");
    let folder = support::Folder::for_other_users("bpf-public");
    let command = folder.copy(reuseaddr(), "reuseaddr");
    let said = Program::new(program(&["setpriv"]))
        .arguments(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .argument(command)
        .arguments(["bpf", "status"])
        .run();
    assert!(
        said.stdout.contains(&format!("{group}: attached")),
        "{said:#?}"
    );
    assert!(!said.stdout.contains("/begun"), "{said:#?}");
    assert!(said.status.success(), "{said:#?}");
    // And of a process, whoever it is.
    let mut server = machine.inside(&group, &victim()).start();
    server.expect("listening");
    let check = |pid: u32| {
        Program::new(reuseaddr())
            .arguments(["check", "--pid"])
            .argument(pid.to_string())
            .run()
    };
    let said = check(server.pid());
    assert!(said.status.success(), "{said:#?}");
    assert!(
        said.stdout
            .contains(&format!("programs are attached at {group}")),
        "{said:#?}"
    );
    let other = check(std::process::id());
    assert!(
        !other.stdout.contains("programs are attached"),
        "{other:#?}"
    );
}

#[test]
fn every_key_of_its_json_is_documented() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.attached("keys");
    let manual = support::project().join("docs/json.md");
    let manual = fs::read_to_string(manual).expect("there is a page");
    let (_, section) = manual.split_once("\n## bpf\n").expect("there is a section");
    let mut documented: Vec<&str> = section
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|key| !["asked_the_kernel", "instances"].contains(key))
        .collect();
    documented.sort_unstable();
    let instance = instance(&group);
    let keys: Vec<&String> = instance.as_object().expect("an object").keys().collect();
    assert_eq!(keys, documented);
}

#[test]
fn detach_all_leaves_nothing() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    // In a cgroup namespace "all" is what is below the test's own group.
    let base = machine.group("base");
    let inner = machine.below(&format!("{base}/inner"));
    let _last = machine.below(&format!("{base}/libreuse-run-999999999"));
    let script = r#"
        set -e
        mount -t cgroup2 none "$1"
        "$0" bpf attach --cgroup /
        "$0" bpf attach --cgroup /inner
        "$0" bpf status
        "$0" bpf detach --all
        "$0" bpf status || echo nowhere
    "#;
    fs::create_dir("/run/own").expect("/run is ours");
    let boxed = Program::new(program(&["unshare"]))
        .arguments(["--cgroup", "--mount", "sh", "-c", script])
        .argument(reuseaddr())
        .argument("/run/own");
    let said = machine.inside(&base, &boxed).run();
    assert!(
        said.stderr
            .contains("detached from 2 control groups; nothing is left"),
        "{said:#?}"
    );
    assert!(said.stdout.contains("/inner: attached"), "{said:#?}");
    assert!(said.stdout.ends_with("nowhere\n"), "{said:#?}");
    assert_eq!(below("/sys/fs/bpf"), [""; 0]);
    assert!(!below("/run").contains(&"libreuse".to_owned()));
    assert!(
        !machine
            .folder(&base)
            .join("libreuse-run-999999999")
            .exists()
    );
    assert!(machine.folder(&inner).exists());
}

/// With the hook for containers and a drop-in for a service, in a file system of their own.
#[test]
fn clean_leaves_nothing_of_it_nor_of_what_names_the_command() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let base = machine.group("clean");
    let script = r#"
        set -e
        mkdir -p /run/own /run/upper /run/work /run/local /run/cache
        mount -t overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work overlay /etc
        mount --bind /run/local /usr/local/lib
        mount --bind /run/cache /var/cache
        mount -t cgroup2 none /run/own
        exec >&2
        "$0" bpf attach --cgroup /
        "$0" bpf hook --install
        "$0" systemd --install mine
        exec >/run/before
        find /etc /usr/local/lib /sys/fs/bpf -name '*reuse*'
        "$0" clean --dry-run >/run/would
        "$0" clean >&2
        exec >/run/after
        find /etc /usr/local/lib /sys/fs/bpf -name '*reuse*'
        "$0" bpf status >&2 || echo nowhere
        mkdir -p /etc/containers/oci/hooks.d
        echo '{"hook": {"args": ["another"]}}' >/etc/containers/oci/hooks.d/50-libreuse.json
        "$0" clean
        test -e /etc/containers/oci/hooks.d/50-libreuse.json
    "#;
    let boxed = Program::new(program(&["unshare"]))
        .arguments(["--cgroup", "--mount", "sh", "-c", script])
        .argument(reuseaddr());
    let said = machine.inside(&base, &boxed).run();
    assert!(said.status.success(), "{said:#?}");
    let read = |name: &str| fs::read_to_string(name).expect("the script wrote it");
    let (before, would) = (read("/run/before"), read("/run/would"));
    for place in [
        "/etc/containers/oci/hooks.d/50-libreuse.json",
        "/etc/systemd/system/mine.service.d/50-libreuse.conf",
        "/usr/local/lib/libreuse",
        "/sys/fs/bpf/libreuse",
    ] {
        assert!(before.contains(place), "the control: {before}");
        let line = format!("would be removed: {place}\n");
        assert!(would.contains(&line), "{would}");
    }
    assert!(
        before.contains("/usr/local/lib/libreuse/reuseaddr"),
        "{before}"
    );
    let after = read("/run/after");
    assert!(after.starts_with("nowhere\n"), "{after}");
    assert!(after.ends_with("There is nothing to remove.\n"), "{after}");
}

#[test]
fn run_becomes_the_program_in_a_group_of_its_own() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.group("run");
    let show = Program::python(
        "print(os.getpid(), open('/proc/self/cgroup').read().split('0::')[1], sep='\\n', end='')",
    )
    .by("bpf");
    let started = machine.inside(&group, &show).start();
    let pid = started.pid();
    let finished = started.finish();
    assert_eq!(
        finished.stdout,
        format!("{pid}\n{group}/libreuse-run-{pid}\n"),
        "{finished:#?}"
    );
    assert_eq!(finished.stderr, "");
    let left = machine.folder(&group).join(format!("libreuse-run-{pid}"));
    assert!(left.exists());
    // Whatever is attached or detached next removes it, wherever that is.
    let elsewhere = machine.group("elsewhere");
    assert!(attach(&elsewhere).run().status.success());
    assert!(!left.exists());
    assert!(
        below("/run/libreuse/bpf")
            .iter()
            .all(|name| !name.contains("run-"))
    );
    // So does the next such start, and what is about everything.
    for clears in [
        machine.inside(&group, &show),
        machine.detach_all_below(&group),
    ] {
        let started = machine.inside(&group, &show).start();
        let left = machine
            .folder(&group)
            .join(format!("libreuse-run-{}", started.pid()));
        let _ = started.finish();
        assert!(left.exists());
        let _ = clears.run();
        assert!(!left.exists(), "{clears:?}");
    }
    for entry in fs::read_dir(machine.folder(&group))
        .expect("the group")
        .flatten()
    {
        let _ = fs::remove_dir(entry.path());
    }
}

#[test]
fn run_says_what_it_cannot_do_and_starts_nothing() {
    for (option, value) in [
        ("--linger", "graceful"),
        ("--wait", "1s"),
        ("--reuseport", "on"),
        ("--log", "debug"),
        ("--programs", "python3"),
    ] {
        let said = Program::new(reuseaddr())
            .arguments(["run", "--engine", "bpf", option, value])
            .argument(python())
            .run();
        assert_eq!(said.status.code(), Some(125), "{said:#?}");
        assert!(
            said.stderr
                .contains(&format!("the engine bpf has no {option}")),
            "{said:#?}"
        );
    }
    // The control: it is a program that can be started.
    assert!(
        Command::new(python())
            .arg("-c")
            .arg("")
            .status()
            .expect("it runs")
            .success()
    );
}

/// In each namespace it has the number 1, and procfs may be the machine's.
#[test]
fn starts_in_process_namespaces_again_and_again() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.group("first");
    let starts = |procfs: &[&str]| {
        Program::new(program(&["unshare"]))
            .arguments(["--pid", "--fork"])
            .arguments(procfs)
            .argument(reuseaddr())
            .arguments(["run", "--engine", "bpf", "--"])
    };
    for procfs in [&["--mount-proc"][..], &[]] {
        let shows = starts(procfs).arguments(["sh", "-c", "grep ^0:: /proc/self/cgroup"]);
        for _ in 0..3 {
            let said = machine.inside(&group, &shows).run();
            let expected = format!("0::{group}/libreuse-run-1-");
            assert!(said.stdout.starts_with(&expected), "{said:#?}");
        }
        // And beside one another.
        let stays = starts(procfs).arguments(["sh", "-c", "echo here; cat"]);
        let mut both = [(), ()].map(|()| machine.inside(&group, &stays).start());
        for one in &mut both {
            one.expect("here");
        }
    }
    // What is left goes with the next one, once nobody is in those namespaces.
    wait_until("the groups to go", || {
        let said = machine.detach_all_below(&group).run();
        assert!(said.status.success(), "{said:#?}");
        !fs::read_dir(machine.folder(&group))
            .expect("it is there")
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libreuse"))
    });
}

/// The next `run-u4.service` of systemd-run(1) has another number: of those that have gone nothing
/// is kept, and nobody waits for them. The control is a service, which comes again.
#[test]
fn forgets_a_unit_whose_name_does_not_come_again() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let above = machine.group("transient");
    let [passing, session, service, other] = [
        "run-u4.service",
        "session-4.scope",
        "web.service",
        "other.service",
    ]
    .map(|name| machine.below(&format!("{above}/{name}")));
    for group in [&passing, &session, &service] {
        assert!(attach(group).run().status.success());
    }
    for group in [&passing, &service] {
        fs::remove_dir(machine.folder(group)).expect("nobody is in it");
    }
    let are_right = || {
        assert_eq!(instance(&passing), serde_json::Value::Null);
        let of = |group| ["state", "lasting"].map(|key| instance(group)[key].to_string());
        assert_eq!(of(&session), ["\"attached\"", "false"]);
        assert_eq!(of(&service), ["\"waiting\"", "true"]);
    };
    let are_kept = |group: &str| {
        let name = group.replace('/', "_2f").replace('.', "_2e");
        ["/run/libreuse/bpf", "/sys/fs/bpf/libreuse/v1"]
            .map(|folder| Path::new(folder).join(&name).exists())
    };
    are_right();
    assert_eq!(are_kept(&passing), [true, false]);
    assert!(attach(&other).run().status.success());
    are_right();
    assert_eq!(are_kept(&passing), [false, false]);
    assert_eq!(are_kept(&service), [true, true]);
    // Whoever asks for it before is told that it was there.
    fs::remove_dir(machine.folder(&session)).expect("nobody is in it");
    let detached = bpf(["detach", "--cgroup", &session]).run();
    assert!(detached.status.success(), "{detached:#?}");
    let said = format!("bpf: detached from {session}");
    assert_eq!(in_one_line(&detached.stderr), said);
    fails(
        &bpf(["detach", "--cgroup", &session]),
        "there is no control group",
    );
}
