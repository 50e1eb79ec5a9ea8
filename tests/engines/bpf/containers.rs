//! Containers that nobody may touch: a static server on the host's network, in a read-only root,
//! for uid 65534 without a capability and with `no_new_privs`.

use super::who::{are_in_the_manual, row, traced};
use super::{Machine, WATCHING, attach, bpf, watch};
use crate::wait_until_accepted;
use serde_json::{Value, json};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::PoisonError;
use support::{
    Folder, Program, TcpState, compile_c, in_one_line, own_network, reuseaddr, shim, succeed,
    wait_for,
};

/// A program that may not be here; then the test is skipped.
fn found(name: &str) -> Option<PathBuf> {
    let path = ["/usr/sbin", "/usr/bin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.exists());
    if path.is_none() {
        eprintln!("skipped: {name} is not installed");
    }
    path
}

/// A root directory with nothing in it but the server.
fn root(folder: &Folder) -> PathBuf {
    let root = folder.join("root");
    for place in ["proc", "sys", "dev", "etc", "run", "tmp"] {
        fs::create_dir_all(root.join(place)).expect("the folder is ours");
    }
    let server = compile_c("contained", include_str!("server.c"), &["-static"]);
    folder.copy(server, "root/server");
    root
}

/// The port that the container's second run gets. The first is killed from within, as by a crash;
/// `kill` is what does it.
fn second(container: &Program, kill: &Program) -> String {
    own_network();
    let mut first = container.start();
    let port: u16 = first.line().parse().expect("a port");
    let client = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    wait_for(port, TcpState::Established, 1);
    wait_until_accepted(port);
    let _ = kill.run();
    let _ = first.finish();
    wait_for(port, TcpState::FinWait2, 1);
    drop(client);
    wait_for(port, TcpState::FinWait2, 0);
    let mut last = container.start();
    let line = last.line();
    let _ = kill.run();
    let _ = last.finish();
    line
}

/// An OCI bundle in a group, with this hook.
fn bundle(folder: &Folder, runc: &Path, name: &str, group: &str, hook: Option<Value>) -> PathBuf {
    let place = folder.join(name);
    fs::create_dir(&place).expect("the folder is ours");
    succeed(Command::new(runc).arg("spec").current_dir(&place));
    let file = place.join("config.json");
    let text = fs::read_to_string(&file).expect("runc has written it");
    let mut config: Value = serde_json::from_str(&text).expect("it is JSON");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/server"]);
    config["process"]["user"] = json!({"uid": 65534, "gid": 65534});
    config["process"]["noNewPrivileges"] = json!(true);
    config["process"]["capabilities"] = json!({});
    config["process"]["rlimits"] = json!([]);
    config["root"] = json!({"path": root(folder), "readonly": true});
    config["linux"]["cgroupsPath"] = json!(format!("{group}/{name}"));
    let namespaces = config["linux"]["namespaces"].as_array_mut();
    namespaces
        .expect("an array")
        .retain(|namespace| namespace["type"] != "network");
    if let Some(hook) = hook {
        config["hooks"] = json!({"createRuntime": [hook]});
    }
    fs::write(&file, config.to_string()).expect("the folder is ours");
    place
}

#[test]
fn serves_a_container_from_its_parent_and_by_the_hook() {
    let Some(runc) = found("runc") else { return };
    let Some(mut machine) = Machine::with(true) else {
        return;
    };
    let folder = Folder::for_other_users("bpf-runc");
    let hook = json!({"path": reuseaddr(), "args": ["reuseaddr", "bpf", "oci"]});
    let library = folder.copy(shim(), "libreuse.so");
    let mut ports = Vec::new();
    for name in ["nothing", "preload", "trace", "parent", "hooked"] {
        let group = machine.group(name);
        if name == "parent" {
            assert!(attach(&group).run().status.success());
        }
        let hook = Some(&hook).filter(|_| name == "hooked").cloned();
        let bundle = bundle(&folder, &runc, name, &group, hook);
        let run = |arguments: &[&str]| {
            Program::new(&runc)
                .argument("--root")
                .argument(folder.join("state"))
                .arguments(arguments)
        };
        let container = run(&["run", "--bundle"]).argument(bundle).argument(name);
        let container = match name {
            "preload" => container.with("LD_PRELOAD", &library),
            "trace" => traced(&container),
            _ => container,
        };
        let kill = run(&["kill", name, "KILL"]);
        ports.push(second(&container, &kill));
    }
    let hooked = ports.pop();
    assert_eq!(hooked.as_deref(), Some("49200"), "{ports:?}");
    are_in_the_manual(&[row("a container from outside", &ports)]);
}

/// Podman with its files in a folder of the test's.
fn by_podman(podman: &Path, folder: &Folder, options: &[&str]) -> Program {
    Program::new(podman)
        .arguments(["--runtime", "runc", "--cgroup-manager", "cgroupfs"])
        .argument("--root")
        .argument(folder.join("store"))
        .argument("--runroot")
        .argument(folder.join("state"))
        .arguments(options)
        .with("HOME", folder.path())
}

/// A container of Podman's with the name `web`, on the host's network.
fn podman_runs(
    podman: &Path,
    folder: &Folder,
    options: &[&str],
    asks: &[&str],
    root: &Path,
) -> Program {
    by_podman(podman, folder, options)
        .arguments(["run", "--rm", "--name", "web"])
        .arguments(asks)
        .arguments(["--network", "host", "--read-only", "--user", "65534"])
        .arguments(["--cap-drop", "ALL", "--security-opt", "no-new-privileges"])
        .arguments(["--ulimit", "nofile=1024:1024"])
        .arguments(["--ulimit", "nproc=1024:1024"])
        .arguments(["--pids-limit", "0", "--log-driver", "none", "--rootfs"])
        .argument(root)
        .argument("/server")
}

#[test]
fn podman_calls_the_hook_for_what_asks_for_it() {
    let Some(podman) = found("podman") else {
        return;
    };
    let Some(_machine) = Machine::with(true) else {
        return;
    };
    let folder = Folder::for_other_users("bpf-podman");
    let root = root(&folder);
    let hooks = folder.join("hooks");
    fs::create_dir(&hooks).expect("the folder is ours");
    let mut hook: Value = serde_json::from_str(&bpf(["hook"]).output()).expect("it is JSON");
    hook["hook"]["path"] = json!(reuseaddr());
    fs::write(hooks.join("50-libreuse.json"), hook.to_string()).expect("the folder is ours");
    for (annotation, expected) in [("libreuse.bpf=off", "49201"), ("libreuse.bpf=on", "49200")] {
        let options = ["--hooks-dir", hooks.to_str().expect("it is ours")];
        let asks = ["--annotation", annotation];
        let container = podman_runs(&podman, &folder, &options, &asks, &root);
        let kill =
            by_podman(&podman, &folder, &options).arguments(["kill", "--signal", "KILL", "web"]);
        assert_eq!(second(&container, &kill), expected, "{annotation}");
    }
}

/// The server's first port is taken by somebody who listens, in the container and, as the control,
/// beside it.
#[test]
fn watch_names_the_container_whose_program_cannot_bind() {
    let Some(podman) = found("podman") else {
        return;
    };
    let Some(_machine) = Machine::with(true) else {
        return;
    };
    let _alone = WATCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Folder::for_other_users("watch-podman");
    let root = root(&folder);
    let _live = TcpListener::bind(("127.0.0.1", 49200)).expect("the network is ours");
    let mut watch = watch("49200");
    let mut reported = |first: &str| {
        let line = loop {
            let line = watch.line();
            // It sees the whole machine, and so other tests with this port.
            if line.contains(first) && line.contains("can't bind 127.0.0.1:49200") {
                break line;
            }
        };
        line[..line.find("can't").expect("it is there")].to_owned()
    };

    let mut container = podman_runs(&podman, &folder, &[], &[], &root).start();
    assert_eq!(container.line(), "49201");
    let id = by_podman(&podman, &folder, &[])
        .arguments(["ps", "--quiet", "--no-trunc"])
        .output();
    let line = reported(&format!("podman {}: server (pid ", &id[..12]));
    assert!(line.contains(", user nobody"), "{line}");
    let kill = by_podman(&podman, &folder, &[]).arguments(["kill", "--signal", "KILL", "web"]);
    assert!(kill.run().status.success());
    let _ = container.finish();

    let mut outside = Program::new(root.join("server")).start();
    assert_eq!(outside.line(), "49201");
    let line = reported(&format!(" server (pid {})", outside.pid()));
    assert!(!line.contains("podman"), "{line}");
}

/// A container with the command and its libraries in it, as the engine gives it to everybody, and
/// with more and more rights.
#[test]
fn says_from_within_a_container_what_it_lacks() {
    let Some(podman) = found("podman") else {
        return;
    };
    let Some(_machine) = Machine::with(true) else {
        return;
    };
    let folder = Folder::for_other_users("bpf-within");
    for place in ["proc", "sys", "dev", "etc", "run", "tmp", "root", "command"] {
        fs::create_dir_all(folder.join("within").join(place)).expect("the folder is ours");
    }
    folder.copy(reuseaddr(), "within/command/reuseaddr");
    let of_the_host = ["/bin", "/lib", "/lib64", "/usr"];
    let volumes = of_the_host
        .into_iter()
        .filter(|place| Path::new(place).exists())
        .flat_map(|place| ["--volume".to_owned(), format!("{place}:{place}:ro")]);
    let volumes: Vec<String> = volumes.collect();
    let within = |rights: &[&str], arguments: &[&str]| {
        by_podman(&podman, &folder, &[])
            .arguments(["run", "--rm", "--network", "host", "--log-driver", "none"])
            .arguments([
                "--ulimit",
                "nofile=1024:1024",
                "--ulimit",
                "nproc=1024:1024",
            ])
            .arguments(["--pids-limit", "0"])
            .arguments(rights)
            .arguments(&volumes)
            .argument("--rootfs")
            .argument(folder.join("within"))
            .argument("/command/reuseaddr")
            .arguments(arguments)
            .run()
    };
    let more = ["--cap-add", "BPF,NET_ADMIN,SYS_ADMIN"];
    let attach = ["bpf", "attach", "--cgroup", "/"];
    let run = ["run", "--engine", "bpf", "--", "echo", "started"];
    let rights = "root may not use bpf(2) here: CAP_BPF and CAP_NET_ADMIN are missing, or a \
                  seccomp filter forbids it";
    let place = "the place is mounted read-only, as in containers";
    for (options, asks, status, lacks) in [
        (&[][..], &attach[..], 2, rights),
        (&[], &run, 125, rights),
        (&more, &attach, 2, place),
        (&more, &run, 125, place),
    ] {
        let said = within(options, asks);
        assert_eq!(said.status.code(), Some(status), "{said:#?}");
        let text = in_one_line(&said.stderr);
        assert!(text.starts_with("reuseaddr: bpf: "), "{said:#?}");
        let types =
            "On the container's host, `sudo /command/reuseaddr bpf attach --container NAME` prints";
        assert!(text.contains(lacks) && text.contains(types), "{said:#?}");
    }
    let said = within(&["--privileged"], &["watch"]);
    assert_eq!(said.status.code(), Some(2), "{said:#?}");
    let types = "which this is not, as in containers. On the host: `sudo /command/reuseaddr watch`";
    assert!(in_one_line(&said.stderr).contains(types), "{said:#?}");
    // The control: with all rights it is attached, and the program starts.
    for asks in [&attach[..], &run] {
        let said = within(&["--privileged"], asks);
        assert!(said.status.success(), "{said:#?}");
    }
}
