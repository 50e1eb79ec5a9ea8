//! Containers: the one that a process is in, and the one for which a process of the engine holds a
//! port on the host. The engine is asked by its socket, or else by its command.

use super::Manager;
use crate::process::cgroup::{self, is_id};
use crate::process::holders::Holder;
use crate::process::run::output_of;
use log::debug;
use rustix::process::geteuid;
use serde_json::Value;
use std::env;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// A container, as far as it is known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ContainerRef {
    /// The name that its engine has for it.
    name: Option<String>,
    id: Option<String>,
    /// Whose engine runs it, if that is not the system's.
    pub(super) uid: Option<u32>,
    restart: Option<String>,
    /// The port for which a process of its engine was found; none of a process that is in it.
    port: Option<u16>,
}

impl ContainerRef {
    /// The argument for its engine's commands.
    pub(super) fn to_type(&self) -> String {
        self.name
            .clone()
            .or_else(|| self.id.as_deref().map(short_id))
            .unwrap_or_default()
    }

    /// Its name and short id: `web (3f4e1c9a2b7d)`.
    pub(super) fn short(&self) -> String {
        match (&self.name, &self.id) {
            (Some(name), Some(id)) if *name != *id => format!("{name} ({})", short_id(id)),
            (Some(name), _) => name.clone(),
            (None, Some(id)) => short_id(id),
            (None, None) => String::new(),
        }
    }

    pub(super) fn is_known(&self) -> bool {
        self.name.is_some() || self.id.is_some()
    }

    /// Its restart policy, if it has one.
    pub(super) fn restart(&self) -> Option<&str> {
        self.restart.as_deref()
    }

    /// The port that it publishes, if that is how it was found.
    pub(super) fn port(&self) -> Option<u16> {
        self.port
    }
}

/// The short id that the engines' tools show.
fn short_id(id: &str) -> String {
    let short = id.get(..12).filter(|_| is_id(id));
    short.unwrap_or(id).to_owned()
}

/// The manager of what is in a container, by its control group.
pub(super) fn of(container: &cgroup::Container, uid: Option<u32>) -> Manager {
    let mut name = ContainerRef {
        id: Some(container.id.clone()),
        ..ContainerRef::default()
    };
    match container.runtime {
        "docker" => {
            ContainerEngine::Docker.complete(&mut name);
            Manager::Docker(name)
        }
        "podman" => {
            // A rootless container's processes are its user's, or of one of that user's subordinate
            // ids.
            name.uid = uid.filter(|&uid| uid != 0 && uid < FIRST_SUBORDINATE);
            ContainerEngine::Podman.complete(&mut name);
            Manager::Podman(name)
        }
        "lxc" => Manager::Lxc(name),
        "machine" => Manager::Machined(name),
        _ => Manager::Cri(name),
    }
}

/// The first subordinate id of useradd(8) (login.defs(5), `SUB_UID_MIN`).
const FIRST_SUBORDINATE: u32 = 100_000;

/// An engine whose own processes hold ports for containers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ContainerEngine {
    Docker,
    Podman,
    Cri,
}

/// The programs that hold a port on the host for a container, and whose they are.
const PUBLISHERS: [(&str, ContainerEngine); 19] = [
    ("docker-proxy", ContainerEngine::Docker),
    ("dockerd", ContainerEngine::Docker),
    ("dockerd-rootless", ContainerEngine::Docker),
    ("rootlesskit", ContainerEngine::Docker),
    ("vpnkit", ContainerEngine::Docker),
    ("com.docker.backend", ContainerEngine::Docker),
    ("rootlessport", ContainerEngine::Podman),
    ("rootlessport-child", ContainerEngine::Podman),
    ("pasta", ContainerEngine::Podman),
    ("passt", ContainerEngine::Podman),
    ("slirp4netns", ContainerEngine::Podman),
    ("gvproxy", ContainerEngine::Podman),
    ("netavark", ContainerEngine::Podman),
    ("conmon", ContainerEngine::Podman),
    ("conmonrs", ContainerEngine::Podman),
    ("podman", ContainerEngine::Podman),
    ("containerd", ContainerEngine::Cri),
    ("containerd-shim-runc-v2", ContainerEngine::Cri),
    ("crio", ContainerEngine::Cri),
];

impl ContainerEngine {
    /// The engine for whose container a process holds a port, by the name that it shows, of its
    /// file, or as which it was started.
    pub(super) fn publishing(holder: &Holder) -> Option<Self> {
        let who = &holder.info;
        let started_as = who.command_line.first().map(String::as_str);
        let names = [Some(&*holder.name), who.executable.as_deref(), started_as];
        names.into_iter().flatten().find_map(|name| {
            let name = name.rsplit('/').next().unwrap_or(name);
            // passt has a file for each kind of processor: `pasta.avx2`.
            let name = name.strip_suffix(".avx2").unwrap_or(name);
            PUBLISHERS
                .iter()
                // As much as the kernel keeps of a name (TASK_COMM_LEN).
                .find(|(publisher, _)| {
                    name == *publisher || (name.len() == 15 && publisher.starts_with(name))
                })
                .map(|&(_, engine)| engine)
        })
    }

    /// The container for which a process holds one of these ports.
    pub(super) fn container_on(self, holder: &Holder, ports: &[u16]) -> Manager {
        let uid = holder.info.uid.filter(|&uid| uid != 0);
        let mut name = ContainerRef {
            uid,
            port: ports.first().copied(),
            ..ContainerRef::default()
        };
        let words = &holder.info.command_line;
        let after = |option: &str| {
            let position = words.iter().position(|word| word == option)?;
            words.get(position + 1).cloned()
        };
        let mut engine = self;
        if words.iter().any(|word| word.contains("/crio/")) {
            engine = Self::Cri;
        }
        // conmon(8) is started with the container's id and name.
        if holder.name.starts_with("conmon") {
            name.id = after("-c")
                .or_else(|| after("--cid"))
                .filter(|id| is_id(id));
            name.name = after("-n").or_else(|| after("--name"));
        }
        if name.is_known() {
            engine.complete(&mut name);
        } else if let Some(found) = ports
            .iter()
            .find_map(|&port| engine.publisher_of(port, uid))
        {
            name = ContainerRef {
                uid,
                port: name.port,
                ..found
            };
        }
        match engine {
            Self::Docker => Manager::Docker(name),
            Self::Podman => Manager::Podman(name),
            Self::Cri => Manager::Cri(name),
        }
    }

    fn command(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Cri => "crictl",
        }
    }

    /// Asks the engine for what is not known of a container yet.
    fn complete(self, name: &mut ContainerRef) {
        let key = name.to_type();
        if self == Self::Cri || key.is_empty() {
            return;
        }
        let about = self
            .get(&format!("/containers/{key}/json"), name.uid)
            .map(|answer| {
                let name = answer["Name"].as_str().map(ToOwned::to_owned);
                let policy = &answer["HostConfig"]["RestartPolicy"]["Name"];
                (name, policy.as_str().map(ToOwned::to_owned))
            })
            .or_else(|| {
                let format = "{{.Name}} {{.HostConfig.RestartPolicy.Name}}";
                let text = self.run(&["inspect", "--format", format, &key], name.uid)?;
                let mut words = text.split_whitespace().map(ToOwned::to_owned);
                Some((words.next(), words.next()))
            });
        if let Some((known_as, policy)) = about {
            let known_as = known_as.map(|name| name.trim_start_matches('/').to_owned());
            name.name = known_as
                .filter(|name| !name.is_empty())
                .or(name.name.take());
            name.restart = policy.filter(|policy| !matches!(policy.as_str(), "" | "no"));
        }
    }

    /// The container that publishes a port.
    fn publisher_of(self, port: u16, uid: Option<u32>) -> Option<ContainerRef> {
        let mut name = self
            .get("/containers/json", uid)
            .and_then(|answer| named_by_socket(&answer, port))
            .or_else(|| self.named_by_command(port, uid))?;
        self.complete(&mut name);
        Some(name)
    }

    fn named_by_command(self, port: u16, uid: Option<u32>) -> Option<ContainerRef> {
        let text = match self {
            Self::Docker => self.run(
                &[
                    "ps",
                    "--filter",
                    &format!("publish={port}"),
                    "--format",
                    "{{.Names}}",
                ],
                uid,
            )?,
            Self::Podman => {
                let text = self.run(&["ps", "--format", "{{.Names}} {{.Ports}}"], uid)?;
                text.lines().find(|line| publishes(line, port))?.to_owned()
            }
            Self::Cri => return None,
        };
        let name = text.lines().next()?.split_whitespace().next()?;
        Some(ContainerRef {
            name: Some(name.to_owned()),
            ..ContainerRef::default()
        })
    }

    /// Runs the engine's command, if there is one and the engine is ours.
    fn run(self, arguments: &[&str], uid: Option<u32>) -> Option<String> {
        if uid.is_some_and(|uid| uid != geteuid().as_raw() && uid != 0) {
            return None;
        }
        output_of(self.command(), arguments)
    }

    /// The paths of the engine's socket, the user's first.
    fn sockets(self, uid: Option<u32>) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        let variable = match self {
            Self::Docker => "DOCKER_HOST",
            Self::Podman => "CONTAINER_HOST",
            Self::Cri => return paths,
        };
        if let Some(path) = env::var(variable)
            .ok()
            .as_deref()
            .and_then(|host| host.strip_prefix("unix://"))
        {
            paths.push(path.into());
        }
        let file = match self {
            Self::Podman => "podman/podman.sock",
            _ => "docker.sock",
        };
        if let Some(uid) = uid {
            paths.push(format!("/run/user/{uid}/{file}").into());
        }
        paths.push(format!("/run/{file}").into());
        paths
    }

    /// Asks the engine's API (docs.docker.com/engine/api, which podman has as well).
    fn get(self, path: &str, uid: Option<u32>) -> Option<Value> {
        const PATIENCE: Duration = Duration::from_secs(2);
        self.sockets(uid).iter().find_map(|socket| {
            let mut stream = UnixStream::connect(socket).ok()?;
            debug!("{}: GET {path}", socket.display());
            stream.set_read_timeout(Some(PATIENCE)).ok()?;
            stream.set_write_timeout(Some(PATIENCE)).ok()?;
            // The first version ends an answer by closing the connection.
            let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).ok()?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).ok()?;
            let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
            let is_good = answer.split(|&byte| byte == b' ').nth(1) == Some(b"200");
            is_good.then(|| serde_json::from_slice(answer.get(body..)?).ok())?
        })
    }
}

/// The container that publishes a port, of an answer to `/containers/json`.
fn named_by_socket(answer: &Value, port: u16) -> Option<ContainerRef> {
    let container = answer.as_array()?.iter().find(|container| {
        container["Ports"].as_array().is_some_and(|ports| {
            ports
                .iter()
                .any(|published| published["PublicPort"].as_u64() == Some(port.into()))
        })
    })?;
    let name = container["Names"][0].as_str();
    Some(ContainerRef {
        name: name.map(|name| name.trim_start_matches('/').to_owned()),
        id: container["Id"].as_str().map(ToOwned::to_owned),
        ..ContainerRef::default()
    })
}

/// Whether a line of `podman ps` has a port: `web 0.0.0.0:8080->80/tcp,
/// 0.0.0.0:9000-9002->9000-9002/tcp`.
fn publishes(line: &str, port: u16) -> bool {
    line.split_whitespace()
        .filter_map(|word| word.split_once("->"))
        .filter_map(|(host, _)| host.rsplit(':').next())
        .any(|ports| {
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            match (first.parse::<u16>(), last.parse::<u16>()) {
                (Ok(first), Ok(last)) => (first..=last).contains(&port),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_the_container_that_publishes_a_port() {
        let answer = json!([
            {"Id": "aa", "Names": ["/db"], "Ports": [{"PrivatePort": 5432, "Type": "tcp"}]},
            {"Id": "bb", "Names": ["/web"], "Ports": [{"PrivatePort": 80, "PublicPort": 8080}]},
        ]);
        assert_eq!(named_by_socket(&answer, 8080).unwrap().to_type(), "web");
        assert_eq!(named_by_socket(&answer, 5432), None);
        for (line, port, expected) in [
            ("web 0.0.0.0:8080->80/tcp", 8080, true),
            ("web 0.0.0.0:8080->80/tcp", 80, false),
            (
                "web [::]:9000-9002->9000-9002/tcp, 1.2.3.4:1->1/udp",
                9001,
                true,
            ),
            ("web", 80, false),
        ] {
            assert_eq!(publishes(line, port), expected, "{line}");
        }
    }
}
