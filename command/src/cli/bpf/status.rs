//! Shows where the engine `bpf` is attached, and which ports it serves there.

use crate::cli::{exit, options};
use crate::engine::bpf::hierarchy::Hierarchy;
use crate::engine::bpf::instance::{self, Life};
use crate::engine::bpf::maps::Ports;
use crate::engine::bpf::pins;
use crate::engine::bpf::record::{self, Record};
use crate::output::{self, paragraph};
use crate::port::port_list::spelled;
use anyhow::Result;
use rustix::process::geteuid;
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::fd::AsFd;

/// Show the control groups that have the programs, and the ports that are served
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    format: options::Format,
}

/// The output of `status --json`.
#[derive(Debug, Serialize)]
struct BpfOutput {
    /// Whether the kernel could be asked, which takes root. What others are told is what was
    /// attached, and not what is.
    asked_the_kernel: bool,
    instances: Vec<Instance>,
}

#[derive(Debug, Serialize)]
struct Instance {
    cgroup: String,
    /// `attached`, `incomplete`, or `waiting` for the next group of that name.
    state: &'static str,
    /// Whether its ports are remembered when the group goes.
    lasting: bool,
    /// The ports that are served, if not all are.
    only_ports: Option<String>,
    /// The ports that get their flag at `bind`; unknown unless the kernel was asked.
    served_ports: Option<String>,
}

/// Answers `reuseaddr bpf status`.
pub(super) fn run(arguments: &Arguments) -> Result<u8> {
    let hierarchy = Hierarchy::find()?;
    let mut records: BTreeMap<String, Record> = record::all()
        .into_iter()
        .map(|record| (record.group.clone(), record))
        .collect();
    let may_query = geteuid().is_root() && instance::may_query(&hierarchy).is_ok();
    let mut instances = BTreeMap::new();
    if may_query {
        for group in pins::groups() {
            let record = || Record::new(&group, Life::Lasting, None);
            records.entry(group.clone()).or_insert_with(record);
        }
        for group in hierarchy.all() {
            let is_lasting = records.get(&group).is_some_and(|record| record.lasting);
            if let Some(instance) = attached(&hierarchy, &group, is_lasting)? {
                instances.insert(group, instance);
            }
        }
    }
    for (group, record) in records {
        let is_there = hierarchy.folder(&group).exists();
        if !record.lasting && !is_there {
            continue;
        }
        instances.entry(group.clone()).or_insert_with(|| Instance {
            cgroup: group,
            state: if is_there && !may_query {
                "attached"
            } else {
                "waiting"
            },
            lasting: record.lasting,
            only_ports: record.ports,
            served_ports: None,
        });
    }
    let answer = BpfOutput {
        asked_the_kernel: may_query,
        instances: instances.into_values().collect(),
    };
    if arguments.format.json {
        output::print_json(&answer, output::json::USUAL)?;
    } else {
        output::print(&text(&answer))?;
    }
    Ok(if answer.instances.is_empty() {
        exit::NO
    } else {
        exit::YES
    })
}

/// Asks the kernel about the instance of a group; `None` if there is none.
fn attached(hierarchy: &Hierarchy, group: &str, lasting: bool) -> Result<Option<Instance>> {
    const PROGRAMS: usize = 6;
    let Ok(folder) = hierarchy.open(group) else {
        return Ok(None);
    };
    let there = match instance::attached(group, folder.as_fd()) {
        // It has gone meanwhile.
        Err(_) if !hierarchy.folder(group).exists() => return Ok(None),
        there => there?,
    };
    if there.is_empty() {
        return Ok(None);
    }
    let ports = instance::ports_of(&there);
    let allowed = ports.as_ref().map(Ports::allowed);
    Ok(Some(Instance {
        cgroup: group.to_owned(),
        state: if there.len() == PROGRAMS {
            "attached"
        } else {
            "incomplete"
        },
        lasting,
        only_ports: allowed
            .filter(|ports| u16::try_from(ports.len()).is_ok())
            .map(|ports| spelled(&ports)),
        served_ports: ports.map(|ports| spelled(&ports.served())),
    }))
}

fn text(answer: &BpfOutput) -> String {
    if answer.instances.is_empty() {
        return output::typed::sentence(
            "Attached nowhere. `sudo reuseaddr bpf attach --unit NAME` attaches to a service.\n",
        );
    }
    let mut text = String::new();
    for instance in &answer.instances {
        let mut words = vec![match instance.state {
            "incomplete" => "attached in part; `reuseaddr bpf attach` completes it".into(),
            "waiting" => "not there now; remembered for its next start".into(),
            state => state.to_owned(),
        }];
        if let Some(only) = &instance.only_ports {
            words.push(format!("only ports {only}"));
        }
        match instance.served_ports.as_deref() {
            None => {}
            Some("") => words.push("no port served yet".into()),
            Some(ports) => words.push(format!("served ports: {ports}")),
        }
        text += &paragraph(
            "",
            "    ",
            &format!("{}: {}", instance.cgroup, words.join("; ")),
        );
    }
    if !answer.asked_the_kernel {
        text += &paragraph(
            "",
            "",
            "This is what was attached. Run as root, `bpf status` also shows which ports are \
             served.",
        );
    }
    text
}
