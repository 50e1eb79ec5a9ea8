//! Instructions that the library itself spends for a call, counted by callgrind.
//!
//! A small C program makes 1 000 calls and then 2 000. The difference is a thousand calls, without
//! starting up; what libc and the kernel spend is not in it.

use crate::budget::Spent;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use support::{Folder, Program, compile_c_by, program, project, shim};

/// Calls, and the values of `LIBREUSE_LINGER` that make a difference to them.
const HOOKS: [(&str, &str); 9] = [
    ("bind", "off"),
    ("listen", "off"),
    ("listen", "graceful"),
    ("connect", "off"),
    ("connect", "graceful"),
    ("setsockopt", "off"),
    ("close", "off"),
    ("close", "graceful"),
    ("close", "zero"),
];

/// A call with its settings.
#[derive(Clone)]
pub(crate) struct Hook {
    call: &'static str,
    linger: &'static str,
    more: Vec<(&'static str, &'static str)>,
}

impl Hook {
    pub(crate) fn new(call: &'static str, linger: &'static str) -> Self {
        Self {
            call,
            linger,
            more: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.more.push((name, value));
        self
    }

    fn name(&self) -> String {
        format!("{} {}", self.call, self.linger)
    }
}

/// As scripts/check/bench links it, and as the library is linked.
const LIMIT: [&str; 4] = ["-shared", "-fPIC", "-s", "-Wl,-z,now,-z,relro"];

/// The program that makes the calls, and the C limit: the same hooks in as little C as they take.
pub(crate) struct Drivers {
    calls: PathBuf,
    pub(crate) limit: PathBuf,
    profiles: Folder,
}

impl Drivers {
    pub(crate) fn compile() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let compiled = |source: &str, name: &str, flags: &[&str]| {
            let source = project().join("benches").join(source);
            let text = fs::read_to_string(&source).expect("the source");
            let beside = format!("-I{}", source.parent().expect("a folder").display());
            let flags = [&["-O2", "-Wall", "-Wextra", "-Werror", &beside], flags].concat();
            compile_c_by(std::process::Command::new("cc"), name, &text, &flags)
        };
        let number = NUMBER.fetch_add(1, Relaxed);
        Self {
            calls: compiled("native/calls.c", "calls", &[]),
            limit: compiled("limit.c", "liblimit.so", &LIMIT),
            profiles: Folder::new(&format!("profiles-{number}")),
        }
    }
}

pub(crate) fn spent(drivers: &Drivers) -> Vec<Spent> {
    let hooks = HOOKS.map(|(call, linger)| Hook::new(call, linger));
    count(drivers, shim(), &hooks)
}

pub(crate) fn spent_by_the_limit(drivers: &Drivers) -> Vec<Spent> {
    let hooks: Vec<Hook> = HOOKS
        .into_iter()
        .filter(|(_, linger)| *linger == "off")
        .map(|(call, linger)| Hook::new(call, linger))
        .collect();
    count(drivers, &drivers.limit, &hooks)
}

fn count(drivers: &Drivers, library: &Path, hooks: &[Hook]) -> Vec<Spent> {
    thread::scope(|scope| {
        let counting: Vec<_> = hooks
            .iter()
            .map(|hook| scope.spawn(|| per_call(drivers, library, hook)))
            .collect();
        let counts = counting.into_iter().zip(hooks);
        counts
            .map(|(count, hook)| Spent {
                what: hook.name(),
                number: count.join().expect("it counts"),
            })
            .collect()
    })
}

pub(crate) fn per_call(drivers: &Drivers, library: &Path, hook: &Hook) -> f64 {
    let [once, twice] = ["10", "20"].map(|batches| {
        let name = library.file_name().expect("a file").to_string_lossy();
        let profile = drivers.profiles.join(
            format!("{name}-{}-{batches}-{}", hook.name(), hook.more.len()).replace(' ', "-"),
        );
        let mut counted = Program::new(program(&["valgrind"]))
            .arguments(["--quiet", "--tool=callgrind"])
            .argument(format!("--callgrind-out-file={}", profile.display()))
            .argument(&drivers.calls)
            .arguments([hook.call, batches])
            .with("LD_PRELOAD", library)
            .with("LIBREUSE_LINGER", hook.linger);
        for (name, value) in &hook.more {
            counted = counted.with(name, value);
        }
        counted.run().succeeded();
        let text = fs::read_to_string(profile).expect("callgrind writes it");
        instructions_of(&text, &name)
    });
    assert!(once > 0, "callgrind saw nothing of {}", library.display());
    f64::from(u32::try_from(twice - once).expect("a small number")) / 1000.0
}

/// The instructions that a callgrind profile has for one object, without those of what it calls
/// (`Callgrind Format Specification`).
fn instructions_of(profile: &str, object: &str) -> u64 {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let (mut is_inside, mut is_callees, mut total) = (false, false, 0);
    for line in profile.lines() {
        if let Some(named) = line.strip_prefix("ob=").or(line.strip_prefix("cob=")) {
            let (key, path) = named.split_once(' ').unwrap_or((named, ""));
            if !path.is_empty() {
                names.insert(key, path);
            }
            if line.starts_with("ob=") {
                is_inside = Path::new(names[key]).file_name() == Some(object.as_ref());
            }
        } else if line.starts_with("calls=") {
            // The next line is what the callee spent.
            is_callees = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            if is_inside && !is_callees {
                let count = line.split(' ').nth(1).expect("a count");
                total += count.parse::<u64>().expect("a number");
            }
            is_callees = false;
        }
    }
    total
}
