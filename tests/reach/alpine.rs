//! A small system as Alpine has it: musl, busybox and nothing of glibc, for an ordinary user, with
//! a root file system that can't be written to.

use crate::restart::LEGACY;
use crate::systems::{System, dist, project, release, succeed, toolchains};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use support::{
    Folder, Program, Running, TcpState, count, own_network, port_after_crash, program, wait_until,
};

/// Where musl looks for what has a bare name.
const SEARCHED: [&str; 2] = ["usr/lib", "usr/local/lib"];

pub(crate) struct Root(Folder);

impl Root {
    pub(crate) fn new(name: &str) -> Self {
        let root = Folder::for_other_users(name);
        for folder in [
            "bin",
            "dev",
            "lib",
            "opt",
            "proc",
            "srv",
            "tmp",
            "usr/lib",
            "usr/local/lib",
        ] {
            fs::create_dir_all(root.join(folder)).expect("our own folder");
        }
        root.copy("/lib/ld-musl-x86_64.so.1", "lib/ld-musl-x86_64.so.1");
        root.copy(toolchains().join("musl/busybox"), "bin/busybox");
        for applet in ["env", "httpd", "id", "nc", "sh", "touch"] {
            symlink("busybox", root.join("bin").join(applet)).expect("our own folder");
        }
        root.copy(System::Musl.compile("legacy", LEGACY, &[]), "srv/legacy");
        fs::write(root.join("srv/index.html"), "hello\n").expect("our own folder");
        fs::write(root.join("dev/null"), "").expect("our own folder");
        Self(root)
    }

    /// Puts the library of the release somewhere, or takes it away.
    fn put(&self, folder: &str) {
        let library = release("x86_64").join("lib/libreuse.so");
        self.0.copy(library, format!("{folder}/libreuse.so"));
    }

    /// Puts another file there.
    pub(crate) fn put_file(&self, from: impl AsRef<Path>, to: &str) {
        self.0.copy(from, to);
    }

    /// A program of the system's, with these variables. It can write to /tmp alone.
    pub(crate) fn program(&self, variables: &[&str], arguments: &[&str]) -> Program {
        const SCRIPT: &str = r#"
            root=$1
            shift
            mount --bind "$root" "$root"
            mount -o remount,bind,ro "$root"
            mount --bind /proc "$root/proc"
            mount --bind /dev/null "$root/dev/null"
            mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
            exec setpriv --no-new-privs chroot --userspec=65534:65534 --groups= "$root" /bin/env -i "$@"
        "#;
        Program::new("/usr/bin/unshare")
            .arguments(["--mount", "sh", "-ec", SCRIPT, "sh"])
            .argument(self.0.path())
            .arguments(variables)
            .arguments(arguments)
    }
}

#[test]
fn the_library_serves_it_by_path_and_by_name() {
    let root = Root::new("alpine");
    let port = |variables: &[&str]| port_after_crash(&root.program(variables, &["/srv/legacy"]));
    root.put("opt");
    assert_eq!(port(&[]), "port 49201");
    assert_eq!(port(&["LD_PRELOAD=/opt/libreuse.so"]), "port 49200");
    for folder in SEARCHED {
        // By its bare name it is not found before, and not missed.
        assert_eq!(port(&["LD_PRELOAD=libreuse.so"]), "port 49201");
        root.put(folder);
        assert_eq!(port(&["LD_PRELOAD=libreuse.so"]), "port 49200", "{folder}");
        fs::remove_file(root.0.join(folder).join("libreuse.so")).expect("our own file");
    }

    // It is as confined as it says.
    let confined = ["/bin/sh", "-c", "id -u; touch /new 2>&1; true"];
    let status = root
        .program(&["LD_PRELOAD=/opt/libreuse.so"], &confined)
        .output();
    assert!(
        status.starts_with("65534\n") && status.contains("Read-only file system"),
        "{status}"
    );
}

#[test]
fn the_tarball_installs_itself_there() {
    let root = Root::new("alpine-install");
    for prefix in ["/usr", "/usr/local"] {
        let install = |argument: &[&str]| {
            succeed(
                Command::new(release("x86_64").join("install"))
                    .args(argument)
                    .env("DESTDIR", root.0.path())
                    .env("PREFIX", prefix),
            )
        };
        install(&[]);
        let program = root.program(&["LD_PRELOAD=libreuse.so"], &["/srv/legacy"]);
        assert_eq!(port_after_crash(&program), "port 49200", "{prefix}");
        install(&["--uninstall"]);
        assert_eq!(port_after_crash(&program), "port 49201", "{prefix}");
    }
}

/// docs/containers.md has three lines for that.
#[test]
fn the_lines_of_the_page_install_it_there() {
    let root = Root::new("alpine-lines");
    let page = fs::read_to_string(project().join("docs/containers.md")).expect("the page");
    let (_, lines) = page
        .split_once("These three lines install it")
        .and_then(|(_, rest)| rest.split("```").nth(1)?.split_once('\n'))
        .expect("the lines");
    let lines = lines.replace("VERSION", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let name = format!("libreuse-{}-x86_64.tar.gz", env!("CARGO_PKG_VERSION"));
    root.put_file(dist().join(&name), &name);
    fs::create_dir(root.0.join("usr/bin")).expect("our own folder");
    // The one above has no tar.
    root.put_file(program(&["busybox"]), "bin/busybox-static");
    for applet in ["cp", "tar"] {
        symlink("busybox-static", root.0.join("bin").join(applet)).expect("our own folder");
    }
    succeed(
        Command::new("/usr/sbin/chroot")
            .arg(root.0.path())
            .args(["/bin/sh", "-ec", &lines])
            .env("PATH", "/bin"),
    );
    let served = root.program(&["LD_PRELOAD=libreuse.so"], &["/srv/legacy"]);
    assert_eq!(port_after_crash(&served), "port 49200");
    let version = root.program(&[], &["/usr/bin/reuseaddr", "--version"]);
    assert_eq!(
        version.output().trim(),
        concat!("reuseaddr ", env!("CARGO_PKG_VERSION"))
    );
}

/// Waits until somebody listens.
fn listening(program: &Program, port: u16) -> Running {
    let running = program.start();
    wait_until("a listener", || count(port, TcpState::Listen) == 1);
    running
}

/// Asks for a page, and reads to the end.
fn page(port: u16) -> String {
    let mut text = String::new();
    let mut server = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    server
        .write_all(b"GET /index.html HTTP/1.0\r\n\r\n")
        .and_then(|()| server.read_to_string(&mut text))
        .expect("the server answers");
    text
}

/// They set the option themselves, so what is left to be seen is that nothing else changes.
#[test]
fn the_servers_of_busybox_run_as_ever() {
    let root = Root::new("alpine-busybox");
    root.put("usr/lib");
    let httpd = ["/bin/httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/srv"];
    for variables in [
        &[][..],
        &["LD_PRELOAD=libreuse.so"][..],
        &["LD_PRELOAD=libreuse.so", "LIBREUSE_LINGER=graceful"][..],
    ] {
        own_network();
        let running = listening(&root.program(variables, &httpd), 8080);
        let text = page(8080);
        assert!(
            text.starts_with("HTTP/1.") && text.ends_with("\r\n\r\nhello\n"),
            "{text}"
        );
        running.kill();

        // A relay of lines, which ends with its client.
        own_network();
        let mut running = listening(
            &root.program(variables, &["/bin/nc", "-l", "-p", "5000"]),
            5000,
        );
        let mut client = TcpStream::connect("127.0.0.1:5000").expect("nc listens");
        client.write_all(b"from the client\n").expect("nc reads");
        running.expect("from the client").say("from the server");
        let mut line = [0; 16];
        client.read_exact(&mut line).expect("nc writes");
        assert_eq!(&line, b"from the server\n");
        drop(client);
        running.finish().succeeded();
    }
}
