//! `free` and `status` where somebody starts the holder again: supervisors, containers' engines,
//! units and loops. Each with its control: what is only killed comes back.

use crate::{Group, assert_says, code, reuseaddr, status};
use std::fs;
use std::path::Path;
use support::{Folder, Program, Running, TcpState, count, own_network, program, wait_until};

/// A server without any option.
const SERVER: &str = "#!/usr/bin/python3 -I
import socket, sys, time
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(('127.0.0.1', int(sys.argv[1])))
listener.listen()
while True: time.sleep(1)
";

fn server(folder: &Folder) -> String {
    let path = folder.script("server.py", SERVER.as_bytes());
    path.to_str().expect("UTF-8").to_owned()
}

fn wait_for_listener(port: u16) {
    wait_until("a listener", || count(port, TcpState::Listen) == 1);
}

fn holder(port: u16) -> i32 {
    wait_for_listener(port);
    let answer = status(port);
    let pid = answer["sockets"][0]["holders"][0]["pid"].as_i64();
    i32::try_from(pid.expect("a holder")).expect("a pid")
}

/// The control: who is only killed has the port again, by another process.
fn comes_back_when_killed(port: u16) {
    let before = holder(port);
    // SAFETY: kill takes any numbers.
    assert_eq!(unsafe { libc::kill(before, libc::SIGKILL) }, 0);
    wait_until("another process on the port", || {
        let answer = status(port);
        answer["sockets"][0]["holders"][0]["pid"]
            .as_i64()
            .is_some_and(|pid| pid != i64::from(before))
    });
}

/// Asserts that `free` uses the manager's own command, and that the port stays free while the other
/// program of that manager goes on.
fn is_stopped_by(port: u16, other: u16, kind: &str, command: &str) {
    is_stopped_with("/usr/local/bin:/usr/bin:/bin", port, other, kind, command);
}

/// The same with other commands in its way.
fn is_stopped_with(path: &str, port: u16, other: u16, kind: &str, command: &str) {
    let ask = |words: &[&str]| {
        let program = reuseaddr(words).argument(port.to_string());
        program.with("PATH", path).run()
    };
    let untouched = holder(other);
    comes_back_when_killed(port);
    let answer = status(port);
    let manager = &answer["sockets"][0]["holders"][0]["manager"];
    assert_eq!(manager["kind"], kind, "{answer}");
    assert_says(manager["stop"].as_str().expect("a command"), command);
    let shown = ask(&["status"]).stdout;
    assert_says(&shown, "managed by");
    assert_says(&shown, command);
    let dry = ask(&["free", "--dry-run"]);
    assert_says(
        &dry.stdout,
        &format!("would be stopped by that: `{command}"),
    );
    assert_eq!(count(port, TcpState::Listen), 1);

    let finished = ask(&["free", "--yes"]);
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_says(&finished.stdout, &format!("Port {port} is free now"));
    assert_eq!(count(port, TcpState::Listen), 0);
    assert_eq!(holder(other), untouched);
}

fn supervisord(folder: &Folder, socket: bool) -> Running {
    let path = folder.path().display();
    let control = if socket {
        format!(
            "[unix_http_server]\nfile={path}/socket\n[supervisorctl]\nserverurl=unix://{path}/socket\n\
             [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        )
    } else {
        String::new()
    };
    let server = server(folder);
    fs::write(
        folder.join("conf"),
        format!(
            "[supervisord]\nnodaemon=true\nlogfile={path}/log\npidfile={path}/pid\n{control}\
             [program:web]\ncommand={server} 5000\nstartsecs=0\nautorestart=true\n\
             [program:other]\ncommand={server} 5001\nstartsecs=0\n"
        ),
    )
    .expect("the folder is ours");
    Program::new(program(&["supervisord"]))
        .arguments(["-c", "conf"])
        .inside(folder.path())
        .start()
}

#[test]
fn a_program_of_supervisord_is_stopped_by_supervisorctl() {
    own_network();
    // The name of a socket has to be short.
    let folder = Folder::for_other_users("supervisord");
    let mut running = supervisord(&folder, true);
    // Its unit has the other program too.
    let _group = Group::with(running.pid(), "libreuse-supervisor.service");
    let conf = folder.join("conf");
    is_stopped_by(
        5000,
        5001,
        "supervisord",
        &format!("supervisorctl -c {} stop web", conf.display()),
    );
    assert!(!running.has_ended());
    running.signal(libc::SIGTERM);
    running.finish();
}

#[test]
fn without_its_control_socket_supervisord_is_named_and_nobody_terminated() {
    own_network();
    let folder = Folder::new("supervisord-alone");
    let mut running = supervisord(&folder, false);
    comes_back_when_killed(5000);
    let before = holder(5000);
    let finished = reuseaddr(["free", "--yes", "5000"]).run();
    assert_eq!(code(&finished), 2, "{finished:#?}");
    assert_says(
        &finished.stderr,
        &format!("supervisord (pid {}), as its program web", running.pid()),
    );
    assert_says(&finished.stderr, &format!("kill {}", running.pid()));
    assert!(!finished.stdout.contains("free now"), "{finished:#?}");
    assert_eq!(holder(5000), before);
    running.signal(libc::SIGTERM);
    running.finish();
}

/// A service directory of runit, s6 and daemontools, with one program.
fn services(folder: &Folder) -> [String; 2] {
    let server = server(folder);
    [("web", 5000), ("other", 5001)].map(|(name, port)| {
        let service = folder.join(name);
        fs::create_dir(&service).expect("the folder is ours");
        folder.script(
            &format!("{name}/run"),
            format!("#!/bin/sh\nexec {server} {port}\n").as_bytes(),
        );
        service.to_str().expect("UTF-8").to_owned()
    })
}

fn of_a_service_directory(name: &str, supervisor: &str, kind: &str, command: &str) {
    own_network();
    let folder = Folder::new(name);
    let [web, other] = services(&folder);
    let start = |service: &str| {
        Program::new(program(&[supervisor]))
            .argument(service)
            .start()
    };
    let (mut web_running, mut other_running) = (start(&web), start(&other));
    is_stopped_by(5000, 5001, kind, &format!("{command} {web}"));
    for running in [&mut web_running, &mut other_running] {
        assert!(!running.has_ended());
    }
    let untouched = holder(5001);
    web_running.kill();
    other_running.kill();
    // SAFETY: kill takes any numbers.
    unsafe { libc::kill(untouched, libc::SIGKILL) };
}

#[test]
fn a_service_of_runit_is_stopped_by_sv() {
    of_a_service_directory("runit", "runsv", "runit", "sv stop");
}

#[test]
fn a_service_of_s6_is_stopped_by_s6_svc() {
    of_a_service_directory("s6", "s6-supervise", "s6", "s6-svc -wd -d");
}

#[test]
fn a_service_of_daemontools_is_stopped_by_svc() {
    of_a_service_directory("daemontools", "supervise", "daemontools", "svc -d");
}

/// A script that loops is named before anything is done; what came back is not called free.
#[test]
fn what_a_loop_starts_again_is_not_called_free() {
    own_network();
    // It has to be back in a second: Python itself takes that long on a busy machine.
    let server = support::compile_c("loop-server", include_str!("../spec/victim.c"), &[]);
    let server = server.display();
    let script = format!("while :; do {server} 5000; done");
    let python = format!("import subprocess\nwhile True: subprocess.run(['{server}', '5000'])");
    // It comes back at any moment: before `free` has looked, while it looks, and after it.
    let slow = format!("while :; do {server} 5000; sleep 0.05; done");
    let slower = format!("while :; do {server} 5000; sleep 0.5; done");
    let until = format!("until {server} 5000; do sleep 0.1; done");
    let perl = format!("while (1) {{ system('{server}', '5000') }}");
    let keeper = python.replace("while True: ", "def go(): ") + "\nwhile True: go()";
    // The last way has no name that anybody knows.
    let unread = format!(
        "import os\ndef again(): os.spawnl(os.P_WAIT, '{server}', 's', '5000'); again()\nagain()"
    );
    for (words, told) in [
        (vec!["/bin/sh", "-c", &script], Some("sh")),
        (vec!["/bin/sh", "-c", &slow], Some("sh")),
        (vec!["/bin/sh", "-c", &slower], Some("sh")),
        (vec!["/bin/sh", "-c", &until], Some("sh")),
        (
            vec!["/usr/bin/python3", "-I", "-c", &python],
            Some("python3"),
        ),
        (vec!["/usr/bin/perl", "-e", &perl], Some("perl")),
        (
            vec!["/usr/bin/python3", "-I", "-c", &keeper],
            Some("python3"),
        ),
        (vec!["/usr/bin/python3", "-I", "-c", &unread], None),
    ] {
        // In the middle, so that the loop is no parent of the test's.
        let running = Program::new(words[0]).arguments(&words[1..]).start();
        comes_back_when_killed(5000);
        let looping = running.pid();
        let dry = reuseaddr(["free", "--dry-run", "5000"]).run();
        assert_eq!(code(&dry), 0, "{dry:#?}");
        if let Some(name) = told {
            assert_says(
                &dry.stdout,
                &format!("a loop in {name} (pid {looping}) may start it again"),
            );
            assert_says(
                &reuseaddr(["5000"]).run().stdout,
                &format!("kill {looping}"),
            );
        }
        let finished = reuseaddr(["free", "--yes", "5000"]).run();
        assert_eq!(code(&finished), 1, "{finished:#?}");
        assert!(!finished.stdout.contains("free now"), "{finished:#?}");
        assert_says(&finished.stderr, "starts it again. Stop that first");
        assert_says(&finished.stderr, &format!("kill {looping}"));
        let last = holder(5000);
        running.kill();
        // SAFETY: kill takes any numbers.
        unsafe { libc::kill(last, libc::SIGKILL) };
        wait_until("it to be gone", || count(5000, TcpState::Listen) == 0);
    }
}

/// The control of the above: a parent that only waits is no loop, and the port is free.
#[test]
fn a_parent_that_only_waits_is_no_loop() {
    own_network();
    let folder = Folder::new("no-loop");
    let script = format!("{} 5000; exit 0", server(&folder));
    let running = Program::new("/bin/sh").arguments(["-c", &script]).start();
    wait_for_listener(5000);
    assert!(status(5000)["sockets"][0]["holders"][0]["manager"].is_null());
    let finished = reuseaddr(["free", "--yes", "5000"]).run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert!(!finished.stdout.contains("start it again"), "{finished:#?}");
    assert_eq!(code(&running.finish()), 0);
}

/// One of a service's many programs is not the service: that main process has started others too.
#[test]
fn one_program_of_a_unit_is_not_the_unit() {
    own_network();
    let folder = Folder::new("one-of-many");
    let server = server(&folder);
    fs::create_dir(folder.join("bin")).expect("the folder is ours");
    let main = folder.join("main");
    folder.script(
        "bin/systemctl",
        format!(
            "#!/bin/sh\ncase \"$*\" in *MainPID*) cat {};; *Restart*) echo always;; *) echo asked: \
             \"$*\" >> {};; esac\n",
            main.display(),
            folder.join("asked").display()
        )
        .as_bytes(),
    );
    let mut supervisor = Program::python(&format!(
        "import subprocess\nfor port in ('5000', '5001'): subprocess.Popen(['{server}', \
         port])\nprint('started')\nsys.stdin.read()"
    ))
    .start();
    supervisor.expect("started");
    let group = Group::with(supervisor.pid(), "libreuse-many.service");
    for port in [5000, 5001] {
        let pid = holder(port);
        fs::write(group.0.join("cgroup.procs"), pid.to_string()).expect("root may");
    }
    let path = format!("{}:/usr/bin:/bin", folder.join("bin").display());
    let free = |port: &str| {
        reuseaddr(["free", "--dry-run", port])
            .with("PATH", &path)
            .run()
            .stdout
    };
    // As the main process, it is the unit.
    fs::write(&main, holder(5001).to_string()).expect("the folder is ours");
    assert_says(
        &free("5001"),
        "It is libreuse-many.service (Restart=always), which would be stopped by its manager",
    );
    fs::write(&main, supervisor.pid().to_string()).expect("the folder is ours");
    assert_says(&free("5000"), "It would be asked to exit (SIGTERM)");
    let finished = reuseaddr(["free", "--yes", "5000"])
        .with("PATH", &path)
        .run();
    assert_eq!(code(&finished), 0, "{finished:#?}");
    assert_eq!(count(5001, TcpState::Listen), 1);
    assert!(!folder.join("asked").exists());
    let last = holder(5001);
    supervisor.kill();
    // SAFETY: kill takes any numbers.
    unsafe { libc::kill(last, libc::SIGKILL) };
}

/// A process that shows this name and holds the port, as an engine's do for a container.
fn publisher(name: &str) -> Running {
    let mut running = Program::python(&format!(
        "import ctypes\nctypes.CDLL(None).prctl(15, b'{name}')\nlistener = \
         socket.create_server(('127.0.0.1', 5000))\n\
         print('listening')\nsys.stdin.read()"
    ))
    .start();
    running.expect("listening");
    running
}

/// The engine's API as docker and podman have it, on a socket.
fn engine(socket: &Path) -> Running {
    let mut running = Program::python(
        "
import json
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print('listening')
while True:
    client, _ = listener.accept()
    path = client.recv(4096).decode().split()[1]
    if path == '/containers/json':
        body = [{'Id': 'ab' * 32, 'Names': ['/web'], 'Ports': [{'PrivatePort': 80, 'PublicPort': 5000, 'Type': 'tcp'}]}]
    elif path == '/containers/web/json':
        body = {'Name': '/web', 'HostConfig': {'RestartPolicy': {'Name': 'unless-stopped'}}}
    else:
        client.sendall(b'HTTP/1.0 404 Not Found\\r\\n\\r\\n{}')
        client.close()
        continue
    client.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n' + json.dumps(body).encode())
    client.close()
",
    )
    .argument(socket)
    .start();
    running.expect("listening");
    running
}

#[test]
fn a_port_that_a_container_publishes_is_the_containers() {
    let folder = Folder::for_other_users("publishers");
    let socket = folder.join("socket");
    for (name, engine_name, variable) in [
        ("docker-proxy", "docker", "DOCKER_HOST"),
        ("dockerd", "docker", "DOCKER_HOST"),
        ("rootlesskit", "docker", "DOCKER_HOST"),
        ("rootlessport", "podman", "CONTAINER_HOST"),
        ("pasta.avx2", "podman", "CONTAINER_HOST"),
        ("slirp4netns", "podman", "CONTAINER_HOST"),
        ("gvproxy", "podman", "CONTAINER_HOST"),
        ("conmon", "podman", "CONTAINER_HOST"),
        ("netavark", "podman", "CONTAINER_HOST"),
    ] {
        own_network();
        let mut running = publisher(name);
        // In a service, as docker-proxy is in docker.service: that is not what has to be stopped.
        let group = Group::with(running.pid(), "libreuse-engine.service");
        let answering = engine(&socket);
        let host = format!("unix://{}", socket.display());
        let ask = |words: &[&str]| reuseaddr(words).with(variable, &host).run();
        let shown = ask(&["status", "5000"]);
        assert_says(&shown.stdout, &format!("{engine_name} stop web"));
        assert_says(&shown.stdout, "restart policy unless-stopped");
        assert!(!shown.stdout.contains("systemctl"), "{name}: {shown:#?}");
        let refused = ask(&["free", "--yes", "5000"]);
        assert_eq!(code(&refused), 2, "{name}: {refused:#?}");
        assert_says(&refused.stderr, &format!("{engine_name} stop web"));
        assert!(
            !refused.stderr.contains("systemctl"),
            "{name}: {refused:#?}"
        );
        answering.kill();
        fs::remove_file(&socket).expect("the socket is ours");

        // Where no engine answers, the command that names the container.
        let refused = reuseaddr(["free", "--yes", "5000"])
            .with("PATH", "/nonexistent")
            .with(variable, &host)
            .run();
        assert_eq!(code(&refused), 2, "{name}: {refused:#?}");
        assert_says(&refused.stderr, &format!("{engine_name} ps"));
        assert!(!running.has_ended());
        running.kill();
        drop(group);
    }
    // The control: another name is no engine's.
    own_network();
    let running = publisher("proxy");
    let dry = reuseaddr(["free", "--dry-run", "5000"]).run();
    assert_says(&dry.stdout, "It would be asked to exit (SIGTERM)");
    running.kill();
}

/// pm2's daemon with two applications, which it starts again, or of a cluster holds the ports of
/// itself. Its own command does what it is for, and systemctl would be told of.
const PM2: &str = "
import subprocess
folder, mode, *ports = sys.argv[1:]
names = ['web', 'other']
def started(name, *words):
    return subprocess.Popen(words, env={'name': name, 'exec_mode': mode, 'PATH': '/usr/bin:/bin'}, stdin=subprocess.PIPE)
def keep(name, port):
    while not os.path.exists(f'{folder}/stopped-{name}'):
        child = started(name, f'{folder}/server.py', port)
        with open(f'{folder}/pid-{name}', 'w') as file: file.write(str(child.pid))
        child.wait()
def hold(name, port):
    worker = started(name, '/usr/bin/python3', '-I', '-c', 'input()')
    listener = socket.create_server(('127.0.0.1', int(port)))
    while not os.path.exists(f'{folder}/stopped-{name}'): time.sleep(0.01)
    listener.close()
    worker.stdin.close()
    worker.wait()
for name, port in zip(names, ports):
    threading.Thread(target=keep if mode == 'fork_mode' else hold, args=(name, port)).start()
while True: signal.pause()
";

/// The daemon, in a unit as `pm2 startup` makes it, and the folders for PATH.
fn pm2(folder: &Folder, mode: &str, ports: &[&str]) -> (Running, Group, String) {
    server(folder);
    fs::create_dir(folder.join("bin")).expect("the folder is ours");
    let path = folder.path().display();
    folder.script(
        "bin/pm2",
        format!(
            "#!/bin/sh\ntest \"$PM2_HOME $1\" = '{path} stop' || exit 1\ntouch \
             {path}/stopped-$2\ntest ! -e {path}/pid-$2 || kill $(cat {path}/pid-$2)\n"
        ),
    );
    folder.script(
        "bin/systemctl",
        format!(
            "#!/bin/sh\ncase \"$*\" in *MainPID*) cat {path}/main;; *Restart*) echo always;; *) \
             touch {path}/asked;; esac\n"
        ),
    );
    let title = format!("PM2 v7.0.4: God Daemon ({path})");
    let daemon = Program::new("/bin/bash")
        .arguments(["-c", "exec -a \"$0\" \"$@\"", &title])
        .command(&Program::python(PM2))
        .argument(folder.path())
        .argument(mode)
        .arguments(ports)
        .start();
    fs::write(folder.join("main"), daemon.pid().to_string()).expect("the folder is ours");
    let group = Group::with(daemon.pid(), "libreuse-pm2.service");
    let commands = format!("{path}/bin:/usr/bin:/bin");
    (daemon, group, commands)
}

#[test]
fn an_application_of_pm2_is_stopped_by_pm2() {
    own_network();
    let folder = Folder::new("pm2");
    let (mut daemon, _group, path) = pm2(&folder, "fork_mode", &["5000", "5001"]);
    let command = format!("env 'PM2_HOME={}' pm2 stop web", folder.path().display());
    is_stopped_with(&path, 5000, 5001, "pm2", &command);
    assert!(!daemon.has_ended() && !folder.join("asked").exists());
    let last = holder(5001);
    daemon.kill();
    // SAFETY: kill takes any numbers.
    unsafe { libc::kill(last, libc::SIGKILL) };
}

/// Of a cluster the daemon itself holds the port: neither it nor its unit is stopped for that.
#[test]
fn an_application_of_a_cluster_of_pm2_is_stopped_alone() {
    for (ports, expected) in [(&["5000"][..], 0), (&["5000", "5001"], 2)] {
        own_network();
        let folder = Folder::new("pm2-cluster");
        let (mut daemon, _group, path) = pm2(&folder, "cluster_mode", ports);
        for port in ports {
            wait_for_listener(port.parse().expect("a port"));
        }
        let finished = reuseaddr(["free", "--yes", "5000"])
            .with("PATH", &path)
            .run();
        assert_eq!(code(&finished), expected, "{finished:#?}");
        if expected == 0 {
            assert_says(&finished.stdout, "Port 5000 is free now");
            assert!(folder.join("stopped-web").exists());
        } else {
            // Nothing tells whose port it is.
            assert_says(&finished.stderr, "as one of its applications other, web");
            assert_says(&finished.stderr, "pm2 list");
            assert_eq!(count(5000, TcpState::Listen), 1);
        }
        assert!(!daemon.has_ended() && !folder.join("asked").exists());
        daemon.kill();
    }
}

/// Those that are no packages of Debian are known by what stands in their processes' arguments.
#[test]
fn supervisors_are_known_by_their_names() {
    const STARTER: &str = "
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int count, char **words) {
    (void)count;
    while (strcmp(*words++, \"--\"));
    if (!fork()) execv(*words, words);
    wait(0);
    for (;;) pause();
}";
    let starter = support::compile_c("starter", STARTER, &[]);
    let folder = Folder::new("supervisors");
    let server = server(&folder);
    fs::create_dir_all(folder.join("forever/bin")).expect("the folder is ours");
    for (name, words, kind, stop) in [
        ("nodemon", &[][..], "watcher", "kill PARENT"),
        ("node", &["--watch"], "watcher", "kill PARENT"),
        ("forever/bin/monitor", &[], "forever", "forever stop CHILD"),
        (
            "supervise-daemon",
            &["web"],
            "openrc",
            "rc-service web stop",
        ),
        (
            "monit",
            &["-c", "/etc/x"],
            "monit",
            "monit -c /etc/x stop web",
        ),
        // The controls.
        ("node", &[], "", ""),
        ("starter", &["web"], "", ""),
    ] {
        own_network();
        // monit's services are not below it.
        let apart: &[&str] = match name {
            "monit" | "starter" => &["/usr/bin/setsid", "-f"],
            _ => &[],
        };
        let running = Program::new(folder.copy(&starter, name))
            .with("MONIT_SERVICE", "web")
            .arguments(words)
            .argument("--")
            .arguments(apart)
            .arguments([&server, "5000"])
            .start();
        let child = holder(5000).to_string();
        let manager = status(5000)["sockets"][0]["holders"][0]["manager"].take();
        assert_eq!(manager["kind"].as_str().unwrap_or_default(), kind, "{name}");
        let stop = stop.replace("PARENT", &running.pid().to_string());
        let stop = stop.replace("CHILD", &child);
        assert_eq!(manager["stop"].as_str().unwrap_or_default(), stop, "{name}");
        if kind == "watcher" {
            let finished = reuseaddr(["free", "--yes", "5000"]).run();
            assert_eq!(code(&finished), 0, "{finished:#?}");
            assert_says(&finished.stdout, "may start it again when a file changes");
        } else {
            // SAFETY: kill takes any numbers.
            unsafe { libc::kill(child.parse().expect("a pid"), libc::SIGKILL) };
        }
        running.kill();
    }
}
