//! Which control group is meant: by its path in every spelling, and by a unit.

use super::command::instance;
use super::faults::fails;
use super::{Machine, attach, below, bpf, inside_folder, mount};
use crate::{PORT, victim};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use support::{Program, in_one_line};

#[test]
fn takes_a_groups_path_in_every_spelling() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let above = machine.group("above");
    let group = machine.below(&format!("{above}/group"));
    let root = machine.root.display().to_string();
    let name = group.rsplit_once('/').expect("it is below one").0;
    symlink(machine.folder(&group), "/run/link").expect("/run is ours");
    let from = |folder: &str, path: &str| {
        bpf(["attach", "--cgroup", path]).inside(machine.root.join(&folder[1..]))
    };
    for (folder, path) in [
        ("/", group.clone()),
        ("/", group[1..].to_owned()),
        ("/", format!("{root}{group}")),
        ("/", format!("{root}{group}/")),
        ("/", format!("{name}//group/")),
        ("/", format!("{name}/./group")),
        ("/", format!("{group}/../group")),
        ("/", "/run/link".to_owned()),
        ("/", "/run/link/".to_owned()),
        (&above, "group".to_owned()),
        (&above, "./group".to_owned()),
        (&group, ".".to_owned()),
        (&group, "../group".to_owned()),
    ] {
        let said = from(folder, &path).run();
        assert!(said.status.success(), "{path} in {folder}: {said:#?}");
        assert_eq!(instance(&group)["state"], "attached", "{path} in {folder}");
        let detached = bpf(["detach", "--cgroup", &path])
            .inside(machine.root.join(&folder[1..]))
            .run();
        let text = format!("bpf: detached from {group}\n");
        assert_eq!(detached.stderr, text, "{path} in {folder}");
        let none = bpf(["status"]).run();
        assert!(!none.stdout.contains(&above), "{path}: {none:#?}");
    }
    // What is no control group is no way to say the root's.
    for (folder, path, says) in [
        ("/run", ".", "there is no control group . below"),
        ("/run", "nothing", "there is no control group nothing below"),
        ("/run", "/..", "there is no control group /.. below"),
    ] {
        fails(
            &bpf(["attach", "--cgroup", path]).inside(folder),
            &format!("bpf: {says}"),
        );
    }
    fails(
        &bpf(["attach", "--cgroup="]),
        "bpf: the name of the control group is empty",
    );
    // One that has gone is known by its name, however that is spelled.
    assert!(attach(&group).run().status.success());
    fs::remove_dir(machine.folder(&group)).expect("it is empty");
    assert_eq!(instance(&group)["state"], "waiting");
    let path = format!("{root}{name}//group/");
    let said = bpf(["detach", "--cgroup", &path]).run();
    assert!(said.status.success(), "{said:#?}");
    assert!(instance(&group).is_null());
}

#[test]
fn names_that_are_not_utf8_keep_nobody_from_the_others() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let odd = |folder: &str| [folder.as_bytes(), b"/\xff"].concat();
    // Somebody's medium.
    let medium = odd("/run");
    let medium = OsStr::from_bytes(&medium);
    fs::create_dir(medium).expect("/run is ours");
    mount("tmpfs", medium, "tmpfs", 0);
    let group = machine.group("odd");
    let inner = machine.folder(&group);
    let inner = odd(inner.to_str().expect("it is UTF-8"));
    let inner = OsStr::from_bytes(&inner);
    fs::create_dir(inner).expect("the group is ours");
    let mut server = inside_folder(inner, &victim()).start();
    server.expect("listening");
    let is_refused = "is not UTF-8: attach at one above it";
    fails(
        &bpf(["attach", "--pid", &server.pid().to_string()]),
        is_refused,
    );
    fails(&bpf(["attach", "--cgroup"]).argument(inner), is_refused);
    // The one above it serves what is in there.
    let said = attach(&group).run();
    assert!(
        in_one_line(&said.stderr).contains("1 listener armed"),
        "{said:#?}"
    );
    assert_eq!(instance(&group)["served_ports"], PORT.to_string());
    let check = Program::new(support::reuseaddr())
        .arguments(["check", "--pid"])
        .argument(server.pid().to_string())
        .run();
    let expected = format!("programs are attached at {group}");
    assert!(in_one_line(&check.stdout).contains(&expected), "{check:#?}");
    server.kill();
    support::wait_until("the group to be empty", || fs::remove_dir(inner).is_ok());
}

/// Where the system's manager does not know the unit: a user's does.
#[test]
fn finds_a_users_unit_by_its_name() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let above = machine.group("users");
    let name = format!("mine-{}.service", std::process::id());
    let mut unit = |user: &str| {
        let manager = machine.below(&format!("{above}/{user}"));
        machine.below(&format!("{manager}/{name}"))
    };
    let first = unit("user@1501.service");
    let bare = name.trim_end_matches(".service");
    for typed in [&name, bare] {
        let said = bpf(["attach", "--unit", typed]).run();
        assert!(said.status.success(), "{said:#?}");
        let text = in_one_line(&said.stderr);
        assert!(text.contains(&format!("attached at {first}")), "{text}");
        assert!(
            text.contains("bpf attach --unit user@1501.service"),
            "{text}"
        );
    }
    let said = bpf(["detach", "--unit", bare]).run();
    assert_eq!(said.stderr, format!("bpf: detached from {first}\n"));
    unit("user@1502.service");
    fails(
        &bpf(["attach", "--unit", &name]),
        &format!("there are 2 units {name}: name the control group of one, as in --cgroup {first}"),
    );
}

#[test]
fn says_in_one_line_what_can_be_no_unit() {
    let Some(_machine) = Machine::new() else {
        return;
    };
    for (name, says) in [
        ("*", "\"*\" can't be the name of a unit"),
        (
            "/system.slice",
            "\"/system.slice\" can't be the name of a unit",
        ),
        ("a\nb", "\"a?b\" can't be the name of a unit"),
        (
            "my.socket",
            "my.socket is a socket unit and has no processes",
        ),
        ("my@", "my@.service is a template"),
        ("libreuse-none.slice", "libreuse-none.slice"),
        ("libreuse-none.scope", "libreuse-none.scope"),
    ] {
        fails(&bpf(["attach", "--unit", name]), says);
    }
}

/// As that of a container in a container can be, of which a file can't have the name.
#[test]
fn takes_names_that_are_too_long_for_a_file() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let above = machine.group("long");
    let long = format!("{above}/{}", ".".repeat(10) + &"x".repeat(230));
    let [one, other] = ["1", "2"].map(|end| machine.below(&format!("{long}{end}")));
    for group in [&one, &other] {
        let said = attach(group).run();
        assert!(said.status.success(), "{said:#?}");
        assert!(machine.serves(group));
    }
    // Each has its own.
    assert!(bpf(["detach", "--cgroup", &one]).run().status.success());
    assert_eq!(instance(&other)["served_ports"], "5000");
    assert!(bpf(["detach", "--cgroup", &other]).run().status.success());
    assert_eq!(below("/sys/fs/bpf"), [""; 0]);
    let started = Program::python("print(open('/proc/self/cgroup').read())").by("bpf");
    let said = machine.inside(&one, &started).run();
    assert!(said.stdout.contains("/libreuse-run-"), "{said:#?}");
    let said = machine.detach_all_below(&above).run();
    assert!(said.status.success(), "{said:#?}");
    assert_eq!(below("/run/libreuse/bpf"), [""; 0]);
}
