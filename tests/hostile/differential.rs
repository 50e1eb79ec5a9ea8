//! Random sequences of socket calls, compared with the plain kernel and with what the README says.
//!
//! `differential.py` makes them. `LIBREUSE_FUZZ_SEQUENCES` says how many (100), and
//! `LIBREUSE_FUZZ_FIRST` which one is the first.

use std::collections::BTreeMap;
use std::env;
use support::{Program, own_network, shows_bound_sockets, sysctl};

/// What one run printed: a line a call.
fn run(first: u32, number: u32, shimmed: bool) -> String {
    own_network();
    // Not among the ports of the sequences.
    sysctl("net.ipv4.ip_local_port_range", "40000 60000");
    Program::python(include_str!("differential.py"))
        .arguments([first.to_string(), number.to_string()])
        .shimmed_if(shimmed)
        .output()
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Connection {
    Made,
    Accepted,
}

/// A socket, as the calls have made it.
#[derive(Clone, Default)]
struct Socket {
    /// How many names the processes have for it.
    names: usize,
    host: Option<String>,
    has_called_listen: bool,
    connection: Option<Connection>,
    /// Whether the program has set `SO_REUSEADDR` itself.
    reuse: bool,
}

impl Socket {
    /// Whether nobody else is to be bound to `host` while it lives.
    fn holds(&self, host: &str) -> bool {
        let any = "0.0.0.0";
        self.names > 0
            && self.connection.is_none()
            && self
                .host
                .as_deref()
                .is_some_and(|bound| bound == host || bound == any || host == any)
    }
}

/// The sockets of a sequence, and who has which.
#[derive(Default)]
struct World {
    sockets: Vec<Socket>,
    names: BTreeMap<(String, String), usize>,
    passed: Option<usize>,
}

impl World {
    fn name(&mut self, worker: &str, name: &str, socket: Option<usize>) {
        let key = (worker.to_owned(), name.to_owned());
        let before = match socket {
            Some(socket) => self.names.insert(key, socket),
            None => self.names.remove(&key),
        };
        if let Some(socket) = socket {
            self.sockets[socket].names += 1;
        }
        if let Some(before) = before {
            self.sockets[before].names -= 1;
        }
    }

    fn add(&mut self, socket: Socket) -> usize {
        self.sockets.push(socket);
        self.sockets.len() - 1
    }

    /// Notes what a call of the shimmed run gave. Returns what is wrong with it by itself.
    fn note(&mut self, call: &Call) -> Option<&'static str> {
        let socket = self
            .names
            .get(&(call.worker.to_owned(), call.name.to_owned()))
            .copied();
        // A `listen` that fails otherwise leaves the option as it was.
        if call.function == "listen" && matches!(call.result, "ok" | "EADDRINUSE") {
            if let Some(socket) = socket {
                self.sockets[socket].has_called_listen = true;
            }
        }
        if call.function == "pass" {
            self.passed = socket.filter(|_| call.result == "ok");
        }
        if call.result != "ok" {
            return None;
        }
        match (call.function, socket) {
            ("socket", _) => {
                let new = self.add(Socket::default());
                self.name(call.worker, call.name, Some(new));
            }
            ("take", _) => {
                let passed = self.passed.take();
                self.name(call.worker, call.name, passed);
            }
            ("close", _) => self.name(call.worker, call.name, None),
            ("accept", _) => {
                let new = self.add(Socket {
                    connection: Some(Connection::Accepted),
                    ..Socket::default()
                });
                self.name(call.worker, call.arguments[0], Some(new));
            }
            ("connect", Some(socket)) => self.sockets[socket].connection = Some(Connection::Made),
            ("set", Some(socket)) => self.sockets[socket].reuse = call.arguments[0] == "1",
            ("bind", Some(socket)) => {
                let host = call.arguments[0];
                let ours = self.sockets[socket].reuse;
                let is_taken = self.sockets.iter().any(|other| {
                    let both_ask = other.reuse && (ours || !shows_bound_sockets());
                    other.holds(host) && !both_ask
                });
                self.sockets[socket].host = Some(host.to_owned());
                return is_taken.then_some("over a live socket");
            }
            _ => {}
        }
        None
    }

    /// Whether the README allows the second result where the kernel gives the first.
    fn allows(&self, call: &Call, plain: &str) -> bool {
        let socket = self
            .names
            .get(&(call.worker.to_owned(), call.name.to_owned()))
            .map(|&socket| &self.sockets[socket]);
        match (call.function, plain, call.result) {
            ("bind", "EADDRINUSE", "ok") => true,
            ("get", "0", "1") => socket.is_some_and(|socket| {
                socket.has_called_listen || socket.connection == Some(Connection::Accepted)
            }),
            _ => false,
        }
    }
}

/// A line.
struct Call<'a> {
    worker: &'a str,
    function: &'a str,
    name: &'a str,
    arguments: Vec<&'a str>,
    result: &'a str,
}

impl<'a> Call<'a> {
    fn read(line: &'a str) -> Self {
        let (call, result) = line.split_once(" = ").expect("a call and its result");
        let mut words = call.split(' ');
        let mut word = || words.next().expect("a word");
        Self {
            worker: word(),
            function: word(),
            name: word(),
            arguments: words.collect(),
            result,
        }
    }
}

/// What is wrong in a sequence, of which these are the lines of the two runs.
fn faults(plain: &str, shimmed: &str) -> Option<String> {
    let mut world = World::default();
    let mut is_compared = true;
    let mut so_far = String::new();
    for (plain, line) in plain.lines().zip(shimmed.lines()) {
        so_far += line;
        so_far.push('\n');
        let call = Call::read(line);
        let plain = Call::read(plain);
        if is_compared && plain.result != call.result {
            if !world.allows(&call, plain.result) {
                return Some(format!("{} without the shim:\n{so_far}", plain.result));
            }
            // From here on the two are of different worlds.
            is_compared = call.function != "bind";
        }
        if let Some(fault) = world.note(&call) {
            return Some(format!("{fault}:\n{so_far}"));
        }
    }
    None
}

#[test]
fn differs_from_the_kernel_where_the_readme_says_so_alone() {
    let number = |name: &str, default: u32| {
        env::var(name).map_or(default, |value| value.parse().expect("a number"))
    };
    let first = number("LIBREUSE_FUZZ_FIRST", 1);
    let sequences = number("LIBREUSE_FUZZ_SEQUENCES", 100);
    let mut compared = 0;
    let mut has_acted = false;
    // No more at once than a run has time for on a slow machine.
    for before in (0..sequences).step_by(20) {
        let number = (sequences - before).min(20);
        let plain = run(first + before, number, false);
        let shimmed = run(first + before, number, true);
        for (plain, shimmed) in plain.split("# ").zip(shimmed.split("# ")).skip(1) {
            let (seed, plain) = plain.split_once('\n').expect("a line");
            let (_, shimmed) = shimmed.split_once('\n').expect("a line");
            assert_eq!(plain.lines().count(), shimmed.lines().count(), "{seed}");
            if let Some(fault) = faults(plain, shimmed) {
                panic!("LIBREUSE_FUZZ_FIRST={seed} LIBREUSE_FUZZ_SEQUENCES=1: {fault}");
            }
            compared += 1;
        }
        assert_eq!(compared, before + number);
        has_acted |= plain != shimmed;
    }
    assert!(has_acted, "or nothing was compared");
}
