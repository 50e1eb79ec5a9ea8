//! What goes wrong around the engine `bpf`: an attach that is killed, missing privileges, control
//! groups that are not there.

use super::{
    Machine, WATCHING, attach, below, bpf, has_capabilities, inside_folder, is_root, kernel, watch,
};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};
use support::{
    Folder, Program, Running, compile_c, in_one_line, program, repeats_in, reuseaddr, wait_until,
    wait_until_by,
};

/// Binds, listens and closes for as long as its stdin is open, and then says how often that failed.
/// A try that succeeds when it is made again soon is none: `attach` holds a copy of a listener as
/// it sets the option there, and when the listener is closed meanwhile its port is free after that.
/// It is longer where `attach` has no memory, or no processor.
const BINDER: &str = r"
import select, time
failed = 0
print('binding')
while not select.select([sys.stdin], [], [], 0)[0]:
    for port in range(5000, 5010):
        deadline = time.monotonic() + 30
        while True:
            each = socket.socket()
            try:
                each.bind(('127.0.0.1', port))
                each.listen()
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    failed += 1
                    print(error)
                    break
            finally:
                each.close()
print('failed', failed)
";

/// How long an attach takes here, and a little longer. Nothing of it is left. One that had to wait
/// for another test says nothing about the next ones.
fn time_of_a_whole_one(group: &str) -> Duration {
    const LONGEST: Duration = Duration::from_millis(400);
    let start = Instant::now();
    assert!(attach(group).run().status.success());
    let took = start.elapsed();
    assert!(bpf(["detach", "--cgroup", group]).run().status.success());
    LONGEST.min(took * 3 / 2)
}

/// Attaches, whatever was there, and asserts that no bind of the `BINDER` in there has failed.
fn attaches_after_all(group: &str, binder: &mut Running) {
    let said = attach(group).run();
    assert!(said.status.success(), "{said:#?}");
    let said = bpf(["status"]).run();
    assert!(
        said.stdout.contains(&format!("{group}: attached;")),
        "{said:#?}"
    );
    binder.say("stop");
    assert_eq!(binder.line(), "failed 0");
}

#[test]
fn attach_may_be_killed_at_any_moment() {
    const TIMES: u32 = 200;
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.group("killed");
    let whole = time_of_a_whole_one(&group);
    let mut binder = machine.inside(&group, &Program::python(BINDER)).start();
    binder.expect("binding");
    let mut unfinished = 0;
    for number in 0..TIMES {
        let attaching = attach(&group).start();
        // No two moments are the same, and those beside one another come at different times.
        thread::sleep(whole / TIMES * (number * 77 % TIMES));
        attaching.kill();
        let said = bpf(["status", "--json"]).run();
        unfinished += usize::from(said.stdout.contains("incomplete"));
        if number % 3 == 0 {
            let _ = bpf(["detach", "--cgroup", &group]).run();
        }
    }
    eprintln!("found attached in part: {unfinished} times of {TIMES}");
    attaches_after_all(&group, &mut binder);
    let said = bpf(["detach", "--cgroup", &group]).run();
    assert!(said.status.success(), "{said:#?}");
}

/// A command that fails with one line, which has this in it.
pub(super) fn fails(command: &Program, says: &str) {
    let said = command.run();
    assert!(!said.status.success(), "{said:#?}");
    let text = in_one_line(&said.stderr);
    assert!(text.contains(says), "{says}: {said:#?}");
    assert!(text.starts_with("reuseaddr: bpf: "), "{said:#?}");
}

#[test]
fn says_in_one_line_who_may_not() {
    if !is_root() || !has_capabilities() {
        eprintln!("skipped: it takes root to lose something");
        return;
    }
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.group("denied");
    let folder = Folder::for_other_users("bpf-denied");
    let command = folder.copy(reuseaddr(), "reuseaddr");
    let setpriv = |options: &[&str]| {
        Program::new(program(&["setpriv"]))
            .arguments(options)
            .argument(&command)
            .arguments(["bpf", "attach", "--cgroup", &group])
    };
    fails(
        &setpriv(&["--reuid", "65534", "--regid", "65534", "--clear-groups"]),
        "this takes root (CAP_BPF and CAP_NET_ADMIN): try sudo",
    );
    fails(
        &setpriv(&[
            "--bounding-set",
            "-bpf,-sys_admin",
            "--inh-caps",
            "-bpf,-sys_admin",
        ]),
        "root may not use bpf(2) here: CAP_BPF and CAP_NET_ADMIN are missing",
    );
    assert_eq!(below("/sys/fs/bpf"), [""; 0]);
    assert_eq!(below("/run"), [""; 0]);
    // What is attached is not theirs to take away, and of what they may not ask they are told.
    assert!(attach(&group).run().status.success());
    let mapped = || Program::new(program(&["unshare"])).arguments(["--user", "--map-root-user"]);
    let detach = |by: Program| {
        by.argument(&command)
            .arguments(["bpf", "detach", "--cgroup", &group])
    };
    fails(
        &detach(Program::new(program(&["setpriv"])).arguments([
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
        ])),
        "this takes root (CAP_BPF and CAP_NET_ADMIN): try sudo",
    );
    fails(&detach(mapped()), "root may not use bpf(2) here");
    let told = mapped()
        .argument(&command)
        .arguments(["bpf", "status"])
        .run();
    assert!(
        told.stdout.starts_with(&format!("{group}: attached\n")),
        "{told:#?}"
    );
    let said = bpf(["detach", "--cgroup", &group]).run();
    assert!(said.status.success(), "{said:#?}");
}

#[test]
fn says_in_one_line_where_it_cannot_attach() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    fails(
        &attach("/there-is-none"),
        "there is no control group /there-is-none",
    );
    fails(&bpf(["attach", "--unit", "there-is-none"]), "does not run");
    fails(
        &bpf(["attach", "--container", "there-is-none"]),
        "no running container there-is-none;",
    );
    fails(
        &bpf(["attach", "--pid", "999999999"]),
        "there is no process 999999999",
    );
    let parent = machine.group("docker");
    let parent = machine.below(&format!("{parent}/docker"));
    let container = machine.below(&format!("{parent}/{}", "0123456789abcdef".repeat(4)));
    fails(
        &attach(&container),
        &format!("attach at its parent {parent}, which serves every container there"),
    );
    fails(
        &bpf(["attach", "--container", "0123456789abcdef0123"]),
        &format!("bpf attach --cgroup {parent}"),
    );
    machine.below(&format!("{parent}/{}", "0123456789abcdee".repeat(4)));
    fails(
        &bpf(["attach", "--container", "0123456789abcde"]),
        "there are 2 containers whose ID begins with 0123456789abcde; give more",
    );
    fails(
        &bpf(["attach", "--container", ""]),
        "the name of the container is empty",
    );
    // The control.
    assert!(attach(&parent).run().status.success());
}

/// Attaches a bind program that returns a number, and does no more: folder, name, number, flags.
const ATTACHES: &str = r"
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
number = {'x86_64': 321, 'aarch64': 280}[os.uname().machine]
def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b'\0'), 128)
    result = libc.syscall(number, command, buffer, 128)
    if result < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    return result
folder, name, returned, flags = sys.argv[1:]
move = struct.pack('=BBhi', 0xb7, 0, 0, int(returned))
code = ctypes.create_string_buffer(move + b'\x95' + bytes(7))
licence = ctypes.create_string_buffer(b'MIT')
load = struct.pack('=IIQQIIQII16sII', 18, 2, ctypes.addressof(code),
                   ctypes.addressof(licence), 0, 0, 0, 0, 0, name.encode(), 0, 8)
program = bpf(5, load)
bpf(8, struct.pack('=IIII', os.open(folder, os.O_RDONLY), program, 8, int(flags)))
";

#[test]
fn names_who_keeps_it_out() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let above = machine.group("exclusive");
    let group = machine.below(&format!("{above}/below"));
    // As Cilium before 1.14 did: with no flag.
    let exclusive = Program::python(ATTACHES)
        .argument(machine.folder(&above))
        .arguments(["cil_sock4_bind", "1", "0"])
        .run();
    assert!(exclusive.status.success(), "{exclusive:#?}");
    for group in [&group, &above] {
        fails(
            &attach(group),
            &format!("\"cil_sock4_bind\" at {above} was attached as the only one"),
        );
    }
    assert!(
        !below("/run/libreuse/bpf")
            .iter()
            .any(|name| name.contains("exclusive"))
    );
}

#[test]
fn says_that_no_cgroup_v2_is_mounted() {
    let Some(_machine) = Machine::new() else {
        return;
    };
    let script = r#"
        while mounted=$(grep -m1 " cgroup2 " /proc/self/mounts); do
            umount -l "$(echo "$mounted" | cut -d' ' -f2)"
        done
        exec "$0" bpf attach --cgroup /
    "#;
    let without = Program::new(program(&["unshare"]))
        .arguments(["--mount", "sh", "-c", script])
        .argument(reuseaddr());
    fails(&without, "no cgroup2 file system is mounted");
    assert!(fs::metadata("/run/libreuse/bpf").is_err());
}

#[test]
fn an_older_kernel_is_named() {
    if kernel() >= (6, 1) {
        eprintln!("skipped: this kernel is new enough");
        return;
    }
    fails(
        &bpf(["attach", "--cgroup", "/"]),
        "does not let a program set SO_REUSEADDR at bind; 6.1 or later does",
    );
    // And a program by this engine is not started.
    let said = Program::python("print('started')").by("bpf").run();
    assert_eq!(said.status.code(), Some(125), "{said:#?}");
}

/// Runs what its arguments name where a seccomp filter refuses bpf(2), as those of container
/// runtimes do, and as a kernel that is locked down refuses what it does not allow.
const DENIES: &str = r"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int count, char **arguments) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    if (count < 2 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
        return 99;
    execv(arguments[1], arguments + 1);
    return 98;
}
";

#[test]
fn a_filter_that_refuses_bpf_leaves_the_program_as_it_is() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.group("filtered");
    let denied =
        |command: &Program| Program::new(compile_c("bpf-denied", DENIES, &[])).command(command);
    let refusal = "root may not use bpf(2) here: CAP_BPF and CAP_NET_ADMIN are missing, or a \
                   seccomp filter forbids it";
    fails(&denied(&attach(&group)), refusal);
    let show = Program::python("print(open('/proc/self/cgroup').read().split('0::')[1], end='')");
    let started = |options: &[&str]| {
        Program::new(reuseaddr())
            .arguments(["run", "--engine", "bpf"])
            .arguments(options)
            .argument("--")
            .command(&show)
    };
    let refused = machine.inside(&group, &denied(&started(&[]))).run();
    assert_eq!(refused.status.code(), Some(125), "{refused:#?}");
    let anyway = machine
        .inside(&group, &denied(&started(&["--anyway"])))
        .run();
    assert_eq!(anyway.stdout, format!("{group}\n"), "{anyway:#?}");
    assert!(in_one_line(&anyway.stderr).contains(refusal), "{anyway:#?}");
    assert_eq!(below("/sys/fs/bpf"), [""; 0]);
    assert_eq!(below("/run/libreuse/bpf"), [""; 0]);
    // The control: without the filter it has a group of its own.
    let served = machine.inside(&group, &started(&[])).run();
    assert!(served.stdout.contains("/libreuse-run-"), "{served:#?}");
    assert!(machine.detach_all_below(&group).run().status.success());
}

#[test]
fn locked_memory_is_no_limit_to_it() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.group("locked");
    let limited = Program::new(program(&["prlimit"]))
        .argument("--memlock=0:0")
        .command(&attach(&group))
        .run();
    assert!(limited.status.success(), "{limited:#?}");
}

/// A group with a limit of its own, under either version of control groups.
fn limited(machine: &Machine, name: &str, controller: &str, limit: u64) -> Option<PathBuf> {
    let first = Path::new("/sys/fs/cgroup").join(controller);
    let name = format!("libreuse-tests-{}-{name}", std::process::id());
    let (folder, file) = if first.join("cgroup.procs").exists() {
        (first.join(name), ["memory.limit_in_bytes", "pids.max"])
    } else {
        // Where another has it, this can't be had.
        let all = machine.root.join("cgroup.subtree_control");
        fs::write(all, format!("+{controller}")).ok()?;
        (machine.root.join(name), ["memory.max", "pids.max"])
    };
    let file = file
        .into_iter()
        .find(|file| file.starts_with(controller))
        .expect("it is one of these");
    fs::create_dir(&folder).ok()?;
    fs::write(folder.join(file), limit.to_string()).ok()?;
    Some(folder)
}

#[test]
fn a_limit_of_memory_leaves_nothing_that_the_next_one_does_not_complete() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.group("short");
    let mut binder = machine.inside(&group, &Program::python(BINDER)).start();
    binder.expect("binding");
    let mut failed = 0;
    // A file's pages are charged to the group that reads them first. If that were one of these, it
    // would read the command again and again as it runs, for minutes.
    fs::read(reuseaddr()).expect("it is there");
    // From too little to be started with to enough for everything.
    for kibibytes in (256..6144).step_by(256) {
        let Some(memory) = limited(&machine, "memory", "memory", kibibytes * 1024) else {
            eprintln!("skipped: no group can have its memory limited here");
            break;
        };
        let short = inside_folder(&memory, &attach(&group)).run();
        // The kernel ends it, or it says what is missing.
        if !short.status.success() {
            failed += 1;
            let says = in_one_line(&short.stderr);
            assert!(
                short.status.signal() == Some(libc::SIGKILL)
                    || says.contains("not enough memory")
                    || says.contains("can't start itself")
                    || says.contains("came to nothing"),
                "{short:#?}"
            );
        }
        support::wait_until("the group to be empty", || fs::remove_dir(&memory).is_ok());
    }
    eprintln!("attaches with too little memory: {failed}");
    attaches_after_all(&group, &mut binder);
}

/// Where it may start neither a process nor a thread, nothing is left in part, and what was there
/// stays.
#[test]
fn a_limit_of_processes_is_said_in_one_line() {
    const NONE: &str = "no thread can be started (pids.max or RLIMIT_NPROC)";
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.group("alone");
    let Some(alone) = limited(&machine, "pids", "pids", 1) else {
        eprintln!("skipped: no group can have its processes limited here");
        return;
    };
    let alone_in = |command: &Program| inside_folder(&alone, command);
    // It may not start the test of the kernel.
    fails(&alone_in(&attach(&group)), "can't start itself");
    assert_eq!(below("/sys/fs/bpf"), [""; 0]);
    assert_eq!(below("/run/libreuse/bpf"), [""; 0]);
    // The kernel is tested: no thread looks for what listens, and the programs serve what starts.
    let other = machine.attached("other");
    let said = alone_in(&attach(&group)).run();
    assert!(said.status.success(), "{said:#?}");
    assert!(in_one_line(&said.stderr).contains(NONE), "{said:#?}");
    assert!(machine.serves(&group));
    let watch = alone_in(&Program::new(reuseaddr()).argument("watch")).run();
    assert_eq!(watch.status.code(), Some(2), "{watch:#?}");
    let text = in_one_line(&watch.stderr);
    assert!(text.starts_with("reuseaddr: no thread "), "{watch:#?}");
    assert!(text.contains(NONE), "{watch:#?}");
    // The control: with room for them.
    fs::write(alone.join("pids.max"), "max").expect("the group is ours");
    let said = alone_in(&attach(&other)).run();
    assert!(said.status.success(), "{said:#?}");
    assert!(!said.stderr.contains(NONE), "{said:#?}");
    wait_until("the group to be empty", || fs::remove_dir(&alone).is_ok());
}

/// A child that tests the kernel says nothing where whoever asked has been killed.
#[test]
fn a_test_of_the_kernel_that_nobody_waits_for_is_quiet() {
    let Some(_machine) = Machine::new() else {
        return;
    };
    let child = |input: &str| {
        let script = format!("{input}\"$0\" bpf self-test");
        Program::new(program(&["sh"]))
            .argument("-c")
            .argument(script)
            .argument(reuseaddr())
            .run()
    };
    for input in ["", "echo go | ", "printf go | "] {
        let said = child(input);
        assert_eq!(said.stderr, "", "{input}: {said:#?}");
        // The control: with a whole line it answers.
        assert_eq!(
            said.stdout.is_empty(),
            !input.starts_with("echo"),
            "{said:#?}"
        );
    }
    // Its answer goes nowhere.
    let unread = child("exec >/dev/full; echo go | ");
    assert_eq!(unread.stderr, "", "{unread:#?}");
}

#[test]
fn a_group_may_go_away_at_any_moment() {
    const TIMES: u32 = 60;
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.group("gone");
    let whole = time_of_a_whole_one(&group);
    let folder = machine.folder(&group);
    let (mut gone, mut done) = (0, 0);
    for number in 0..TIMES {
        let attaching = attach(&group).start();
        thread::sleep(whole / TIMES * (number * 37 % TIMES));
        fs::remove_dir(&folder).expect("nobody is in it");
        let said = attaching.finish();
        if said.status.success() {
            done += 1;
            // It is remembered until it is taken back, by the name of what has gone.
            assert!(bpf(["detach", "--cgroup", &group]).run().status.success());
        } else {
            gone += 1;
            let says = in_one_line(&said.stderr);
            assert!(
                says.contains(&format!("bpf: the control group {group} is gone"))
                    || says.contains(&format!("bpf: there is no control group {group}")),
                "{said:#?}"
            );
            assert_eq!(below("/run"), [""; 0]);
            assert_eq!(below("/sys/fs/bpf"), [""; 0]);
        }
        fs::create_dir(&folder).expect("root may make groups");
    }
    eprintln!("attached {done} times, gone before {gone} times");
    let attached = attach(&group).run();
    assert!(attached.status.success(), "{attached:#?}");
}

#[test]
fn what_another_version_has_pinned_is_left_or_replaced() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    // Hash maps of numbers, in the places of an older version and of ours.
    let text = r"
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
number = {'x86_64': 321, 'aarch64': 280}[os.uname().machine]
for path in sys.argv[1:]:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    path = ctypes.create_string_buffer(path.encode())
    kind = ctypes.create_string_buffer(struct.pack('=IIII', 1, 4, 4, 8).ljust(128, b'\0'), 128)
    map = libc.syscall(number, 0, kind, 128)
    pin = ctypes.create_string_buffer(struct.pack('=QI', ctypes.addressof(path), map).ljust(128, b'\0'), 128)
    if map < 0 or libc.syscall(number, 6, pin, 128) < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
";
    let base = machine.group("older");
    let group = machine.below(&format!("{base}/one"));
    let other = machine.below(&format!("{base}/other"));
    let ours = "/sys/fs/bpf/libreuse/v1";
    let named = group.replace('/', "_2f");
    let pinned = Program::python(text)
        .argument("/sys/fs/bpf/libreuse/v0/bound")
        .argument(format!("{ours}/bound"))
        .argument(format!("{ours}/holder"))
        .argument(format!("{ours}/{named}"))
        .run();
    assert!(pinned.status.success(), "{pinned:#?}");
    fails(
        &attach(&group),
        "is of another version; `reuseaddr bpf detach --all` removes it",
    );
    // What all share is made again.
    let attached = attach(&other).run();
    assert!(attached.status.success(), "{attached:#?}");
    assert!(machine.serves(&other));
    assert!(machine.detach_all_below(&base).run().status.success());
    assert_eq!(below("/sys/fs/bpf"), [""; 0]);
    let attached = attach(&group).run();
    assert!(attached.status.success(), "{attached:#?}");
}

/// An older version's program, which this test has refuse every bind: beside ours it would go on.
#[test]
fn what_another_version_has_attached_is_replaced() {
    const MULTI: &str = "2";
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.group("replaced");
    let attached = |name: &str| {
        let old = Program::python(ATTACHES)
            .argument(machine.folder(&group))
            .arguments([name, "0", MULTI])
            .run();
        assert!(old.status.success(), "{old:#?}");
    };
    attached("reuse_bind4");
    let binds = Program::python("socket.socket().bind(('127.0.0.1', 5000))");
    let refused = machine.inside(&group, &binds).run();
    assert!(refused.stderr.contains("PermissionError"), "{refused:#?}");
    assert!(attach(&group).run().status.success());
    assert!(machine.serves(&group));
    // The control: what is not ours stays.
    assert!(bpf(["detach", "--cgroup", &group]).run().status.success());
    attached("another_bind4");
    assert!(attach(&group).run().status.success());
    let refused = machine.inside(&group, &binds).run();
    assert!(refused.stderr.contains("PermissionError"), "{refused:#?}");
}

/// Where the file system is mounted as the kernel does, anybody may make a folder of our name.
#[test]
fn its_folder_is_roots_alone() {
    const FOLDER: &str = "/sys/fs/bpf/libreuse";
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.group("folder");
    fs::create_dir(FOLDER).expect("the file system is ours");
    chown(FOLDER, Some(65534), None).expect("root may");
    fails(
        &attach(&group),
        "/sys/fs/bpf/libreuse is not root's, and is left alone",
    );
    assert!(Path::new(FOLDER).exists());
    fs::remove_dir(FOLDER).expect("it is there, and empty");
    // The control, with a umask that takes nothing away.
    let attached = Program::new(program(&["sh"]))
        .arguments(["-c", "umask 0 && exec \"$0\" \"$@\""])
        .command(&attach(&group))
        .run();
    assert!(attached.status.success(), "{attached:#?}");
    for folder in [FOLDER.to_owned(), format!("{FOLDER}/v1")] {
        let found = fs::metadata(&folder).expect("it was made");
        assert_eq!((found.mode() & 0o7777, found.uid()), (0o700, 0), "{folder}");
    }
}

#[test]
fn mounts_the_file_system_that_it_needs() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.group("unmounted");
    // Where it can't be mounted, that is what is said.
    let nowhere = Program::new(program(&["unshare"]))
        .arguments([
            "--mount",
            "sh",
            "-c",
            "mount -t cgroup2 none /mnt && mount -t tmpfs -o ro none /sys/fs && exec \"$0\" bpf \
             attach --cgroup \"$1\"",
        ])
        .argument(reuseaddr())
        .argument(&group);
    fails(&nowhere, "`mount -t bpf bpf /sys/fs/bpf`");
    assert!(!below("/run").contains(&"libreuse".to_owned()));
    let script = r#"
        while grep -q " /sys/fs/bpf " /proc/self/mounts; do umount -l /sys/fs/bpf; done
        "$0" bpf attach --cgroup "$1" && grep " /sys/fs/bpf " /proc/self/mounts
    "#;
    let said = Program::new(program(&["unshare"]))
        .arguments(["--mount", "sh", "-c", script])
        .argument(reuseaddr())
        .argument(&group)
        .run();
    assert!(said.status.success(), "{said:#?}");
    assert!(said.stdout.starts_with("bpf /sys/fs/bpf bpf "), "{said:#?}");
}

/// As in containers, which may write to neither place.
#[test]
fn says_what_to_type_where_a_place_is_read_only() {
    let Some(mut machine) = Machine::new() else {
        return;
    };
    let group = machine.group("read-only");
    let with = |place: &str| {
        let script = format!(
            "mount --bind {place} {place} && mount -o remount,bind,ro {place} && exec \"$0\" \"$@\""
        );
        Program::new(program(&["unshare"]))
            .arguments(["--mount", "sh", "-c", &script])
            .command(&attach(&group))
    };
    let groups = machine.root.to_str().expect("it is UTF-8");
    for place in [groups, "/run", "/sys/fs/bpf"] {
        fails(
            &with(place),
            "the place is mounted read-only, as in containers. On the container's host, `sudo ",
        );
        assert_eq!(below("/sys/fs/bpf"), [""; 0], "{place}");
        assert_eq!(below("/run/libreuse/bpf"), [""; 0], "{place}");
    }
    // The control: what may be written to, in the same way.
    let attached = with("/proc").run();
    assert!(attached.status.success(), "{attached:#?}");
}

/// While `watch` is stopped more calls fail than the kernel keeps for it. The control are fewer,
/// and many of one process on one port, of which few are kept. The kernel may miss any of them (see
/// below), so each is repeated until it is seen.
#[test]
fn watch_says_that_it_may_have_missed_some() {
    const FAILS: &str = "
taken = {port: socket.socket() for port in (5000, 5001)}
for port, each in taken.items():
    each.bind(('127.0.0.1', port))
def fail(port, times):
    for _ in range(times):
        with socket.socket() as each:
            try:
                each.bind(('127.0.0.1', port))
            except OSError:
                pass
for line in sys.stdin:
    port, processes, times = map(int, line.split())
    for _ in range(processes):
        child = os.fork()
        if child == 0:
            fail(port, times)
            os._exit(0)
        os.waitpid(child, 0)
    print('failed')
";
    const WARNING: &str = "so many calls failed at once";
    const A_MOMENT: Duration = Duration::from_secs(1);
    let Some(_machine) = Machine::new() else {
        return;
    };
    let _alone = WATCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut fails = Program::python(FAILS).start();
    let mut watch = watch("5001");
    watch.signal(libc::SIGSTOP);
    fails.say("5000 1 20000").expect("failed");
    watch.signal(libc::SIGCONT);
    wait_until("the failure", || {
        fails.say("5001 1 1").expect("failed");
        let line = watch.line_within(A_MOMENT);
        line.is_some_and(|line| line.contains("can't bind 127.0.0.1:5001"))
    });
    let said = watch.stderr_so_far();
    assert!(!said.contains(WARNING), "{said}");

    wait_until("the warning", || {
        watch.signal(libc::SIGSTOP);
        fails.say("5000 200 100").expect("failed");
        watch.signal(libc::SIGCONT);
        wait_until_by(Instant::now() + 5 * A_MOMENT, || {
            watch.stderr_so_far().contains(WARNING)
        })
    });
}

/// Of a process that fails again and again at one address most failures are only counted: the next
/// one brings the count, or the end of the process. What fails at another address is not among
/// them, and nothing is counted twice.
///
/// Some may be missing: the kernel runs no program of a tracepoint on a processor that runs
/// another, or is inside a call about a map (`trace_call_bpf` in `kernel/trace/bpf_trace.c`,
/// `bpf_disable_instrumentation`). Where another test makes such a call and is preempted by the
/// program that fails, a whole slice of its time is missing. So half of them suffice, which are far
/// more than are reported one by one.
#[test]
fn watch_counts_what_it_does_not_report_one_by_one() {
    const TIMES: usize = 5000;
    const FAILS: &str = "
taken = socket.socket()
taken.bind(('0.0.0.0', 5002))
for line in sys.stdin:
    host, times = line.split()
    for _ in range(int(times)):
        with socket.socket() as each:
            try:
                each.bind((host, 5002))
            except OSError:
                pass
    print('failed')
";
    let Some(_machine) = Machine::new() else {
        return;
    };
    let _alone = WATCHING.lock().unwrap_or_else(PoisonError::into_inner);
    for exits in [false, true] {
        let mut fails = Program::python(FAILS).start();
        let title = format!("(pid {})", fails.pid());
        let mut watch = watch("5002");
        fails.say(&format!("127.0.0.1 {TIMES}")).expect("failed");
        let (mut made, mut others_made) = (TIMES, 1);
        fails.say("127.0.0.2 1").expect("failed");
        let mut running = Some(fails);
        if exits {
            running.take().expect("it runs").kill();
        }
        let (mut again, mut others, mut text) = (0, Vec::new(), String::new());
        // What has ended can't try again.
        while again < TIMES / 2 || (!exits && others.is_empty()) {
            let line = match (watch.line_within(Duration::from_millis(1100)), &mut running) {
                (Some(line), _) => line,
                // In the next window.
                (None, Some(fails)) => {
                    fails.say("127.0.0.1 1").expect("failed");
                    made += 1;
                    // Without the count it would take thousands.
                    assert!(made < TIMES + 100, "{text}");
                    if others.is_empty() {
                        fails.say("127.0.0.2 1").expect("failed");
                        others_made += 1;
                    }
                    continue;
                }
                (None, None) => watch.line(),
            };
            if line.contains(&title) && line.contains("127.0.0.2:5002") {
                others.push(line.clone());
            } else if line.contains(&title) {
                again += repeats_in(&line);
            }
            text += &line;
            text.push('\n');
        }
        // The first is a line without a number.
        assert!(again < made, "{text}");
        let of_one = |line: &String| line.ends_with("can't bind 127.0.0.2:5002");
        assert!(others.first().is_none_or(of_one), "{text}");
        assert!(others.len() <= others_made, "{text}");
    }
}
