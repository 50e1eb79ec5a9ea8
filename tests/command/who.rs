//! `status`: which process holds a port, and what a person would ask about it.

use crate::{CONTAINER, Group, assert_says, json, reuseaddr, server, status};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use support::{Folder, Program, own_network, program, wait_until};

fn holder(port: u16) -> Value {
    status(port)["sockets"][0]["holders"][0].take()
}

/// A server that is somebody's child, in a folder of its own, as another user.
#[test]
fn names_user_command_line_age_and_parents() {
    own_network();
    let folder = Folder::for_other_users("who");
    let script = folder.join("app server.py");
    fs::write(
        &script,
        "import socket\nlistener = socket.create_server(('127.0.0.1', 5000))\nprint('listening', \
         flush=True)\ninput()\n",
    )
    .expect("the folder is ours");
    let mut shell = crate::nobody()
        .arguments([
            "/bin/sh",
            "-c",
            "/usr/bin/python3 -I \"$0\" --port 5000; true",
        ])
        .argument(&script)
        .inside(folder.path())
        .start();
    shell.expect("listening");
    let directory = folder.path().to_str().expect("UTF-8");

    let holder = holder(5000);
    assert_eq!(holder["name"], "python3", "{holder}");
    assert_eq!(
        (&holder["uid"], &holder["user"]),
        (&65534.into(), &"nobody".into())
    );
    let words: Vec<&str> = holder["command_line"]
        .as_array()
        .expect("words")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let path = script.to_str().expect("UTF-8");
    assert_eq!(words, ["/usr/bin/python3", "-I", path, "--port", "5000"]);
    assert!(holder["age_s"].as_u64().expect("an age") < 600, "{holder}");
    assert_eq!(holder["directory"], directory, "{holder}");
    assert!(
        holder["container"].is_null() && holder["user_unit"] == false,
        "{holder}"
    );
    let parents = holder["ancestors"].as_array().expect("parents");
    assert_eq!(parents[0]["pid"], shell.pid(), "{holder}");
    assert_eq!(parents[0]["name"], "sh", "{holder}");
    assert_eq!(parents.last().expect("process 1")["pid"], 1, "{holder}");

    let text = reuseaddr(["status", "5000"]).run().stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["STATE", "LOCAL", "HELD", "BY", "USER", "AGE", "COMMAND"],
        "{text}"
    );
    assert!(
        lines[1].contains("nobody") && lines[1].ends_with(&format!("'{path}' --port 5000")),
        "{text}"
    );
    assert!(
        lines.contains(&format!("    in {directory}").as_str()),
        "{text}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("    started by ")
            && line.ends_with(&format!("sh ({})", shell.pid()))),
        "{text}"
    );
}

/// One byte that is no text makes that argument odd, and leaves the others as they are.
#[test]
fn shows_arguments_that_are_no_text() {
    own_network();
    for (name, shown) in [(&b"Jos\xc3\xa9"[..], "José"), (b"Jos\xe9", "Jos\u{fffd}")] {
        let mut running = server(5000)
            .argument("127.0.0.1")
            .argument(OsStr::from_bytes(name))
            .argument("last")
            .start();
        running.expect("listening");
        let holder = holder(5000);
        let words = holder["command_line"].as_array().expect("words");
        assert_eq!(words[words.len() - 2..], [shown, "last"], "{holder}");
        let expected = format!("127.0.0.1 {shown} last");
        for words in [&["status", "5000"][..], &["free", "--dry-run", "5000"]] {
            let finished = reuseaddr(words).run();
            assert!(
                finished.stdout.replace('\'', "").contains(&expected),
                "{finished:#?}"
            );
        }
        running.kill();
    }
}

/// A process in a control group of this name is what systemd or a container's runtime makes.
#[test]
fn names_unit_and_container_and_what_stops_them() {
    for (group, unit, container, stops) in [
        (
            "libreuse-test.service".to_owned(),
            "libreuse-test.service",
            None,
            "systemctl stop libreuse-test.service",
        ),
        (
            format!("docker-{CONTAINER}.scope"),
            "docker 3f4e1c9a2b7d",
            Some("docker"),
            "docker stop 3f4e1c9a2b7d",
        ),
    ] {
        own_network();
        let mut running = server(5000).start();
        running.expect("listening");
        let group = Group::with(running.pid(), &group);

        let holder = holder(5000);
        assert_eq!(
            holder["container"]["runtime"].as_str(),
            container,
            "{holder}"
        );
        if container.is_none() {
            assert_eq!(holder["unit"], unit, "{holder}");
        } else {
            assert_eq!(holder["container"]["id"], CONTAINER, "{holder}");
        }
        let text = reuseaddr(["status", "5000"]).run().stdout;
        assert!(
            text.lines().next().expect("a header").contains("UNIT"),
            "{text}"
        );
        assert_says(&text, unit);
        assert_says(&text, stops);
        assert!(
            !text.contains("reuseaddr free"),
            "its manager would start it again: {text}"
        );
        running.kill();
        drop(group);
    }
}

#[test]
fn names_who_has_the_number_for_udp() {
    own_network();
    let mut running = Program::python(
        "holder = socket.socket(type=socket.SOCK_DGRAM)\nholder.bind(('127.0.0.1', \
         5000))\nprint('ready')\nsys.stdin.read()",
    )
    .start();
    running.expect("ready");
    let text = reuseaddr(["status", "5000"]).run().stdout;
    assert_says(&text, "Port 5000 is free.");
    assert_says(
        &text,
        &format!(
            "UDP port 5000, which is another one, is held by python3 (pid {}) at 127.0.0.1:5000.",
            running.pid()
        ),
    );
    let udp = status(5000)["udp"][0].take();
    assert_eq!(udp["holders"][0]["pid"], running.pid(), "{udp}");
    assert!(udp["peer"].is_null(), "{udp}");
}

#[test]
fn tells_a_listener_that_carries_the_flag_from_one_that_does_not() {
    own_network();
    for (shimmed, flagged) in [(false, false), (true, true)] {
        let mut running = server(5000).shimmed_if(shimmed).start();
        running.expect("listening");
        assert_eq!(status(5000)["sockets"][0]["reuse_address"], flagged);
        let text = reuseaddr(["status", "5000"]).run().stdout;
        assert_eq!(
            text.contains("It carries SO_REUSEADDR already."),
            flagged,
            "{text}"
        );
        assert_eq!(text.contains("reuseaddr arm 5000"), !flagged, "{text}");
        running.kill();
    }
}

/// Under the number of the listener the program has another socket by the time that it is copied.
#[test]
fn takes_no_other_socket_for_the_listener() {
    own_network();
    let text = "
def listener(port, reuses):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuses)
    listener.bind(('127.0.0.1', port))
    listener.listen()
    return listener.detach()
plain, other = listener(5000, 0), listener(5001, 1)
print('ready')
while sys.argv[1] == 'swaps':
    os.dup2(plain, 100)
    os.dup2(other, plain)
    os.dup2(100, other)
    os.close(100)
sys.stdin.read()
";
    let flags = || {
        let flag = |port| status(port)["sockets"][0]["reuse_address"].clone();
        (flag(5000), flag(5001))
    };
    let mut still = Program::python(text).argument("stays").start();
    still.expect("ready");
    assert_eq!(flags(), (false.into(), true.into()));
    still.kill();
    let mut swapping = Program::python(text).argument("swaps").start();
    swapping.expect("ready");
    // What is not known is null.
    let (mut looks, mut unknown) = (0, 0);
    wait_until("a copy that is another socket's", || {
        let (plain, other) = flags();
        assert!(plain != true && other != false, "{plain} {other}");
        unknown += usize::from(plain.is_null()) + usize::from(other.is_null());
        looks += 1;
        looks >= 30 && unknown > 0
    });
}

#[test]
fn finds_the_ports_of_a_program() {
    own_network();
    let folder = Folder::new("who-program");
    let script = folder.join("shop.py");
    fs::write(
        &script,
        "import socket\nkept = [socket.create_server(('127.0.0.1', port)) for port in (5001, \
         5002)]\nprint('ready', flush=True)\ninput()\n",
    )
    .expect("the folder is ours");
    let mut shop = Program::new(support::python())
        .arguments(["-I"])
        .argument(&script)
        .start();
    shop.expect("ready");
    let mut other = Program::new(program(&["perl"]))
        .arguments([
            "-MIO::Socket::INET",
            "-e",
            "$l = IO::Socket::INET->new(LocalAddr => '127.0.0.1:5003', Listen => 1) or die; $| = \
             1; print \"ready\\n\"; <STDIN>",
        ])
        .start();
    other.expect("ready");
    for (name, expected) in [
        ("python", &[5001, 5002][..]),
        ("python3", &[5001, 5002]),
        ("shop.py", &[5001, 5002]),
        ("perl", &[5003]),
    ] {
        let answer = json(&reuseaddr(["status", "--json", name]));
        let ports: Vec<u64> = answer["ports"]
            .as_array()
            .expect("ports")
            .iter()
            .filter_map(|port| port["port"].as_u64())
            .collect();
        assert_eq!(ports, expected, "{name}");
    }
    let nobody = reuseaddr(["status", "no-such-program"]).run();
    assert_eq!(crate::code(&nobody), 2);
    assert_says(
        &nobody.stderr,
        "none called no-such-program listens on a TCP port",
    );
}
