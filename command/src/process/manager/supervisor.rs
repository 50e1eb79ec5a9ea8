//! Supervisors among the parents of a process: those that start it again when it has ended.

use super::find::Member;
use super::script_loop::{may_restart, starts_in_a_loop};
use super::{Manager, Parent, Supervise};
use crate::process::holders::Holder;
use crate::process::names::{SHELLS, is_interpreter};
use crate::process::{info, script, users};
use crate::sys::proc;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Programs that start their child again when it ends, or when a file changes, and have no command
/// of their own that stops it.
const WATCHERS: [(&str, bool); 25] = [
    ("nodemon", true),
    ("node-dev", true),
    ("ts-node-dev", true),
    ("tsx", true),
    ("watchexec", true),
    ("cargo-watch", true),
    ("bacon", true),
    ("entr", true),
    ("reflex", true),
    ("air", true),
    ("gin", true),
    ("watchmedo", true),
    ("hupper", true),
    ("rerun", true),
    ("guard", true),
    ("circusd", false),
    ("perpd", false),
    ("immortal", false),
    ("daemon", false),
    ("respawn", false),
    ("monit", false),
    ("god", false),
    ("process-compose", false),
    ("finit", false),
    // watch(1): at each interval.
    ("watch", false),
];

/// Finds the nearest supervisor of a process. `chain` is the process, its parent, and so on.
pub(super) fn of(chain: &[Member], others: &[Holder]) -> Option<Manager> {
    let holder = chain.first()?;
    // pm2 holds the ports of its cluster's applications itself, supervisord those of FastCGI.
    if is_pm2(holder) {
        return Some(pm2_cluster(holder));
    }
    if holder.is("supervisord") {
        let child = others.iter().find(|other| {
            other.parent == holder.pid && program_of_supervisord(other.pid).is_some()
        })?;
        return Some(supervisord(holder, child.pid));
    }
    // A parent that holds the port as well is the server, and those below it are its workers.
    let is_server = |it: &Member| others.iter().any(|other| other.pid == it.pid);
    // A script's loop restarts its child, or what the shells below it run.
    let mut below_a_shell = true;
    let among_parents = chain.windows(2).find_map(|pair| {
        let [child, parent] = pair else { return None };
        below_a_shell &= child.pid == holder.pid || is_shell(child);
        // A process that somebody has started from another session, over ssh for one, is not the
        // supervisor's.
        (child.session == holder.session)
            .then(|| supervisor(parent, child, holder))?
            .filter(|found| {
                !matches!(found, Manager::Loop(_)) || below_a_shell && !is_server(parent)
            })
    });
    match among_parents {
        Some(Manager::Watcher(parent)) => Some(Manager::Watcher(outermost(parent, chain))),
        found => found.or_else(|| monit(holder)),
    }
}

/// The first of processes of one name that have started each other: watch(1) has a child that waits
/// for the command, and ends with it.
fn outermost(parent: Parent, chain: &[Member]) -> Parent {
    let from_it = chain.iter().skip_while(|member| member.pid != parent.pid);
    let of_its_name = chain.iter().find(|member| member.pid == parent.pid);
    let Some(of_its_name) = of_its_name else {
        return parent;
    };
    let last = from_it
        .take_while(|member| member.name == of_its_name.name)
        .last();
    Parent {
        pid: last.map_or(parent.pid, |member| member.pid),
        ..parent
    }
}

/// monit, which starts services in the background and looks for them at each of its cycles: its
/// variable is in the environment of what it has started (monit(1)).
fn monit(holder: &Member) -> Option<Manager> {
    let service = variable(holder.pid, "MONIT_SERVICE")?;
    let monit = crate::process::holders::pids()
        .filter_map(Member::new)
        .find(|member| member.is("monit"))?;
    let configuration = path_option(&monit, "-c", "--controlfile");
    Some(Manager::Monit {
        configuration,
        by: Supervise {
            pid: monit.pid,
            target: service,
        },
    })
}

/// Whether this parent starts the child again, of which the holder is or descends.
fn supervisor(parent: &Member, child: &Member, holder: &Member) -> Option<Manager> {
    let supervise = |target: String| Supervise {
        pid: parent.pid,
        target,
    };
    if parent.is("supervisord") {
        return Some(supervisord(parent, child.pid));
    }
    if is_pm2(parent) {
        return Some(pm2(parent, child.pid));
    }
    if parent.is("runsv") {
        return Some(Manager::Runit(supervise(service(parent))));
    }
    if parent.is("s6-supervise") {
        return Some(Manager::S6(supervise(service(parent))));
    }
    if parent.is("supervise") {
        return Some(Manager::Daemontools(supervise(service(parent))));
    }
    if parent.is("supervise-daemon") || parent.name == "supervise-daemo" {
        let service = parent.arguments.get(1).cloned().unwrap_or_default();
        return Some(Manager::OpenRc(supervise(service)));
    }
    let has = |part: &str| parent.arguments.iter().any(|word| word.ends_with(part));
    if has("/forever/bin/monitor") {
        return Some(Manager::Forever(supervise(child.pid.to_string())));
    }
    // `dotnet watch`, `node --watch`, `bun --hot`: an option in front of the script makes them
    // watch.
    let has_option = ["node", "bun", "deno", "dotnet"]
        .iter()
        .any(|name| parent.is(name))
        && parent
            .arguments
            .iter()
            .skip(1)
            .take(4)
            .any(|word| matches!(word.as_str(), "--watch" | "watch" | "--hot"));
    let watcher = WATCHERS
        .iter()
        .find(|(name, _)| parent.is(name))
        .map(|&(name, on_change)| (name.to_owned(), on_change))
        .or_else(|| has_option.then(|| (format!("{} --watch", parent.name), true)));
    if let Some((name, on_change)) = watcher {
        return Some(Manager::Watcher(Parent {
            pid: parent.pid,
            name,
            on_change,
        }));
    }
    let is_loop = || loops(parent, child) || script_restarts(parent);
    (parent.session == holder.session && is_loop()).then(|| {
        Manager::Loop(Parent {
            pid: parent.pid,
            name: parent.name.clone(),
            on_change: false,
        })
    })
}

/// The service directory of runsv, supervise or s6-supervise: they run in it, and are started with
/// its name.
fn service(parent: &Member) -> String {
    let named = parent
        .arguments
        .iter()
        .skip(1)
        .rfind(|word| !word.starts_with('-'));
    directory(parent.pid)
        .or_else(|| named.cloned())
        .unwrap_or_default()
}

fn directory(pid: i32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    path.to_str().map(ToOwned::to_owned)
}

/// The working directory, empty if it can't be read.
fn folder(process: &Member) -> PathBuf {
    directory(process.pid)
        .map(PathBuf::from)
        .unwrap_or_default()
}

fn is_shell(member: &Member) -> bool {
    SHELLS.iter().any(|name| member.is(name)) || member.is("busybox")
}

/// Whether a shell runs a script with a loop that starts this child. That of a person at a
/// terminal runs none.
fn loops(shell: &Member, child: &Member) -> bool {
    if !is_shell(shell) {
        return false;
    }
    let mut words = shell.arguments.iter().skip(1);
    // `busybox sh script`
    let mut words = words
        .by_ref()
        .skip_while(|word| SHELLS.contains(&word.as_str()));
    let text = loop {
        let Some(word) = words.next() else {
            return false;
        };
        if word.starts_with('-') && !word.starts_with("--") && word.contains('c') {
            match words.next() {
                Some(text) => break text.clone(),
                None => return false,
            }
        }
        if !word.starts_with('-') {
            break text_of(&folder(shell).join(word));
        }
    };
    let words = child.arguments.iter().take(3);
    let names: Vec<&str> = words
        .filter_map(|word| word.rsplit('/').next())
        .chain([child.name.as_str()])
        .filter(|name| !name.is_empty())
        .collect();
    starts_in_a_loop(&text, &names)
}

/// Whether an interpreter runs a script that starts something in a loop.
fn script_restarts(parent: &Member) -> bool {
    let called = parent.arguments.first().map_or("", String::as_str);
    let name = called.rsplit('/').next().unwrap_or(called);
    if !is_interpreter(name) && !["awk", "gawk", "mawk"].contains(&name) {
        return false;
    }
    let folder = folder(parent);
    for word in parent.arguments.iter().skip(1) {
        let path = folder.join(word);
        if !word.starts_with('-') && path.is_file() {
            return may_restart(&text_of(&path));
        }
        // A script may be an argument itself.
        if may_restart(word) {
            return true;
        }
    }
    false
}

/// The text of a script, or its first part: it is somebody else's, and may be of any length. A FIFO
/// is not read.
fn text_of(path: &Path) -> String {
    const MOST: u64 = 1 << 20;
    if !path.is_file() {
        return String::new();
    }
    let text = script::beginning(path, MOST).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// A variable of a process's environment, as it was started, if we may read it.
fn variable(pid: i32, name: &str) -> Option<String> {
    let environment = proc::bytes(format!("/proc/{pid}/environ")).ok()?;
    let value = environment
        .split(|&byte| byte == 0)
        .filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        .next_back()?;
    Some(String::from_utf8_lossy(value).into_owned()).filter(|value| !value.is_empty())
}

/// The program as supervisorctl takes it (supervisord's subprocess.py sets the variables).
fn program_of_supervisord(pid: i32) -> Option<String> {
    let process = variable(pid, "SUPERVISOR_PROCESS_NAME")?;
    Some(match variable(pid, "SUPERVISOR_GROUP_NAME") {
        Some(group) if group != process => format!("{group}:{process}"),
        _ => process,
    })
}

fn supervisord(parent: &Member, child: i32) -> Manager {
    // It is in the child's environment only if there is a control socket.
    let server = variable(child, "SUPERVISOR_SERVER_URL");
    let program = program_of_supervisord(child);
    let configuration = path_option(parent, "-c", "--configuration");
    let options = match (configuration, server) {
        (_, None) if program.is_some() => None,
        (Some(path), _) => Some(vec!["-c".to_owned(), path]),
        (None, Some(server)) => Some(vec!["-s".to_owned(), server]),
        // Its environment may not be read: the usual place.
        (None, None) => Some(Vec::new()),
    };
    Manager::Supervisord {
        pid: parent.pid,
        program: program.unwrap_or_else(|| "PROGRAM".into()),
        options,
    }
}

/// The path that is an option's value, from the process's working directory.
fn path_option(process: &Member, short: &str, long: &str) -> Option<String> {
    let path = option(&process.arguments, short, long)?;
    Some(folder(process).join(path).to_string_lossy().into_owned())
}

/// The value of an option: `-c FILE`, `-cFILE`, `--configuration FILE`, `--configuration=FILE`.
fn option(arguments: &[String], short: &str, long: &str) -> Option<String> {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == short || word == long {
            return words.next().cloned();
        }
        if let Some(value) = word
            .strip_prefix(long)
            .and_then(|rest| rest.strip_prefix('='))
        {
            return Some(value.to_owned());
        }
        if let Some(value) = word.strip_prefix(short).filter(|_| !word.starts_with("--")) {
            return Some(value.to_owned());
        }
    }
    None
}

/// `PM2 v7.0.4: God Daemon (/root/.pm2)`.
fn is_pm2(process: &Member) -> bool {
    process
        .arguments
        .first()
        .is_some_and(|title| title.starts_with("PM2 v") && title.contains("God Daemon"))
}

fn pm2(daemon: &Member, child: i32) -> Manager {
    pm2_of(daemon, application(child).into_iter().collect())
}

/// In cluster mode the daemon holds the sockets, and nothing shows for which application.
fn pm2_cluster(daemon: &Member) -> Manager {
    let mut names: Vec<String> = crate::process::holders::pids()
        .filter(|&pid| info::stat(pid).is_some_and(|stat| stat.ppid == daemon.pid))
        .filter(|&pid| mode(pid).as_deref() == Some("cluster_mode"))
        .filter_map(application)
        .collect();
    names.sort_unstable();
    names.dedup();
    pm2_of(daemon, names)
}

fn pm2_of(daemon: &Member, applications: Vec<String>) -> Manager {
    let uid = info::uid(daemon.pid);
    let title = daemon.arguments.first().map_or("", String::as_str);
    let home = title
        .split_once('(')
        .and_then(|(_, rest)| rest.rsplit_once(')'))
        .map(|(home, _)| home.to_owned())
        .filter(|home| {
            uid.and_then(users::home)
                .is_none_or(|usual| usual.join(".pm2") != Path::new(home))
        });
    Manager::Pm2 {
        pid: daemon.pid,
        applications,
        home,
        uid,
    }
}

/// What pm2 puts into an application's environment: one variable each, or all in one.
fn of_pm2(pid: i32, key: &str) -> Option<String> {
    variable(pid, key).or_else(|| {
        let all: Value = serde_json::from_str(&variable(pid, "pm2_env")?).ok()?;
        match all.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    })
}

fn application(pid: i32) -> Option<String> {
    of_pm2(pid, "name").or_else(|| of_pm2(pid, "pm_id"))
}

fn mode(pid: i32) -> Option<String> {
    of_pm2(pid, "exec_mode")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watcher_is_the_one_that_outlives_its_command() {
        // No process has such a pid.
        const FREE: i32 = i32::MAX - 9;
        let member = |pid, name: &str| Member {
            pid: FREE + pid,
            name: name.into(),
            arguments: vec![name.into()],
            session: 1,
        };
        let chain = [
            member(5, "server"),
            member(4, "sh"),
            member(3, "watch"),
            member(2, "watch"),
            member(1, "bash"),
        ];
        let pid = |chain: &[Member]| of(chain, &[]).and_then(|manager| manager.pid());
        assert_eq!(pid(&chain), Some(FREE + 2));
        assert_eq!(pid(&chain[..3]), Some(FREE + 3));
        assert_eq!(pid(&chain[..2]), None);
    }
}
