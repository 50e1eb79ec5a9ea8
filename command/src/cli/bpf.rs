//! Attaches the engine `bpf` to control groups, detaches it, and shows where it is.

mod status;

use super::{exit, options};
use crate::engine::bpf::hierarchy::Hierarchy;
use crate::engine::bpf::instance;
use crate::engine::bpf::oci::{self, Hook};
use crate::engine::bpf::record::{self, Record, Turn};
use crate::engine::bpf::{own, pins, place, selftest, start};
use crate::output::{self, count};
use crate::port::port_list::{self, PortList, spelled};
use crate::process::unit::NamedUnit;
use crate::systemd::command::Lasting;
use anyhow::{Context, Result};
use log::{debug, info};
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::Path;

/// Let whole services and containers bind their ports again, by BPF programs
#[derive(Debug, clap::Args)]
#[command(
    after_help = "For what neither the library nor a tracer can enter: setuid programs, io_uring, \
                  containers. It takes root, Linux 6.1 and cgroup v2.\n\
                  Example: sudo reuseaddr bpf attach --unit myd.service"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Attach(Attach),
    Detach(Detach),
    Status(status::Arguments),
    Hook(HookArguments),
    /// Attaches for the container whose state is on stdin
    #[command(name = oci::HOOK, hide = true)]
    Oci,
    /// Has the kernel tested by a child
    #[command(name = selftest::CHILD, hide = true)]
    SelfTest,
}

/// Attach the BPF programs to a control group: they handle every later bind and listen, and arm
/// what listens now
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("where").required(true),
    override_usage = "reuseaddr bpf attach [OPTIONS] <--unit <NAME>|--cgroup <PATH>|...>"
)]
struct Attach {
    #[command(flatten)]
    target: Group,

    /// Serve only these ports: 80,443,8000-8100
    #[arg(long, value_name = "LIST")]
    ports: Option<PortList>,
}

/// Detach the BPF programs from a control group, or from all
#[derive(Debug, clap::Args)]
#[command(
    mut_arg("container", |it| it.help("The control group of this container")),
    group = clap::ArgGroup::new("where").required(true),
    override_usage = "reuseaddr bpf detach [OPTIONS] <--unit <NAME>|--cgroup <PATH>|...>"
)]
struct Detach {
    #[command(flatten)]
    target: Group,

    /// From all control groups; nothing of ours is left in the kernel
    #[arg(long, group = "where")]
    all: bool,
}

/// Print or install an OCI hook: Podman and CRI-O then attach for each container that has the
/// annotation libreuse.bpf=on
#[derive(Debug, clap::Args)]
struct HookArguments {
    /// Write it to /etc/containers/oci/hooks.d
    #[arg(long, group = "action")]
    install: bool,

    /// Remove what --install wrote
    #[arg(long, group = "action")]
    remove: bool,
}

/// Which control group.
#[derive(Debug, clap::Args)]
struct Group {
    /// A service or scope that runs, or a slice: `myd`, `srv@a.service`, `system.slice`
    #[arg(long, group = "where", value_name = "NAME", allow_hyphen_values = true)]
    unit: Option<String>,

    /// Refused, since this group goes when the container stops; prints the command for its parent
    /// group
    #[arg(long, group = "where", value_name = "NAME")]
    container: Option<String>,

    /// A control group by its path: `/docker`, `/sys/fs/cgroup/docker`, `./docker`
    #[arg(long, group = "where", value_name = "PATH")]
    cgroup: Option<OsString>,

    /// The control group of this process
    #[arg(long, group = "where", value_name = "PID", value_parser = options::pid)]
    pid: Option<u32>,

    /// The control group of the service that runs this command, for ExecStartPre=
    #[arg(long = "self", group = "where")]
    own: bool,
}

impl Group {
    /// The unit, if one was named.
    fn unit(&self) -> Result<Option<NamedUnit>> {
        self.unit.as_deref().map(place::unit).transpose()
    }

    fn group(&self, hierarchy: &Hierarchy, unit: Option<&NamedUnit>) -> Result<String> {
        if let Some(unit) = unit {
            place::of_unit(hierarchy, unit)
        } else if let Some(container) = &self.container {
            place::of_container(hierarchy, container)
        } else if let Some(path) = &self.cgroup {
            hierarchy.group(Path::new(path))
        } else if let Some(pid) = self.pid {
            Hierarchy::of_process(pid)
        } else {
            Hierarchy::own_unit()
        }
    }

    /// A group that has an instance and is not there now, by its name alone.
    fn remembered(&self, hierarchy: &Hierarchy, unit: Option<&NamedUnit>) -> Option<String> {
        if let Some(unit) = unit {
            return place::remembered(unit);
        }
        let name = hierarchy.name(Path::new(self.cgroup.as_ref()?));
        let is_it = |record: &Record| record.group == name;
        record::all().iter().any(is_it).then_some(name)
    }
}

/// Answers `reuseaddr bpf`.
pub(crate) fn run(arguments: &Arguments) -> Result<u8> {
    match &arguments.verb {
        Verb::Attach(attach) => self::attach(attach),
        Verb::Detach(detach) => self::detach(detach),
        Verb::Status(arguments) => status::run(arguments),
        Verb::Hook(arguments) => hook(arguments),
        Verb::Oci => Ok(oci()),
        Verb::SelfTest => selftest::child(),
    }
    .context("bpf")
}

fn attach(arguments: &Attach) -> Result<u8> {
    let hierarchy = Hierarchy::find()?;
    let unit = arguments.target.unit()?;
    let group = arguments.target.group(&hierarchy, unit.as_ref())?;
    // What is in a container from its start on has its own group, and so has whoever starts from in
    // there.
    if !arguments.target.own {
        place::refuse_a_containers_own(&group)?;
    }
    let ports = arguments
        .ports
        .as_ref()
        .map(|list| port_list::tcp(std::slice::from_ref(list)))
        .transpose()?;
    let allowed = |port: u16| {
        ports
            .as_ref()
            .is_none_or(|ports| ports.binary_search(&port).is_ok())
    };
    let (instance, seeded) =
        start::attach(&hierarchy, &group, allowed, ports.as_deref().map(spelled))?;
    for why in &seeded.unarmed {
        output::warn(why);
    }
    let served = instance.ports.served();
    let mut words = vec![if instance.changed {
        format!("bpf: attached at {group}")
    } else {
        format!("bpf: attached at {group} already")
    }];
    if seeded.armed > 0 {
        words.push(count(seeded.armed, "listener armed", "listeners armed"));
    }
    words.push(match served.as_slice() {
        [] => "every port from its second start on".into(),
        served => format!(
            "{} from now on, others from their second start on",
            ports_in_words(served)
        ),
    });
    let said = words.join("; ");
    if arguments.target.own {
        // This is printed at each start of a service, whose log may have what is written to stderr.
        info!("{said}");
    } else {
        output::info(&said);
    }
    if let Some(how) = unit.and_then(|unit| place::for_later_starts(&unit, &group)) {
        output::info(&how);
    }
    Ok(exit::YES)
}

/// `port 80`, `ports 80, 443`, and no more than a line of them.
fn ports_in_words(ports: &[u16]) -> String {
    const LONGEST: usize = 60;
    let spelled = spelled(ports);
    match ports {
        [_] => format!("port {spelled}"),
        _ if spelled.len() <= LONGEST => format!("ports {spelled}"),
        _ => count(ports.len(), "port", "ports"),
    }
}

fn detach(arguments: &Detach) -> Result<u8> {
    let hierarchy = Hierarchy::find()?;
    instance::may_query(&hierarchy)?;
    if arguments.all {
        return detach_all(&hierarchy);
    }
    let unit = arguments.target.unit()?;
    let group = match arguments.target.group(&hierarchy, unit.as_ref()) {
        Ok(group) => group,
        Err(error) => match (arguments.target.remembered(&hierarchy, unit.as_ref()), unit) {
            (Some(group), _) => group,
            (None, Some(unit)) if unit.exists != Some(false) => {
                debug!("{error:#}");
                output::info(&format!("bpf: libreuse was not attached at {}", unit.name));
                return Ok(exit::NO);
            }
            _ => return Err(error),
        },
    };
    let turn = Turn::take()?;
    let remembered = record::all().iter().any(|record| record.group == group);
    turn.prune(&hierarchy)?;
    let number = if hierarchy.folder(&group).exists() {
        instance::detach(&hierarchy, &group)?
    } else {
        0
    };
    pins::remove(&group)?;
    turn.remove(&group)?;
    turn.remove_unused(&hierarchy)?;
    if number == 0 && !remembered {
        output::info(&format!("bpf: libreuse was not attached at {group}"));
        return Ok(exit::NO);
    }
    output::info(&format!("bpf: detached from {group}"));
    Ok(exit::YES)
}

/// Detaches them from every control group, and removes what remembers them.
pub(super) fn detach_all(hierarchy: &Hierarchy) -> Result<u8> {
    let turn = Turn::take()?;
    let mut groups = 0;
    for group in hierarchy.all() {
        match instance::detach(hierarchy, &group) {
            Ok(0) => {}
            Ok(_) => groups += 1,
            // It has gone meanwhile, and with it what was attached.
            Err(error) if !hierarchy.folder(&group).exists() => debug!("{error:#}"),
            Err(error) => return Err(error),
        }
        for prefix in [own::RUN, own::TEST] {
            own::remove_empty(hierarchy, &group, prefix);
        }
    }
    pins::remove_all()?;
    turn.remove_all()?;
    output::info(&format!(
        "bpf: detached from {}; nothing is left",
        count(groups, "control group", "control groups")
    ));
    Ok(exit::YES)
}

fn hook(arguments: &HookArguments) -> Result<u8> {
    let file = Path::new(oci::FOLDER).join(oci::FILE);
    if arguments.remove {
        fs::remove_file(&file).with_context(|| format!("{} can't be removed", file.display()))?;
        output::info(&format!("{} is removed.", file.display()));
        return Ok(exit::YES);
    }
    let command = Lasting::find(false)?;
    let hook = Hook::by(&command.path);
    if !arguments.install {
        output::print_json(&hook, output::json::USUAL)?;
        output::info(&format!(
            "This would be {}. To write it{}:\n    sudo reuseaddr bpf hook --install",
            file.display(),
            if command.is_copied() {
                ", and to copy this command to a place where it stays"
            } else {
                ""
            }
        ));
        return Ok(exit::YES);
    }
    command.put()?;
    let text = serde_json::to_string_pretty(&hook)? + "\n";
    fs::create_dir_all(oci::FOLDER)
        .and_then(|()| fs::write(&file, text))
        .with_context(|| format!("{} can't be written", file.display()))?;
    output::info(&format!(
        "{} is written. A container asks for it by an annotation:\n    \
         podman run --annotation libreuse.bpf=on IMAGE",
        file.display()
    ));
    Ok(exit::YES)
}

/// The hook itself. A runtime starts no container whose hook fails, so this one never does.
fn oci() -> u8 {
    let mut state = String::new();
    let read = std::io::stdin()
        .read_to_string(&mut state)
        .map_err(anyhow::Error::from);
    if let Err(error) = read.and_then(|_| oci::attach(&state)) {
        output::error(&format!("bpf: {error:#}"));
    }
    exit::YES
}
