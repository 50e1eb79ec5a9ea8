//! A restart of a server, for every way to link it.

use crate::{BUSY, PORT, crash, dynamic_victim, run, run_by_nobody, run_with, second_run};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;
use support::{
    Folder, Program, compile_c, compile_c_by, compile_go, musl_gcc, own_network, program,
    wait_until,
};

const VICTIM: &str = include_str!("../spec/victim.c");

/// The story of every restart: it fails without an engine, and works with one, three times in a
/// row.
fn keeps_its_port(victim: &Program, engine: &str) {
    own_network();
    let mut plain = victim.start();
    plain.expect("listening");
    crash(plain, PORT);
    let second = victim.start().line();
    assert!(second.contains("in use"), "the control: {second}");

    own_network();
    let by_engine = run_with(["-v"], victim);
    for _ in 0..4 {
        let mut server = by_engine.start();
        let line = server.line();
        assert_eq!(line, "listening", "{}", server.stderr_so_far());
        wait_until("the engine's name", || {
            server
                .stderr_so_far()
                .contains(&format!("engine {engine}: "))
        });
        crash(server, PORT);
    }
}

fn on_port(path: PathBuf) -> Program {
    Program::new(path).argument(PORT.to_string())
}

#[test]
fn serves_dynamic_programs_by_the_library() {
    keeps_its_port(&on_port(compile_c("dynamic", VICTIM, &[])), "preload");
}

#[test]
fn serves_static_programs() {
    keeps_its_port(&on_port(compile_c("static", VICTIM, &["-static"])), "trace");
    keeps_its_port(
        &on_port(compile_c("static-pie", VICTIM, &["-static-pie", "-fPIE"])),
        "trace",
    );
}

#[test]
fn serves_static_programs_of_musl() {
    let binary = compile_c_by(musl_gcc(), "musl-static", VICTIM, &["-static"]);
    keeps_its_port(&on_port(binary), "trace");
}

#[test]
fn serves_static_programs_of_32_bits() {
    let binary = compile_c("narrow-static", VICTIM, &["-m32", "-static"]);
    keeps_its_port(&on_port(binary), "trace");
}

/// Bare system calls, `socketcall` among them where the processor has it.
#[test]
fn serves_programs_without_any_libc() {
    let text = include_str!("server_without_libc.c");
    let flags = [
        "-O1",
        "-nostdlib",
        "-static",
        "-ffreestanding",
        "-fno-stack-protector",
    ];
    for (name, more) in [
        ("bare", &[][..]),
        ("bare-32", &["-m32"]),
        ("bare-32-multiplexed", &["-m32", "-DMULTIPLEXED"]),
    ] {
        let binary = compile_c_by(Command::new("cc"), name, text, &[&flags, more].concat());
        keeps_its_port(&Program::new(binary), "trace");
    }
}

/// With system calls of its own, from many threads, while the runtime sends itself signals.
#[test]
fn serves_go_programs() {
    let folder = Folder::new("engines-go");
    let bare = compile_go(&folder, "bare", include_str!("server.go"));
    keeps_its_port(&Program::new(bare), "trace");

    // net.Listen sets SO_REUSEADDR by itself, so there is nothing to cure, and nothing breaks.
    let listen = compile_go(&folder, "listen", include_str!("listen.go"));
    own_network();
    for _ in 0..2 {
        let mut server = run_with(["-v"], &Program::new(&listen)).start();
        server.expect("listening");
        crash(server, PORT);
    }
    // A Go program that starts a static one.
    let starter = compile_go(&folder, "starter", include_str!("exec_arguments.go"));
    let victim = compile_c("started-by-go", VICTIM, &["-static"]);
    let starter = Program::new(starter)
        .argument(victim)
        .argument(PORT.to_string());
    own_network();
    for _ in 0..2 {
        let mut server = run_with(["-v"], &starter).start();
        server.expect("listening");
        let client = TcpStream::connect(("127.0.0.1", PORT)).expect("it listens");
        support::wait_for(PORT, support::TcpState::Established, 1);
        server.say("end").expect("ended");
        support::wait_for(PORT, support::TcpState::FinWait2, 1);
        drop(client);
        assert!(server.finish().status.success());
    }
}

/// It leaves `TIME_WAIT` at each request, since it closes first, and sets `SO_REUSEADDR` by itself:
/// nothing breaks.
#[test]
fn serves_busybox() {
    let busybox = program(&["busybox"]);
    let folder = Folder::new("engines-busybox");
    fs::write(folder.join("index.html"), "hello\n").expect("the folder is ours");
    let server =
        Program::new(busybox).arguments(["httpd", "-f", "-v", "-p", "127.0.0.1:5000", "-h"]);
    let server = server.argument(folder.path());
    own_network();
    for _ in 0..3 {
        let running = run_with(["-v"], &server).start();
        support::wait_for(PORT, support::TcpState::Listen, 1);
        let mut client = TcpStream::connect(("127.0.0.1", PORT)).expect("it listens");
        client
            .write_all(b"GET / HTTP/1.0\r\n\r\n")
            .expect("it is there");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("it answers");
        assert!(answer.ends_with("hello\n"), "{answer}");
        drop(client);
        running.kill();
    }
    assert!(support::count(PORT, support::TcpState::TimeWait) > 0);
}

#[test]
fn needs_no_rights() {
    let folder = Folder::for_other_users("engines-nobody");
    let server = run_by_nobody(&folder, &[]);
    own_network();
    for _ in 0..3 {
        let mut server = server.start();
        server.expect("listening");
        crash(server, PORT);
    }
}

/// As in a container whose filter forbids `pidfd_getfd`, and lets its programs trace; Docker's
/// forbids to read and write their memory otherwise than by ptrace as well.
#[test]
fn serves_where_descriptors_cannot_be_copied() {
    const COPIES: &str = "-DFORBIDDEN=SYS_pidfd_getfd";
    const MEMORY: &str = "-DFORBIDDEN=SYS_pidfd_getfd,SYS_process_vm_readv,SYS_process_vm_writev";
    for (name, flags, forbidden) in [
        ("uncopied", &["-static"][..], COPIES),
        ("uncopied-32", &["-static", "-m32"], COPIES),
        ("unread", &["-static"], MEMORY),
        ("unread-32", &["-static", "-m32"], MEMORY),
    ] {
        let forbids = format!("forbids-for-{name}");
        let forbids = compile_c(&forbids, include_str!("exec_under_seccomp.c"), &[forbidden]);
        let victim = on_port(compile_c(name, VICTIM, flags));
        let sandboxed = Program::new(&forbids).command(&run_with(["--log", "debug"], &victim));
        own_network();
        for _ in 0..3 {
            let mut server = sandboxed.start();
            server.expect("listening");
            crash(server, PORT);
        }
        // Waiting works as well, and for the way that a live listener bars.
        let mut holder = victim.start();
        assert!(holder.line().contains("in use"), "the control");
        let mut holder = sandboxed.start();
        holder.expect("listening");
        let mut waiting = Program::new(&forbids)
            .command(&run_with(["--wait", "60s,listeners"], &victim))
            .start();
        wait_until("it to wait", || {
            waiting
                .stderr_so_far()
                .contains("waiting for up to 60000 ms")
        });
        holder.kill();
        waiting.expect("listening");
    }
}

/// What starts a program stays what it is, and the program is served all the same.
#[test]
fn serves_what_a_starter_starts() {
    let victim = compile_c("started", VICTIM, &["-static"]);
    let started = Program::new("/usr/bin/env")
        .argument("A=b")
        .argument(victim)
        .argument(PORT.to_string());
    keeps_its_port(&started, "trace");
    // Taken away from it, the library serves nobody.
    let dynamic = compile_c("started-dynamic", VICTIM, &[]);
    let started = Program::new("/usr/bin/env")
        .argument("-i")
        .argument(dynamic)
        .argument(PORT.to_string());
    keeps_its_port(&started, "trace");
    // A static program that starts a dynamic one: the library is in that one's environment, and it
    // is detached from.
    let parent = compile_c(
        "static-starter",
        include_str!("exec_arguments.c"),
        &["-static"],
    );
    let dynamic = compile_c("started-by-static", VICTIM, &[]);
    own_network();
    let program = run()
        .argument("--log")
        .argument("debug")
        .argument(parent)
        .argument(dynamic)
        .argument(PORT.to_string());
    for _ in 0..2 {
        let mut server = program.start();
        server.expect("listening");
        crash(server, PORT);
    }
}

/// The library is in the environment of what a static program starts, but the dynamic linker
/// ignores that in a program with more rights than its caller: the tracer stays.
#[test]
fn serves_a_program_with_more_rights_that_a_static_one_starts() {
    let folder = Folder::for_other_users("engines-setgid");
    let parent = compile_c(
        "static-starter",
        include_str!("exec_arguments.c"),
        &["-static"],
    );
    let server = dynamic_victim(&folder);
    chown(&server, None, Some(65534)).expect("root may give it away");
    fs::set_permissions(&server, fs::Permissions::from_mode(0o2755)).expect("the file is ours");
    let started = Program::new(parent)
        .argument(&server)
        .argument(PORT.to_string());
    assert_eq!(second_run(&started), BUSY);
    assert_eq!(second_run(&run_with::<&str>([], &started)), "listening");
}
