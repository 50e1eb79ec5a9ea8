//! `status`: every socket on a port, and a diagnosis that is true.

use crate::{
    SERVER, assert_says, code, command_for_others, crash_after_serving, fill_with_time_wait, json,
    named, nobody, reuseaddr, run, serve_once, server, status,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::TcpStream;
use support::{Program, TcpState, own_network, program, sysctl, wait_for, wait_until};

fn verdict(port: u16) -> String {
    status(port)["verdict"]["kind"]
        .as_str()
        .expect("a kind")
        .to_owned()
}

/// State, local and peer address of every socket on the port, as ss has them.
fn according_to_ss(port: u16) -> BTreeSet<(String, String, String)> {
    let listing = Program::new(program(&["ss"]))
        .arguments(["-Htan", &format!("sport = :{port}")])
        .output();
    listing
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let state = match fields[0] {
                "ESTAB" => "ESTABLISHED".to_owned(),
                other => other.replace("FIN-WAIT-", "FIN_WAIT").replace('-', "_"),
            };
            (state, fields[3].to_owned(), fields[4].to_owned())
        })
        .collect()
}

fn according_to_us(port: u16) -> BTreeSet<(String, String, String)> {
    let endpoint = |value: &Value| {
        let address = value["address"].as_str().expect("an address");
        let port = &value["port"];
        if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        }
    };
    let answer = status(port);
    let sockets = answer["sockets"].as_array().expect("sockets");
    sockets
        .iter()
        .map(|socket| {
            let local = endpoint(&socket["local"]);
            let peer = match &socket["peer"] {
                Value::Null if local.starts_with('[') => "[::]:*".to_owned(),
                Value::Null => "0.0.0.0:*".to_owned(),
                peer => endpoint(peer),
            };
            (
                socket["state"].as_str().expect("a state").to_owned(),
                local,
                peer,
            )
        })
        .collect()
}

#[test]
fn agrees_with_ss_on_every_one_of_5000_sockets() {
    own_network();
    fill_with_time_wait(5000, 5000);
    // On a slow machine the first ones expire meanwhile.
    let before = according_to_ss(5000);
    let ours = according_to_us(5000);
    let after = according_to_ss(5000);
    assert!(after.is_subset(&ours) && ours.is_subset(&before));
    assert!(ours.len() > 1000, "{} of 5000", ours.len());
    let answer = status(5000);
    for socket in answer["sockets"].as_array().expect("sockets") {
        let left = socket["left_ms"].as_u64().expect("a time");
        assert!(
            left <= 60_000 && socket["leftover"] == true && socket["direction"] == "inbound",
            "{socket}"
        );
    }
    let free_in = answer["verdict"]["free_in_ms"].as_u64().expect("a time");
    assert!((1..=60_000).contains(&free_in), "{free_in}");
}

/// Who has ten thousand connections gets a line of JSON for each, of less than 200 bytes.
#[test]
fn has_a_short_line_of_json_for_each_of_many_connections() {
    const CONNECTIONS: usize = 300;
    own_network();
    let mut server = Program::python(&format!(
        "
listener = socket.create_server(('127.0.0.1', 5000))
ends = []
for _ in range({CONNECTIONS}):
    ends.append(socket.create_connection(('127.0.0.1', 5000)))
    ends.append(listener.accept()[0])
print('connected')
sys.stdin.read()
"
    ))
    .start();
    server.expect("connected");
    let text = reuseaddr(["status", "--json", "5000"]).run().stdout;
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.trim().trim_end_matches(','))
        .filter(|line| line.starts_with("{\"state\""))
        .collect();
    let sockets = answer["ports"][0]["sockets"].as_array().expect("sockets");
    assert_eq!(lines.len(), CONNECTIONS + 1, "{text}");
    assert_eq!(sockets.len(), lines.len());
    // The first socket has the process, which takes a long line, and all others its number.
    assert!(lines[0].len() > 300 && lines[0].contains("\"command_line\""));
    for (line, socket) in lines.iter().zip(sockets).skip(1) {
        assert!(line.len() < 200, "{} bytes: {line}", line.len());
        assert_eq!(
            socket["holders"],
            serde_json::json!([{"pid": server.pid()}]),
            "{line}"
        );
        assert!(socket.get("left_ms").is_none() && socket["peer"]["port"].is_u64());
    }
    // With --watch the same is on one line.
    let mut watching = reuseaddr(["status", "--watch", "--json", "5000"]).start();
    let line: Value = serde_json::from_str(&watching.line()).expect("JSON on one line");
    let again = line["ports"][0]["sockets"].as_array().expect("sockets");
    assert_eq!(again.len(), sockets.len());
}

/// Equal sockets share one line, unless `--all` is given.
#[test]
fn tells_sockets_that_are_alike_in_one_line() {
    own_network();
    fill_with_time_wait(5000, 500);
    let short = reuseaddr(["status", "5000"]).run();
    assert_eq!(
        short.stdout.matches("TIME_WAIT  ").count(),
        1,
        "{}",
        short.stdout
    );
    assert_says(&short.stdout, "500 ports");
    let long = reuseaddr(["status", "--all", "5000"]).run();
    assert_eq!(long.stdout.matches("TIME_WAIT  ").count(), 500);
}

#[test]
fn agrees_with_ss_on_every_state_and_family() {
    own_network();
    let mut program = Program::python(
        "
def pair(family, host, peer_host=None):
    listener = socket.socket(family)
    listener.bind((host, 5000))
    listener.listen()
    client = socket.create_connection((peer_host or host, 5000))
    accepted, _ = listener.accept()
    return listener, client, accepted
kept = []
four = pair(socket.AF_INET, '127.0.0.1')
six = pair(socket.AF_INET6, '::1')
# FIN_WAIT2 without an owner, CLOSE_WAIT, FIN_WAIT1 with data that the peer does not take, and one not accepted yet.
for (listener, client, accepted), fate in ((four, 'close'), (six, 'peer closes')):
    (accepted if fate == 'close' else client).close()
kept.append(socket.create_connection(('127.0.0.1', 5000)))
stuck, _ = four[0].accept()
stuck.setblocking(False)
try:
    while True: stuck.send(bytes(65536))
except BlockingIOError: pass
stuck.close()
waiting = socket.create_connection(('127.0.0.1', 5000))
print('ready')
sys.stdin.read()
",
    )
    .start();
    program.expect("ready");
    // What the program does takes effect a moment later on a busy machine.
    for state in [
        TcpState::FinWait1,
        TcpState::FinWait2,
        TcpState::CloseWait,
        TcpState::Established,
    ] {
        wait_for(5000, state, 1);
    }
    let ours = according_to_us(5000);
    assert_eq!(ours, according_to_ss(5000));
    let states: BTreeSet<&str> = ours.iter().map(|(state, _, _)| state.as_str()).collect();
    assert_eq!(
        states,
        BTreeSet::from([
            "LISTEN",
            "ESTABLISHED",
            "FIN_WAIT1",
            "FIN_WAIT2",
            "CLOSE_WAIT"
        ])
    );
    let answer = status(5000);
    for socket in answer["sockets"].as_array().expect("sockets") {
        let owned = socket["inode"].is_u64();
        let state = socket["state"].as_str().expect("a state");
        assert_eq!(
            socket["leftover"] == true,
            state.starts_with("FIN_WAIT"),
            "{socket}"
        );
        assert_eq!(
            owned,
            socket["holders"][0]["pid"] == program.pid(),
            "{socket}"
        );
    }
    assert_says(
        &reuseaddr(["status", "5000"]).run().stdout,
        "not accepted yet",
    );
}

#[test]
fn says_that_a_port_is_free_and_it_is() {
    own_network();
    let finished = reuseaddr(["status", "5000"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(
        &finished.stdout,
        "Port 5000 is free. A plain bind succeeds.",
    );
    server(5000).start().expect("listening");
}

#[test]
fn gets_from_address_in_use_to_a_running_program_in_one_more_command() {
    own_network();
    crash_after_serving(&server(49200), 49200);
    server(49200).start().expect("EADDRINUSE");
    let finished = reuseaddr(["status", "49200"]).run();
    assert_eq!(code(&finished), 1);
    assert_says(&finished.stdout, "Port 49200 is busy.");
    assert_says(
        &finished.stdout,
        "1 closed connection is still in TIME_WAIT, without SO_REUSEADDR. Until it expires",
    );

    // Both commands that it names, as they are named.
    let advice = status(49200)["verdict"]["advice"].take();
    let commands: Vec<String> = advice
        .as_array()
        .expect("advice")
        .iter()
        .filter_map(|advice| advice["command"].as_str().map(named))
        .collect();
    let wait = commands.iter().find_map(|command| {
        let rest = command.strip_prefix("reuseaddr run --wait ")?;
        rest.strip_suffix(" PROGRAM")
    });
    assert!(wait.is_some(), "{commands:?}");
    assert!(
        commands.contains(&"reuseaddr evict 49200".to_owned()),
        "{commands:?}"
    );
    let mut waiting = run()
        .arguments([
            "--wait",
            wait.expect("a time"),
            "/usr/bin/python3",
            "-I",
            "-u",
            "-c",
        ])
        .argument(format!("import errno, socket, sys\n{SERVER}"))
        .argument("49200")
        .start();
    assert_eq!(code(&reuseaddr(["evict", "49200"]).run()), 0);
    waiting.expect("listening");
}

#[test]
fn says_that_the_flag_helps_and_it_does() {
    own_network();
    crash_after_serving(&server(5000).shimmed(), 5000);
    server(5000).start().expect("EADDRINUSE");
    assert_eq!(verdict(5000), "reusable");
    assert_says(
        &reuseaddr(["status", "5000"]).run().stdout,
        "reuseaddr run PROGRAM",
    );
    server(5000).shimmed().start().expect("listening");
}

#[test]
fn answers_the_same_with_the_library_preloaded_into_itself() {
    own_network();
    crash_after_serving(&server(5000).shimmed(), 5000);
    let answer = json(&reuseaddr(["status", "--json", "5000"]).shimmed());
    assert_eq!(
        answer["ports"][0]["verdict"]["kind"], "reusable",
        "{answer}"
    );
}

#[test]
fn names_every_process_that_holds_an_inherited_listener() {
    own_network();
    let mut parent = Program::python(
        "
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
child = os.fork()
if child == 0:
    signal.pause()
print(child)
sys.stdin.readline()
os._exit(0)
",
    )
    .start();
    let child: u64 = parent.line().parse().expect("a pid");
    let holders = |answer: &Value| {
        answer["sockets"][0]["holders"]
            .as_array()
            .expect("holders")
            .iter()
            .map(|holder| holder["pid"].as_u64().expect("a pid"))
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        holders(&status(5000)),
        BTreeSet::from([child, parent.pid().into()])
    );
    let text = reuseaddr(["status", "5000"]).run().stdout;
    assert_says(&text, "The processes share one listener");
    parent.say("");
    parent.finish().succeeded();
    assert_eq!(holders(&status(5000)), BTreeSet::from([child]));
    assert_eq!(verdict(5000), "listening");
    // The command that it names.
    let status = Program::new("/bin/sh")
        .arguments(["-c", &format!("kill {child}")])
        .run();
    assert!(status.status.success(), "{status:#?}");
    wait_until("the port to be free", || verdict(5000) == "free");
}

/// More processes than one thread looks through.
#[test]
fn names_every_one_of_many_holders() {
    own_network();
    let mut parent = Program::python(
        "
listener = socket.create_server(('127.0.0.1', 5000))
children = []
for _ in range(150):
    child = os.fork()
    if child == 0:
        signal.pause()
    children.append(child)
print(*children)
sys.stdin.readline()
for child in children:
    os.kill(child, signal.SIGKILL)
",
    )
    .start();
    let mut pids: BTreeSet<u64> = parent
        .line()
        .split(' ')
        .map(|pid| pid.parse().expect("a pid"))
        .collect();
    assert_eq!(pids.len(), 150);
    let eldest = u64::from(parent.pid());
    pids.insert(eldest);
    let alone = [
        "--cpu-list",
        "0",
        support::reuseaddr().to_str().expect("UTF-8"),
        "status",
        "--json",
        "5000",
    ];
    let by_one = json(&Program::new(program(&["taskset"])).arguments(alone));
    for answer in [status(5000), by_one["ports"][0].clone()] {
        let holders = answer["sockets"][0]["holders"].as_array().expect("holders");
        let found: Vec<u64> = holders
            .iter()
            .map(|holder| holder["pid"].as_u64().expect("a pid"))
            .collect();
        assert!(found.is_sorted(), "{found:?}");
        assert_eq!(BTreeSet::from_iter(found), pids);
        for holder in holders {
            assert!(holder["age_s"].is_u64(), "{holder}");
            let above = &holder["ancestors"][0]["pid"];
            assert!(holder["pid"] == eldest || *above == eldest, "{holder}");
        }
    }
    // It also answers where no thread may be started.
    let (_folder, command) = command_for_others("status-without-threads");
    let finished = nobody()
        .argument(program(&["prlimit"]))
        .argument("--nproc=1")
        .argument(&command)
        .arguments(["status", "5000"])
        .run();
    assert_eq!(code(&finished), 1, "{finished:#?}");
    assert_says(&finished.stdout, "A process of root listens on it");
    parent.say("");
    parent.finish().succeeded();
}

/// A daemon's first process is a child of process 1 and has children; forgotten workers are its
/// children too.
#[test]
fn tells_forgotten_workers_from_a_daemon() {
    own_network();
    // As process 1 of a PID namespace: a daemon with two workers, of which only the workers are
    // left then.
    let text = format!(
        "
import signal, subprocess
ready, told = os.pipe()
daemon = os.fork()
if daemon == 0:
    listener = socket.create_server(('127.0.0.1', 5000))
    for _ in range(2):
        if os.fork() == 0:
            signal.pause()
    os.write(told, b'.')
    signal.pause()
os.read(ready, 1)
def status():
    print(*subprocess.run(['{command}', 'status', '5000'], stdout=subprocess.PIPE, text=True).stdout.split())
status()
os.kill(daemon, signal.SIGKILL)
os.waitpid(daemon, 0)
status()
",
        command = support::reuseaddr().display()
    );
    let output = Program::new(program(&["unshare"]))
        .arguments(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .command(&Program::python(&text))
        .output();
    let (before, after) = output.split_once('\n').expect("two lines");
    assert_says(before, "until the last of them has gone.");
    assert!(!before.contains(" parent"), "{before}");
    assert_says(after, "have lost their parent.");
}

/// systemd itself holds the port of a socket unit, and must not be killed for it.
#[test]
fn names_the_socket_unit_of_what_systemd_holds() {
    own_network();
    let mut manager = Program::python(
        "
open('/proc/self/comm', 'w').write('systemd')
listener = socket.create_server(('127.0.0.1', 5000))
print('listening')
sys.stdin.read()
",
    )
    .start();
    manager.expect("listening");
    let text = reuseaddr(["status", "5000"]).run().stdout;
    assert_says(&text, "systemctl --user list-sockets");
    assert!(
        !text.contains("kill ") && !text.contains("reuseaddr arm"),
        "{text}"
    );
}

/// A socket bound to another address is no obstacle.
#[test]
fn judges_one_address_by_what_is_in_its_way() {
    own_network();
    crash_after_serving(&server(5000), 5000);
    let mut other = server(5000).argument("127.0.0.2").start();
    other.expect("listening");
    let kind = |address: &str| {
        let answer = json(&reuseaddr([
            "status",
            "--json",
            "--address",
            address,
            "5000",
        ]));
        answer["ports"][0]["verdict"]["kind"].clone()
    };
    assert_eq!(kind("127.0.0.1"), "leftover");
    assert_eq!(kind("127.0.0.2"), "listening");
    assert_eq!(kind("127.0.0.3"), "free");
    assert_eq!(kind("0.0.0.0"), "listening");
    assert_eq!(kind("::"), "listening");
    assert_eq!(kind("192.0.2.1"), "denied");
}

#[test]
fn tells_an_outgoing_connection_from_a_server() {
    own_network();
    sysctl("net.ipv4.ip_local_port_range", "5000 5001");
    let mut remote = server(700).start();
    remote.expect("listening");
    let mut client = Program::python(
        "
client = socket.create_connection(('127.0.0.1', 700))
print(client.getsockname()[1])
sys.stdin.read()
",
    )
    .start();
    let port: u16 = client.line().parse().expect("a port");
    remote.expect("served");
    let answer = status(port);
    assert_eq!(answer["sockets"][0]["direction"], "outbound", "{answer}");
    assert_eq!(answer["verdict"]["kind"], "connected", "{answer}");
    let text = reuseaddr(["status", &port.to_string()]).run().stdout;
    assert_says(&text, &format!("net.ipv4.ip_local_reserved_ports={port}"));
    assert!(
        !text.contains("kill "),
        "a client is not to be killed: {text}"
    );
    // The suggested command works: the port is no longer ephemeral.
    sysctl("net.ipv4.ip_local_reserved_ports", &port.to_string());
    let other =
        Program::python("print(socket.create_connection(('127.0.0.1', 700)).getsockname()[1])")
            .output();
    assert_ne!(other.trim(), port.to_string());
}

#[test]
fn tells_ipv4_ipv6_and_dual_stack_listeners_apart() {
    own_network();
    let mut program = Program::python(
        "
kept = []
for port, family, host, only in ((5001, 2, '0.0.0.0', None), (5002, 10, '::', 1), (5003, 10, '::', 0)):
    listener = socket.socket(family)
    if only is not None:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    listener.bind((host, port))
    listener.listen()
    kept.append(listener)
print('ready')
sys.stdin.read()
",
    )
    .start();
    program.expect("ready");
    for (port, family, dual) in [
        (5001, "ipv4", Value::Null),
        (5002, "ipv6", false.into()),
        (5003, "ipv6", true.into()),
    ] {
        let socket = &status(port)["sockets"][0];
        assert_eq!(
            (&socket["family"], &socket["dual_stack"]),
            (&family.into(), &dual),
            "{socket}"
        );
    }
    // The one that takes IPv6 alone leaves IPv4 free.
    let probes = status(5002)["verdict"]["probes"].take();
    assert_eq!(probes[0]["plain"], "ok", "{probes}");
    assert_eq!(probes[1]["plain"], "EADDRINUSE", "{probes}");
    assert_says(&reuseaddr(["status"]).run().stdout, "[::]:5003 and IPv4");
}

#[test]
fn finds_a_socket_that_is_bound_and_does_not_listen() {
    own_network();
    let mut program = Program::python(
        "holder = socket.socket()\nholder.bind(('127.0.0.1', \
         5000))\nprint('ready')\nsys.stdin.read()",
    )
    .start();
    program.expect("ready");
    let answer = status(5000);
    assert_eq!(answer["verdict"]["kind"], "bound", "{answer}");
    assert_eq!(
        answer["sockets"][0]["holders"][0]["pid"],
        program.pid(),
        "{answer}"
    );
}

#[test]
fn looks_into_another_network_namespace() {
    own_network();
    let mut inside = server(5000).start();
    inside.expect("listening");
    own_network();
    assert_eq!(verdict(5000), "free");
    let answer = json(&reuseaddr([
        "status",
        "--json",
        "5000",
        "--pid",
        &inside.pid().to_string(),
    ]));
    assert_eq!(
        answer["ports"][0]["verdict"]["kind"], "listening",
        "{answer}"
    );
    // The suggested command is typed, too.
    let pid = inside.pid().to_string();
    let advice = || reuseaddr(["status", "5000", "--pid", &pid]).run().stdout;
    assert_says(
        &advice(),
        &format!("nsenter --net --target {pid} reuseaddr arm 5000"),
    );
    let theirs = std::fs::read_link(format!("/proc/{}/ns/net", inside.pid())).expect("a link");
    assert_eq!(answer["network_namespace"], theirs.to_str().expect("UTF-8"));
}

#[test]
fn follows_a_port_live() {
    own_network();
    let mut watching = reuseaddr(["status", "--watch", "--json", "5000"]).start();
    let kind = |line: &str| -> String {
        let answer: Value = serde_json::from_str(line).expect("JSON on one line");
        answer["ports"][0]["verdict"]["kind"]
            .as_str()
            .expect("a kind")
            .to_owned()
    };
    assert_eq!(kind(&watching.line()), "free");
    let mut program = server(5000).start();
    program.expect("listening");
    wait_until("the listener to be seen", || {
        kind(&watching.line()) == "listening"
    });
    serve_once(&mut program, 5000);
    program.kill();
    wait_until("what it left behind to be seen", || {
        kind(&watching.line()) == "leftover"
    });
}

#[test]
fn says_what_it_may_not_see() {
    own_network();
    let (_folder, command) = command_for_others("status");
    let mut program = server(5000).start();
    program.expect("listening");
    let text = nobody()
        .argument(&command)
        .arguments(["status", "5000"])
        .run()
        .stdout;
    assert_says(&text, "A process of root listens on it");
    assert_says(
        &text,
        "sudo reuseaddr status 5000 shows which process that is",
    );
    // The port that takes root.
    let text = nobody()
        .arguments(["--bounding-set", "-all"])
        .argument(&command)
        .arguments(["status", "80"])
        .run()
        .stdout;
    assert_says(
        &text,
        "Port 80 can't be bound. Ports below 1024 may be bound by root only",
    );
}

#[test]
fn sees_a_live_connection_after_its_listener_has_gone() {
    own_network();
    let mut program = Program::python(
        "
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen()
print('listening')
accepted, _ = listener.accept()
listener.close()
print('alone')
sys.stdin.read()
",
    )
    .start();
    program.expect("listening");
    let client = TcpStream::connect("127.0.0.1:5000").expect("it listens");
    program.expect("alone");
    let answer = status(5000);
    assert_eq!(answer["verdict"]["kind"], "connected", "{answer}");
    assert_says(
        &reuseaddr(["status", "5000"]).run().stdout,
        "reuseaddr arm 5000",
    );
    assert_eq!(code(&reuseaddr(["arm", "5000"]).run()), 0);
    assert_eq!(verdict(5000), "reusable");
    drop(client);
}
