//! The engine `bpf`: BPF programs, attached to a control group of the test's own.

mod command;
mod containers;
mod faults;
mod lockdown;
mod place;
mod rules;
mod who;

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use support::{Program, Running, own_network, program, reuseaddr, wait_until};

/// Held by whoever watches the machine, or makes calls fail by the thousand, of which other watches
/// would miss some.
static WATCHING: Mutex<()> = Mutex::new(());

/// `reuseaddr watch` of a port, which has begun.
fn watch(port: &str) -> Running {
    let watch = Program::new(reuseaddr())
        .arguments(["watch", "--color", "never", port])
        .start();
    wait_until("watching", || {
        watch.stderr_so_far().contains("Watching for programs")
    });
    watch
}

/// Mounts, a network and control groups that nobody else sees or changes.
struct Machine {
    /// Where cgroup v2 is mounted.
    root: PathBuf,
    groups: Vec<String>,
}

impl Machine {
    /// `None`, and a line that says why, where this machine can't do it.
    fn new() -> Option<Self> {
        Self::with(false)
    }

    /// The same, where container runtimes find cgroup v2 alone.
    fn with(unified: bool) -> Option<Self> {
        let why = if !is_root() {
            Some("root")
        } else if !has_capabilities() {
            Some("CAP_BPF and CAP_NET_ADMIN")
        } else if kernel() < (6, 1) {
            Some("Linux 6.1")
        } else {
            None
        };
        if let Some(why) = why {
            eprintln!("skipped: the engine bpf takes {why}");
            return None;
        }
        own_network();
        // SAFETY: unshare takes flags alone; mounts are then the calling thread's own, and its
        // children's (unshare(2)).
        let result = unsafe { libc::unshare(libc::CLONE_NEWNS) };
        assert_eq!(result, 0, "no mount namespace");
        mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE);
        mount("bpf", "/sys/fs/bpf", "bpf", 0);
        mount("tmpfs", "/run", "tmpfs", 0);
        let mounts = || fs::read_to_string("/proc/thread-self/mounts").expect("there are mounts");
        // The kernel mounts it no second time at one place.
        if unified && !mounts().contains(" /sys/fs/cgroup cgroup2 ") {
            mount("none", "/sys/fs/cgroup", "cgroup2", 0);
        }
        let root = mounts()
            .lines()
            .rev()
            .find_map(|line| {
                let words: Vec<_> = line.split(' ').collect();
                (words[2] == "cgroup2").then(|| PathBuf::from(words[1]))
            })
            .unwrap_or_else(|| {
                let folder = "/run/cgroup2";
                fs::create_dir(folder).expect("/run is ours");
                mount("none", folder, "cgroup2", 0);
                folder.into()
            });
        Some(Self {
            root,
            groups: Vec::new(),
        })
    }

    /// A new control group.
    fn group(&mut self, name: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        self.below(&format!(
            "/libreuse-tests-{}-{number}-{name}",
            std::process::id()
        ))
    }

    /// One of this very name.
    fn below(&mut self, group: &str) -> String {
        fs::create_dir(self.folder(group)).expect("root may make groups");
        self.groups.push(group.to_owned());
        group.to_owned()
    }

    fn folder(&self, group: &str) -> PathBuf {
        self.root.join(&group[1..])
    }

    /// A new group with the programs attached.
    fn attached(&mut self, name: &str) -> String {
        let group = self.group(name);
        let said = attach(&group).run();
        assert!(said.status.success(), "{said:#?}");
        group
    }

    /// Whether the second listener of a group has the option at `bind`, and the first has not.
    fn serves(&self, group: &str) -> bool {
        let server = Program::python(
            "
for run in 1, 2:
    listener = socket.socket()
    listener.bind(('127.0.0.1', 5000))
    print(listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
    listener.listen()
    listener.close()
",
        );
        self.inside(group, &server).output() == "0\n1\n"
    }

    /// Has a program start in a group.
    fn inside(&self, group: &str, started: &Program) -> Program {
        inside_folder(self.folder(group), started)
    }

    /// `reuseaddr bpf detach --all`, which finds what is below a group: in a cgroup namespace that
    /// is all there is. Elsewhere it would be what other tests have attached.
    fn detach_all_below(&self, group: &str) -> Program {
        let script = r#"mount -t cgroup2 none /mnt && exec "$0" bpf detach --all"#;
        let boxed = Program::new(program(&["unshare"]))
            .arguments(["--cgroup", "--mount", "sh", "-c", script])
            .argument(reuseaddr());
        self.inside(group, &boxed)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for group in self.groups.iter().rev() {
            // What is attached goes with the group, and its pin and file with the mounts.
            let folder = self.folder(group);
            // Its processes have been killed, and may not have ended yet.
            wait_until("the group to be empty", || {
                fs::remove_dir(&folder).is_ok() || !folder.exists()
            });
        }
    }
}

/// Has a program start in the group of this folder.
fn inside_folder(folder: impl AsRef<Path>, started: &Program) -> Program {
    let procs = folder.as_ref().join("cgroup.procs");
    Program::new(program(&["sh"]))
        .argument("-c")
        .argument("echo $$ >\"$0\" && exec \"$@\"")
        .argument(procs)
        .command(started)
}

/// `reuseaddr bpf`.
fn bpf<const N: usize>(arguments: [&str; N]) -> Program {
    Program::new(reuseaddr())
        .argument("bpf")
        .arguments(arguments)
}

fn attach(group: &str) -> Program {
    bpf(["attach", "--cgroup", group])
}

fn is_root() -> bool {
    // SAFETY: it takes nothing, and can't fail.
    unsafe { libc::geteuid() == 0 }
}

fn has_capabilities() -> bool {
    const NET_ADMIN: u64 = 1 << 12;
    const BPF: u64 = 1 << 39;
    let effective = super::status(std::process::id(), "CapEff");
    let effective = u64::from_str_radix(&effective, 16).expect("a number");
    effective & (NET_ADMIN | BPF) == NET_ADMIN | BPF
}

fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("it has one");
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    )
}

fn mount(source: &str, target: impl AsRef<OsStr>, kind: &str, flags: libc::c_ulong) {
    let text = |text: &OsStr| CString::new(text.as_bytes()).expect("no zero in it");
    let target = target.as_ref();
    let (from, to, by) = (text(source.as_ref()), text(target), text(kind.as_ref()));
    // SAFETY: three strings that end, flags, and no data (mount(2)).
    let result = unsafe {
        libc::mount(
            from.as_ptr(),
            to.as_ptr(),
            by.as_ptr(),
            flags,
            std::ptr::null(),
        )
    };
    assert_eq!(
        result,
        0,
        "{kind} at {target:?}: {}",
        std::io::Error::last_os_error()
    );
}

/// What is below a folder, without what the file system itself has there.
fn below(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new(folder))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !["progs.debug", "maps.debug", "cgroup2"].contains(&name.as_str()))
        .collect()
}
