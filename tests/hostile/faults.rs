//! What the shim has to survive beside its own work: no memory, no descriptors, a clock that jumps,
//! a stop, no port left.

use crate::host::host;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::matrix::changes_nothing;
use support::{
    Folder, Program, TcpState, count, own_network, python, sysctl, wait_for, wait_until,
};

/// Calls every hook with next to no address space left: `faults.c` takes what there is, and asks
/// for one page in vain.
#[test]
fn needs_no_memory() {
    changes_nothing(&host("faults.c").argument("no memory"));
}

/// What it logs fills the page cache, which is the group's memory too.
#[test]
fn logs_more_than_the_memory_of_its_control_group() {
    const MEMORY: u64 = 3 << 20;
    let Some(group) = Group::with_memory(MEMORY) else {
        println!("skipped: no control group with a limit on memory can be made here");
        return;
    };
    own_network();
    let folder = Folder::new("memory-max");
    let log = folder.join("log");
    let program = Program::new("/bin/sh")
        .arguments(["-c", "echo $$ >\"$1\" && shift && exec \"$@\"", "sh"])
        .argument(group.0.join("cgroup.procs"))
        .argument("/usr/bin/env")
        .argument(format!("LD_PRELOAD={}", support::shim().display()))
        .argument("LIBREUSE_LOG=trace")
        .argument(format!("LIBREUSE_LOG_FILE={}", log.display()))
        .command(&host("faults.c").argument("many calls"));
    assert_eq!(program.output(), "done\n");
    let size = fs::metadata(&log).expect("the log file").len();
    assert!(size > MEMORY, "{size} bytes of log");
}

/// A control group of the test's own, gone with the test.
struct Group(PathBuf);

impl Group {
    fn with_memory(limit: u64) -> Option<Self> {
        let name = format!("libreuse-test-{}", std::process::id());
        for (parent, file) in [
            ("/sys/fs/cgroup", "memory.max"),
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ] {
            // Of the second kind of control groups; where it is the first, there is no such file.
            let _ = fs::write(format!("{parent}/cgroup.subtree_control"), "+memory");
            let group = Self(PathBuf::from(parent).join(&name));
            if fs::create_dir(&group.0).is_ok()
                && fs::write(group.0.join(file), limit.to_string()).is_ok()
            {
                return Some(group);
            }
        }
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Best effort: an empty group costs next to nothing.
        let _ = fs::remove_dir(&self.0);
    }
}

/// `LIBREUSE_WAIT` goes by a clock that nobody sets.
#[test]
fn waits_as_long_whatever_the_clock_is_set_to() {
    // libfaketime can't be asked: it stands before libc, and the shim asks the kernel. A time
    // namespace shifts the very clock that the shim goes by, for a program that starts in it.
    own_network();
    let _holder = std::net::TcpListener::bind(("127.0.0.1", 5000)).expect("a network of our own");
    let text = "
start = time.clock_gettime(time.CLOCK_MONOTONIC)
try:
    socket.socket().bind(('127.0.0.1', 5000))
except OSError as error:
    print(errno.errorcode[error.errno], 0.3 <= time.clock_gettime(time.CLOCK_MONOTONIC) - start < 20)
";
    let program = Program::new("/usr/bin/unshare")
        .arguments(["--time", "--monotonic", "864000", "--fork"])
        .argument("/usr/bin/env")
        .argument(format!("LD_PRELOAD={}", support::shim().display()))
        .argument("LIBREUSE_WAIT=300ms,listeners")
        .argument(python())
        .arguments(["-c"])
        .argument(format!("import errno, socket, time\n{text}"));
    assert_eq!(program.output(), "EADDRINUSE True\n");
}

/// A program that is stopped for longer than it was to wait ends its wait with the last try.
#[test]
fn ends_its_wait_after_a_stop_that_outlasts_it() {
    for freed in [false, true] {
        own_network();
        let holder =
            std::net::TcpListener::bind(("127.0.0.1", 5000)).expect("a network of our own");
        let mut waiting = Program::python(
            "
try:
    socket.socket().bind(('127.0.0.1', 5000))
    print('bound')
except OSError as error:
    print(errno.errorcode[error.errno])
",
        )
        .shimmed()
        .with("LIBREUSE_WAIT", "4s,listeners")
        .with("LIBREUSE_LOG", "info")
        .start();
        wait_until("the bind to wait", || {
            waiting.stderr_so_far().contains("waiting for up to")
        });
        waiting.signal(libc::SIGSTOP);
        let stopped = Instant::now();
        if freed {
            drop(holder);
        }
        // The time itself is what is tested.
        wait_until("the wait to be over", || {
            stopped.elapsed() > Duration::from_millis(4200)
        });
        waiting.signal(libc::SIGCONT);
        // Either is the kernel's word, at the time of the last try.
        waiting.expect(if freed { "bound" } else { "EADDRINUSE" });
    }
}

/// Every port of the range is taken, and the shim neither helps to one nor asks for long.
#[test]
fn finds_no_port_where_none_is_left() {
    for shimmed in [false, true] {
        own_network();
        sysctl("net.ipv4.ip_unprivileged_port_start", "0");
        sysctl("net.ipv4.ip_local_port_range", "1 65535");
        let output = Program::python(
            "
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
held = []
def fails(action):
    try:
        action()
        return 'no error'
    except OSError as error:
        return errno.errorcode[error.errno]
# Fewer descriptors than ports: each of several processes takes its share.
def take(ports):
    for port in ports:
        one = socket.socket()
        one.bind(('127.0.0.1', port))
        held.append(one)
share = 9000
children = []
for first in range(1, 65536, share):
    reading, writing = os.pipe()
    go, end = os.pipe()
    if os.fork() == 0:
        os.close(end)
        take(range(first, min(first + share, 65536)))
        os.write(writing, b'1')
        os.read(go, 1)
        os._exit(0)
    os.close(go)
    children.append(end)
    os.read(reading, 1)
for address in [('127.0.0.1', 0), ('127.0.0.1', 40000), ('127.0.0.1', 1)]:
    late = socket.socket()
    print(fails(lambda: late.bind(address)), late.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
late = socket.socket()
print(fails(lambda: late.connect(('127.0.0.1', 40000))))
",
        )
        .shimmed_if(shimmed)
        .output();
        assert_eq!(
            output, "EADDRINUSE 0\nEADDRINUSE 0\nEADDRINUSE 0\nEADDRNOTAVAIL\n",
            "{shimmed}"
        );
    }
}

/// What a crash under load leaves is no obstacle, however much it is.
#[test]
fn binds_over_20000_connections_of_a_killed_program() {
    const CONNECTIONS: usize = 20_000;
    let text = format!(
        "
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
SHARE = 5000
listener = socket.socket()
listener.bind(('127.0.0.1', 5000))
listener.listen(4096)
print('listening')
workers = []
for number in range({CONNECTIONS} // SHARE):
    if os.fork() == 0:
        accepted = [listener.accept()[0] for _ in range(SHARE)]
        listener.close()
        print('accepted')
        signal.pause()
signal.pause()
"
    );
    let clients = "
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
for number in range(4):
    if os.fork() == 0:
        held = []
        for port in range(10000 + number * 5000, 15000 + number * 5000):
            held.append(socket.create_connection(('127.0.0.1', 5000), source_address=('127.0.0.1', port)))
        print('connected')
        sys.stdin.readline()
        os._exit(0)
for _ in range(4):
    os.wait()
";
    for (shimmed, expected) in [(false, "EADDRINUSE"), (true, "bound")] {
        own_network();
        // On a machine of 3 GiB the kernel would forget what is closed beyond 16 384.
        sysctl("net.ipv4.tcp_max_tw_buckets", "262144");
        let mut server = Program::new("/usr/bin/setsid")
            .command(&Program::python(&text))
            .shimmed_if(shimmed)
            .start();
        server.expect("listening");
        let mut peers = Program::python(clients).start();
        for _ in 0..4 {
            server.expect_containing("accepted");
            peers.expect_containing("connected");
        }
        let group = i32::try_from(server.pid()).expect("a pid");
        // SAFETY: kill takes any numbers; the group is that of our child, which setsid made its
        // leader.
        let killed = unsafe { libc::kill(-group, libc::SIGKILL) };
        assert_eq!(killed, 0);
        wait_for(5000, TcpState::FinWait2, CONNECTIONS);
        Program::python(
            "
try:
    socket.socket().bind(('127.0.0.1', 5000))
    print('bound')
except OSError as error:
    print(errno.errorcode[error.errno])
",
        )
        .shimmed_if(shimmed)
        .start()
        .expect(expected);
        assert_eq!(count(5000, TcpState::FinWait2), CONNECTIONS);
        peers.kill();
    }
}
